"""Make what `unlearnctl report` shows: the report of one run, or the summary of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from unlearnctl.reporting import html, plots
from unlearnctl.reporting import recovered as attacks
from unlearnctl.reporting.recovered_files import write_robustness
from unlearnctl.reporting.site.write import write_site
from unlearnctl.reporting.summary import Summary, find_runs, summarise
from unlearnctl.reporting.summary_files import write_summary
from unlearnctl.reporting.summary_terminal import print_summary
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.run import load_run
from unlearnctl.utils.errors import UserError


def write_report(run_dir: Path) -> list[Path]:
    """Write the plots and report.html of a run from what it holds; return their paths.

    `UserError` when results.json is missing or invalid. A plot for which there is no data is left out.
    """
    run = load_run(Path(run_dir))
    return [*plots.write_plots(run), *write_robustness(run.path, run.results), html.write_html(run)]


def report(paths: Sequence[Path], console: Console | None = None, to: Path | None = None) -> list[Path]:
    """Print and write what the directories call for: the report of one run, or a summary and a page of all runs.

    Those of one directory go into it; those of several into the current one. With `to`, that page alone is written,
    also of one run.

    Raises:
        UserError: no such directory, no run in it, or a `to` that cannot be written.
    """
    paths = [Path(path) for path in paths]
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such directory")
    if to is not None:
        _check_target(to)
    elif len(paths) == 1 and (paths[0] / "results.json").is_file():
        return _report_one(paths[0], console)
    every = (run for path in paths for run in find_runs(path) or [path])
    found = list({run.resolve(): run for run in every}.values())  # folders may overlap
    probes = [path for path in found if (path / "probes.csv").is_file()]
    runs = [path for path in found if path not in probes]
    summary = summarise(runs) if runs else Summary([])
    if not summary.members and not probes:
        raise UserError(
            f"{', '.join(map(str, paths))}: no finished run (results.json) here or below{_instead(summary)}"
        )
    if summary.members:
        print_summary(summary, console)
    folder = paths[0] if len(paths) == 1 else Path()
    written = write_summary(summary, folder) if summary.members and to is None else []
    return [*written, write_site(summary, to or folder / "report.html", probes)]


def _instead(summary: Summary) -> str:
    """Say what exists instead of results, and name the first few runs without them."""
    if summary.running:
        return f"; {summary.running[0][1]} is at work in {summary.running[0][0]}, report it when it has ended"
    first = summary.failed[:1]
    return "".join(f"; {path}: {why}" for path, why in first if why != "no results.json")


def _report_one(path: Path, console: Console | None) -> list[Path]:
    results = load_run(path).results
    print_comparison(results, console)
    if results.get("attacks"):
        attacks.print_robustness(results, console)
    return write_report(path)


def _check_target(to: Path) -> None:
    if to.suffix != ".html":
        raise UserError(f"to={to}: must be the name of an .html file")
    if not to.absolute().parent.is_dir():
        raise UserError(f"to={to}: its folder does not exist")
    if to.is_dir():
        raise UserError(f"to={to}: is a directory")
