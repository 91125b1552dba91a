"""All reports of one run."""

from __future__ import annotations

from pathlib import Path

from unlearnctl.reporting import html, plots
from unlearnctl.reporting.runs import load_run


def write_report(run_dir: Path) -> list[Path]:
    """Make the PNG plots and report.html in `run_dir` from what it holds; returns what was written.

    `UserError` when results.json is missing or invalid. A plot for which there is no data is left out.
    """
    run = load_run(Path(run_dir))
    return [*plots.write_plots(run), html.write_html(run)]
