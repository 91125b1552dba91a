"""Write report.html of several runs or a sweep: one file that contains everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unlearnctl.reporting.page import content_hash, environment, own
from unlearnctl.reporting.probe_curve import read_probes
from unlearnctl.reporting.site.data import page_data, place_of, whole_metrics
from unlearnctl.reporting.summary import Member, Summary, legend, metric_name
from unlearnctl.reporting.summary_columns import cell, short
from unlearnctl.reporting.summary_trade import points, sentence
from unlearnctl.reporting.terminal import MARK
from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import write_atomically

SCRIPTS = (
    "unpack.js",
    "dom.js",
    "chart.js",
    "table.js",
    "trade.js",
    "curves.js",
    "bars.js",
    "words.js",
    "start.js",
)


def write_site(summary: Summary, path: Path, probes: Sequence[Path] = ()) -> Path:
    """Write the page of the summary's runs and of probe directories; returns its path.

    Raises:
        UserError: a probe directory that cannot be read.
    """
    text = render(summary, path.parent, probes)
    write_atomically(path, text.encode(errors="replace").decode())  # half a surrogate pair is not UTF-8
    return path


def render(summary: Summary, folder: Path, probes: Sequence[Path] = ()) -> str:
    """Return the page as text; `folder` is where it will be, for the links to the reports of the runs."""
    data = page_data(summary, [read_probes(probe) for probe in probes])
    style = own("report.css", "site/site.css")
    script = own("reader.js", *(f"site/{name}" for name in SCRIPTS))
    env = environment()
    env.filters |= {"exact": exact, "cell": cell}
    several = len({suite for suite, _ in summary.metrics}) > 1
    metrics = whole_metrics(summary)
    return env.get_template("site/page.html.j2").render(
        summary=summary,
        data=data,
        title=title(summary),
        probes=[place_of(p, folder) for p in probes],
        metrics=[(metric, metric_name(summary, metric, several), summary.row(metric)) for metric in metrics],
        names={key: short(key, summary.columns) for key in summary.columns},
        shares=dict(points(summary)),
        members=[
            (member, place_of(member.run.path, folder), link(member, folder)) for member in summary.members
        ],
        running=[place_of(path, folder) for path, _ in summary.running],
        failed=[(place_of(path, folder), why) for path, why in summary.failed],
        has=has(data),
        left_out=data["left_out"],
        mark=MARK,
        legend=legend(summary),
        sentence=sentence(summary),
        style=style,
        script=script,
        style_hash=content_hash(style),
        script_hash=content_hash(script),
    )


def has(data: Mapping[str, Any]) -> dict[str, bool]:
    """Return the sections for which any run has something."""
    parts = {part: bool(data[part]) for part in ("subjects", "weights", "samples")}
    return {**parts, "curves": any(data["curves"])}


def title(summary: Summary) -> str:
    """Title the page `6 runs on tinyworld, tinyworld_toxic`, after the model and data that all have in common."""
    members = summary.members
    if len(members) == 1:
        return members[0].run.title
    if not members:
        return "Probes"
    shared: list[str] = []
    for key in ("model.name", "data.name"):
        found = {cell(member.config, key) for member in members}
        shared += found - {numbers.MISSING} if len(found) == 1 else []
    return f"{len(members)} runs" + (f" on {', '.join(shared)}" if shared else "")


def link(member: Member, folder: Path) -> str:
    """Link to the run's own report, if there is one below the page; only ever a path."""
    page, here = member.run.path.absolute() / "report.html", folder.absolute()
    inside = here in page.parent.parents and page.is_file()
    return f"./{quote(page.relative_to(here).as_posix())}" if inside else ""


def exact(entry: object) -> str:
    """Return the sort key of a column: a number in full, a text as it is, nothing if the run has neither."""
    number = numbers.finite(entry)
    if number is not None:
        return repr(number)
    return "" if entry is None or isinstance(entry, float) else numbers.setting(entry)
