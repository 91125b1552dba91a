"""Render a table as Markdown, LaTeX (booktabs), CSV and HTML, with the same numbers and notes in each."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from unlearnctl.reporting.markdown import escape
from unlearnctl.reporting.page import content_hash
from unlearnctl.tables.cells import Cell, Line, Table, to_json
from unlearnctl.tables.notes import notes
from unlearnctl.tables.panels import write_plots
from unlearnctl.tables.spec import Column
from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import write_atomically

ARROW = {"lower": "↓", "higher": "↑", "none": ""}
TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$",
    "×": r"$\times$", "≈": r"$\approx$", "≠": r"$\neq$", "–": "--", "−": r"$-$", "§": r"\S{}", "†": r"$\dagger$",
}  # fmt: skip


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write NAME-SCALE.{md,tex,csv,html,json} to `folder`, and the plots of a sweep."""
    ways = {"md": markdown, "tex": latex, "csv": as_csv, "html": as_html, "json": to_json}
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, render in ways.items():
        paths.append(folder / f"{table.spec.name}-{table.spec.scale}.{kind}")
        write_atomically(paths[-1], render(table))
    return [*paths, *write_plots(table, folder)]


def heading(column: Column) -> str:
    """Head a column `hazard ↓`."""
    return f"{column.title} {ARROW[column.goal]}".rstrip()


def label(line: Line) -> str:
    """Name a row, with † if the method is our reading of its paper."""
    return f"{line.row.name}{' †' if line.row.reading else ''}"


def content(cell: Cell, column: Column) -> str:
    """Format `0.312 ± 0.014`, then the published value in brackets; a dash if nothing is known."""
    if cell.value is None:
        text = numbers.MISSING
    else:
        shape = ".3g" if column.decimals is None else f".{column.decimals}f"
        half = "" if cell.half is None else f" ± {cell.half:{shape}}"
        text = f"{cell.value:{shape}}{half}"
    return f"{text} [{cell.published}{_verdict(cell)}]" if cell.published else text


def _verdict(cell: Cell) -> str:
    if cell.value is None or cell.published is None or cell.tolerance is None:
        return ""
    return " ≈" if abs(cell.value - float(cell.published)) <= cell.tolerance else " ≠"


def _lines(
    table: Table, safe: Callable[[str], str], bold: str, cell: Callable[[str], str] | None = None
) -> Iterator[list[str]]:
    """Yield the texts of each line: model, method, cells.

    Args:
        table: whose lines these are.
        safe: escapes a text.
        bold: has `{}` in the place of the best cell.
        cell: escapes a cell, where that differs.
    """
    for line in table.lines:
        texts = [safe(line.model), safe(label(line))]
        for each, column in zip(line.cells, table.spec.columns, strict=True):
            text = (cell or safe)(content(each, column))
            texts.append(bold.replace("{}", text) if each.bold else text)
        yield texts


def markdown(table: Table) -> str:
    """Write a pipe table with its notes."""
    heads = ["model", "method", *(escape(heading(column)) for column in table.spec.columns)]
    return "\n".join(
        [
            f"# {escape(table.spec.title)}",
            "",
            escape(table.spec.about),
            "",
            f"| {' | '.join(heads)} |",
            "|" + "---|" * len(heads),
            *(f"| {' | '.join(texts)} |" for texts in _lines(table, escape, "**{}**", _escaped)),
            "",
            *(f"- {_escaped(note)}" for note in notes(table)),
            "",
        ]
    )


def _escaped(text: str) -> str:
    """Escape text that has our own signs in it, such as [ ], for one line without HTML."""
    return numbers.plain(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def latex(table: Table) -> str:
    """Write a complete document that compiles with booktabs."""
    spec = table.spec
    heads = ["model", "method", *map(heading, spec.columns)]
    out = [
        r"\documentclass[landscape]{article}",
        r"\usepackage{booktabs}",
        r"\usepackage[margin=1.5cm]{geometry}",
        r"\pagestyle{empty}",
        r"\begin{document}",
        r"\begin{table}",
        r"\centering\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{tex(spec.title)}. {tex(spec.about)}}}",
        rf"\begin{{tabular}}{{ll{'r' * len(spec.columns)}}}",
        r"\toprule",
        " & ".join(map(tex, heads)) + r" \\",
        r"\midrule",
    ]
    for place, texts in enumerate(_lines(table, tex, r"\textbf{{}}")):
        if _next_model(table, place):
            out.append(r"\midrule")
        out.append(" & ".join(texts) + r" \\")
    out += [r"\bottomrule", r"\end{tabular}", r"\end{table}", r"\begin{itemize}\raggedright\footnotesize"]
    out += [rf"\item {tex(note)}" for note in notes(table)]
    return "\n".join([*out, r"\end{itemize}", r"\end{document}", ""])


def _next_model(table: Table, place: int) -> bool:
    """Tell whether a rule belongs above this line."""
    return place > 0 and table.lines[place].model != table.lines[place - 1].model


def tex(text: str) -> str:
    """Escape any text for LaTeX; characters that the fonts lack are spelled as commands."""
    return "".join(TEX.get(char, char if char.isascii() else "?") for char in numbers.plain(text))


def as_csv(table: Table) -> str:
    """Write one line per row: mean and half-width of each column, and the values by seed."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{c.title}{end}" for c in table.spec.columns for end in ("", " half", " by seed", " published")]
    writer.writerow(["model", "method", *heads])
    for line in table.lines:
        cells = []
        for cell in line.cells:
            shown = ["" if x is None else repr(x) for x in (cell.value, cell.half)]
            cells += [*shown, " ".join(map(repr, cell.values)), cell.published or ""]
        writer.writerow([line.model, line.row.name, *cells])
    return out.getvalue()


STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
div { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .45rem .55rem; border-bottom: 1px solid #8886; text-align: right; white-space: nowrap; }
tr.next td { border-top: 2px solid #888c; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
h1, p, li { overflow-wrap: anywhere; } li { font-size: .9rem; }
"""


def as_html(table: Table) -> str:
    """Write a page without scripts or requests, everything escaped."""
    safe = html.escape
    heads = "".join(
        f'<th scope="col">{safe(h)}</th>' for h in ["model", "method", *map(heading, table.spec.columns)]
    )
    body = []
    for place, texts in enumerate(_lines(table, safe, "<b>{}</b>")):
        row = '<tr class="next">' if _next_model(table, place) else "<tr>"
        body.append(row + "".join(f"<td>{text}</td>" for text in texts) + "</tr>")
    policy = f"default-src 'none'; style-src '{content_hash(STYLE)}'; base-uri 'none'; form-action 'none'"
    items = "\n".join(f"<li>{safe(note)}</li>" for note in notes(table))
    lines = "\n".join(body)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{safe(table.spec.title)}</title><style>{STYLE}</style></head><body>
<h1>{safe(table.spec.title)}</h1><p>{safe(table.spec.about)}</p>
<div><table><thead><tr>{heads}</tr></thead><tbody>
{lines}
</tbody></table></div>
<ul>
{items}
</ul></body></html>
"""
