"""report.html: one file, no request to anywhere, opened by a double click.

Everything shown comes from files that others may have written, so the template escapes all of it. The policy
in the page's head allows the one script and the one style sheet by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from unlearnctl.reporting import attacks, numbers, svg, terminal
from unlearnctl.reporting.runs import ROLES, Row, Run
from unlearnctl.untrusted import loads

TEMPLATES = Path(__file__).parent / "templates"
WORDS = {"good": "better", "bad": "worse", "same": "no clear change", "": ""}
CARDS_PER_ROLE = 3


def environment() -> Environment:
    """jinja2 with autoescape on, whatever the file is called, and the number formats as filters."""
    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    env.trim_blocks = env.lstrip_blocks = True
    env.filters |= {"value": numbers.value, "change": typographic_change, "setting": numbers.setting}
    env.filters |= {"count": count, "percent": percent}
    env.filters["bounded"] = bounded
    env.filters["leaf"] = lambda entry: not isinstance(entry, dict)
    return env


def typographic_change(number: float | None, metric: str = "") -> str:
    """A change with a real minus sign."""
    return numbers.change(number, metric).replace("-", "−")


def bounded(row: Row) -> bool:
    """Whether a scale from 0 to 1 can show the result."""
    number = numbers.finite(row.after.value)
    return number is not None and 0 <= number <= 1 and not numbers.is_perplexity(row.metric)


def percent(row: Row) -> str:
    """`(+4 %)`, for perplexities: their size says little on its own."""
    delta, base = numbers.finite(row.change), row.before.value
    if delta is None or not base or not numbers.is_perplexity(row.metric):
        return ""
    return f" ({100 * delta / base:+.1f} %)".replace("-", "−")


def count(number: object) -> str:
    """`1,234,567`, with narrow spaces so that no country reads a decimal point."""
    whole = numbers.finite(number)
    return numbers.MISSING if whole is None else f"{whole:,.0f}".replace(",", "\u202f")


def write_html(run: Run) -> Path:
    """Write `report.html` into the run directory."""
    path = run.path / "report.html"
    path.write_text(render(run), encoding="utf-8")
    return path


def render(run: Run) -> str:
    """The page as text."""
    figures = svg.charts(run)
    style, script = _own("report.css"), _own("report.js")
    hover = {chart.key: chart.hover() for chart in figures}
    rows, config = run.rows, run.results.get("config") or {}
    return environment().get_template("report.html.j2").render(
        run=run, config=config, yaml=run.yaml or json.dumps(config, indent=2), notes=notes(run),
        status=str(run.results.get("status") or "unknown status").replace("_", " "), facts=facts(run),
        robustness=attacks.page_table(run.results),
        rows=rows, cards=headline(rows), compared=any(row.before.value is not None for row in rows),
        legend=terminal.legend(rows), flags=terminal.raised(run.results), arrow=terminal.ARROW,
        mark=terminal.MARK, words=WORDS,
        charts=figures, texts=token_weights(run), frame=svg, hover=hover, commands=commands(run),
        provenance=numbers.flatten(run.results.get("provenance") or {}) | {"schema": run.results["schema"]},
        style=style, script=script, style_hash=hash_source(style), script_hash=hash_source(script),
    )  # fmt: skip


def headline(rows: list[Row]) -> list[Row]:
    """The metrics shown large: the first few of each role, or of none when no roles are known."""
    cards = [row for role in ROLES for row in [r for r in rows if r.role == role][:CARDS_PER_ROLE]]
    return cards or rows[:CARDS_PER_ROLE]


def facts(run: Run) -> list[str]:
    """One short line about the training, from what was recorded."""
    train: dict[str, Any] = run.results.get("train") or {}
    seconds, tokens = numbers.finite(train.get("seconds")), numbers.finite(train.get("tokens"))
    trained = train.get("trained") if isinstance(train.get("trained"), dict) else {}
    said = [f"{count(train['steps'])} steps"] if train.get("steps") is not None else []
    if seconds is not None:
        said.append(f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min")
    if seconds and tokens:
        said.append(f"{count(tokens / seconds)} tokens/s")
    if trained:
        size, tensors = (count(trained.get(key)) for key in ("parameters", "tensors"))
        said.append(f"{size} parameters trained in {tensors} tensors")
    if train.get("best_step") is not None:
        said.append(f"weights of step {numbers.setting(train['best_step'])}")
    return said + [f"stopped: {numbers.plain(train[key])}" for key in ("stop_reason",) if train.get(key)]


def token_weights(run: Run) -> list[list[tuple[str, int, bool, str]]]:
    """Texts as (token, weight in tenths, whether it truly matters, what a pointer reads out), if any were saved."""
    try:
        texts = loads((run.path / "token_weights.json").read_text(encoding="utf-8"))["texts"]
        return [
            [
                (str(token), round(10 * min(1.0, max(0.0, weight))), bool(true), f"weight {weight:.2f}")
                for token, weight, true in zip(
                    text["tokens"],
                    text["weights"],
                    text["true"] or [False] * len(text["tokens"]),
                    strict=True,
                )
            ]
            for text in texts
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def notes(run: Run) -> list[str]:
    """Free text that a run left with its results."""
    found = run.results.get("notes") or []
    return [str(note) for note in (found if isinstance(found, list) else [found])]


def commands(run: Run) -> list[tuple[str, str]]:
    """What one does next, ready to paste."""
    place = _short(run.path)
    said = [("Look again in the terminal", f"unlearnctl report {shlex.quote(place)}")]
    if run.results.get("train"):
        export = f"unlearnctl export {_override('run', place)} {_override('to', f'{place}-hf')}"
        said.append(("Write a full Hugging Face folder", export))
        said.append(("Evaluate these weights again", f"unlearnctl eval {_override('run_dir', place)}"))
    command = (run.results.get("provenance") or {}).get("command")
    if command:
        words = command if isinstance(command, str) else shlex.join(map(str, command))
        said.append(("Run it again", numbers.plain(words)))
    return said


def _short(path: Path) -> str:
    """Relative to where the command was given when below it, so that the page can be passed on."""
    full, here = path.absolute(), Path.cwd()
    return os.fspath(full.relative_to(here)) if full.is_relative_to(here) else os.fspath(full)


def _override(key: str, value: str) -> str:
    """`key=value` for a shell and then Hydra: paths of sweeps hold `=` and `,`, which Hydra wants quoted."""
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", value):
        return f"{key}={value}"
    quoted = value.replace("\\'", "\\\\'").replace("'", "\\'")
    word = f"{key}='{quoted}'"
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'


def _own(name: str) -> Markup:
    """A file of ours, the only text that goes in unescaped."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def hash_source(text: str) -> str:
    """What a Content-Security-Policy names a style sheet or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
