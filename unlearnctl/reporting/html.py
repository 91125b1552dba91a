"""Write report.html, which shows everything about one run."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from unlearnctl.reporting import recovered as attacks
from unlearnctl.reporting import replies as texts
from unlearnctl.reporting import svg, terminal
from unlearnctl.reporting.losses import losses
from unlearnctl.reporting.page import content_hash, count, environment, own
from unlearnctl.results.run import ROLES, Row, Run
from unlearnctl.utils import numbers
from unlearnctl.utils.atomic import write_atomically

WORDS = {"good": "better", "bad": "worse", "same": "no clear change", "": ""}
CARDS_PER_ROLE = 3


def bounded(row: Row) -> bool:
    """Tell whether a scale from 0 to 1 can show the result."""
    number = numbers.finite(row.after.value)
    return number is not None and 0 <= number <= 1 and numbers.is_share(row.metric)


def percent(row: Row) -> str:
    """Format a change as `(+4 %)`, for perplexities, whose size alone says little."""
    delta, base = numbers.finite(row.change), row.before.value
    if delta is None or not base or not numbers.is_perplexity(row.metric):
        return ""
    return f" ({100 * delta / base:+.1f} %)".replace("-", "−")


def write_html(run: Run) -> Path:
    """Write `report.html` into the run directory."""
    path = run.path / "report.html"
    # half a surrogate pair is not UTF-8
    write_atomically(path, render(run).encode(errors="replace").decode())
    return path


def render(run: Run) -> str:
    """Return the page as text."""
    figures = svg.charts(run)
    style, script = own("report.css"), own("reader.js", "report.js")
    hover = {chart.key: chart.hover() for chart in figures}
    rows, config = [row for row in run.rows if not row.subject], run.results.get("config") or {}
    env = environment()
    env.filters |= {"bounded": bounded, "percent": percent, "leaf": lambda entry: not isinstance(entry, dict)}
    return env.get_template("report.html.j2").render(
        run=run,
        config=config,
        yaml=run.yaml or json.dumps(config, indent=2),
        notes=notes(run),
        status=str(run.results.get("status") or "unknown status").replace("_", " "),
        facts=facts(run),
        robustness=attacks.page_table(run.results),
        losses=losses(run.results),
        rows=rows,
        parts=[row for row in run.rows if row.subject],
        cards=headline(rows),
        compared=any(row.before.value is not None for row in rows),
        legend=terminal.legend(rows),
        flags=terminal.raised(run.results),
        arrow=terminal.ARROW,
        mark=terminal.MARK,
        words=WORDS,
        charts=figures,
        texts=token_weights(run),
        questions=texts.questions(run),
        samples=texts.samples(run),
        frame=svg,
        hover=hover,
        commands=commands(run),
        provenance=numbers.flatten(run.results.get("provenance") or {}) | {"schema": run.results["schema"]},
        style=style,
        script=script,
        style_hash=content_hash(style),
        script_hash=content_hash(script),
    )


def headline(rows: list[Row]) -> list[Row]:
    """Pick the metrics to show large: the first few of each role, or of all if roles are unknown."""
    cards: list[Row] = []
    for role in ROLES:
        cards += [row for row in rows if row.role == role][:CARDS_PER_ROLE]
    return cards or rows[:CARDS_PER_ROLE]


def facts(run: Run) -> list[str]:
    """List facts about the training, as far as they were recorded."""
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
    if train.get("stop_reason"):
        said.append(f"stopped: {numbers.plain(train['stop_reason'])}")
    return said


def token_weights(run: Run) -> list[list[tuple[str, int, bool, str]]]:
    """Return texts as (token, weight in tenths, whether it truly matters, tooltip), if any were saved."""
    return [
        [(token, round(10 * weight), true, f"weight {weight:.2f}") for token, weight, true in text]
        for text in texts.token_weights(run)
    ]


def notes(run: Run) -> list[str]:
    """Collect the free text that a run left with its results."""
    found = run.results.get("notes") or []
    return [str(note) for note in (found if isinstance(found, list) else [found])]


def commands(run: Run) -> list[tuple[str, str]]:
    """List the usual next commands, ready to paste."""
    place = _short(run.path)
    said = [("Look again in the terminal", f"unlearnctl report {shlex.quote(place)}")]
    if run.results.get("train"):
        export = f"unlearnctl export {shlex.quote(place)} {_override('to', f'{place}-hf')}"
        said.append(("Write a full Hugging Face folder", export))
        said.append(("Evaluate these weights again", f"unlearnctl eval {shlex.quote(place)}"))
    command = (run.results.get("provenance") or {}).get("command")
    if command:
        words = command if isinstance(command, str) else shlex.join(map(str, command))
        said.append(("Run it again", numbers.plain(words)))
    return said


def _short(path: Path) -> str:
    """Return a path relative to the current directory if it is below it, so that the page can be passed on."""
    full, here = path.absolute(), Path.cwd()
    return os.fspath(full.relative_to(here)) if full.is_relative_to(here) else os.fspath(full)


def _override(key: str, value: str) -> str:
    """Quote `key=value` for a shell and for Hydra: paths of sweeps contain `=` and `,`."""
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", value):
        return f"{key}={value}"
    quoted = value.replace("\\'", "\\\\'").replace("'", "\\'")
    word = f"{key}='{quoted}'"
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'
