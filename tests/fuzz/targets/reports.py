"""Run directories that others may have written, their files one by one, and all that is made of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.fuzz.page import check_page
from tests.fuzz.target import Target, scratch
from tests.reporting.conftest import history, metric, results, suites
from unlearnctl.reporting import attacks, html, plots
from unlearnctl.reporting.attacks_files import write_robustness
from unlearnctl.reporting.card import model_card
from unlearnctl.reporting.runs import load_run, main_pair
from unlearnctl.reporting.summary import summarise
from unlearnctl.reporting.summary_files import as_csv, markdown
from unlearnctl.reporting.summary_terminal import print_summary
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.reporting.trade import trade
from unlearnctl.seal import broken, sealed
from unlearnctl.stages.export import read_results
from unlearnctl.stages.resume import ended
from unlearnctl.sweeps.board import Board, last_step, read_trade
from unlearnctl.sweeps.plan import Member, resumed
from unlearnctl.sweeps.status import _was_interrupted, read_status
from unlearnctl.tracking.attempts import attempt

NAMES = ("results.json", "metrics.jsonl", "token_weights.json", "config.yaml")
SWEEP = ("status.json", "sweep.json", "results.json", "metrics.jsonl")


@cache
def _whole() -> dict[str, bytes]:
    """A run with everything that a report may show."""
    body = results()
    tried: list[dict[str, Any]] = [
        {"attack": "relearn", "variant": "text, lr 0.1, step 3", "settings": {"corpus": "text", "lr": 0.1, "step": 3},
         "scores": suites(0.5), "recovery": 0.5, "worst": True},
        {"attack": "probe", "variant": "layer 2", "settings": {}, "recovery": None, "worst": False, "base": suites(),
         "scores": {"latent": {"acc": metric(0.5, role="forget")}}},
    ]  # fmt: skip
    body["paired"] = {"tinyworld": {"hazard_acc": {"test": "McNemar", "lower": 9, "higher": 1, "p": 0.01}}}
    body["flags"] = [{"name": "gibberish", "metric": "x", "value": 0.9, "bound": 0.5, "raised": True}]
    body |= {"attacks": tried, "unlearned": suites(), "notes": ["a note"]}
    body["repair"] = {"method": "SAGE", "strength": 0.5, "curve": [], "modules": {"m": {}}, "untouched": []}
    body["config"]["model"]["path"] = "org/name"
    rows = [*history(6), {"kind": "meta", "step": 1, "knobs": {"alpha": 2.0}, "forgotten": 0.5},
            {"kind": "meta", "step": 2, "knobs": {"alpha": 3.0}, "forgotten": 0.6}]  # fmt: skip
    weights = {"texts": [{"tokens": ["a", "<b>"], "weights": [0.1, 0.9], "true": [False, True]}]}
    return {
        "results.json": json.dumps(sealed(body)).encode(),
        "metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "token_weights.json": json.dumps(weights).encode(),
        "config.yaml": b"objective:\n  name: rmu\n",
    }


@cache
def _sweep() -> dict[str, bytes]:
    status = {"state": "done", "overrides": ["a=1"], "attempt": 2, "started": "x", "finished": "y", "seconds": 1.5,
              "error": None}  # fmt: skip
    kept = {"run": "r", "arguments": ["a=1", "run=r"]}
    made = {"status.json": json.dumps(status).encode(), "sweep.json": json.dumps(kept).encode()}
    return {**made, **{name: _whole()[name] for name in ("results.json", "metrics.jsonl")}}


def _put(name: str, files: dict[str, bytes], data: bytes) -> Path:
    """A folder with the files, the one that the first byte says replaced by the rest of `data`."""
    folder, names = scratch(name), list(files)
    chosen = names[data[0] % len(names)] if data else names[0]
    for file in names:
        (folder / file).write_bytes(data[1:] if file == chosen else files[file])
    return folder


def read(data: bytes) -> None:
    """A run directory as the reports read it."""
    run = load_run(_put("results", _whole(), data))
    for row in run.rows:
        assert isinstance(row.verdict + row.metric + row.suite, str)
    assert isinstance(run.title, str)
    broken(run.results)
    main_pair(run.rows)
    trade(run.rows)


def render(data: bytes) -> None:
    """The page, the terminal's tables, the robustness table, the card, and the summary with a sound run beside it."""
    folder = _put("page", _whole(), data)
    run = load_run(folder)
    check_page(html.render(run), scripts=2)
    console = Console(file=io.StringIO(), width=80)
    print_comparison(run.results, console)
    attacks.print_robustness(run.results, console)
    summary = summarise([folder, _sound()])
    print_summary(summary, console)
    for text in (markdown(summary), as_csv(summary), model_card(run.results), console.file.getvalue()):  # type: ignore[attr-defined]
        text.encode()
    for line in markdown(summary).splitlines():
        assert "<" not in line


@cache
def _sound() -> Path:
    folder = scratch("sound")
    for name, content in _whole().items():
        (folder / name).write_bytes(content)
    return folder


def draw(data: bytes) -> None:
    """The PNG plots; matplotlib is slow, so few executions."""
    run = load_run(_put("plots", _whole(), data))
    plots.write_plots(run)
    write_robustness(run.path, run.results)


def sweep(data: bytes) -> None:
    """What a sweep, its board, a resumption and an export read in a member's directory."""
    folder = _put("sweep", _sweep(), data)
    member = Member(folder, ["a=1"])
    read_status(folder)
    attempt(folder)
    _was_interrupted(folder)
    ended(folder)
    board = Board([member], console=Console(file=io.StringIO(), force_terminal=True, width=80))
    board.look()
    board.line([member.status])
    board.console.print(board.table([(member, member.status)]))
    read_trade(folder)
    last_step(folder)
    for reader in (lambda: resumed(str(folder), ["b=2"]), lambda: read_results(folder)):
        Target("", lambda _, call=reader: call(), list)(b"")  # type: ignore[misc]  one's answer does not end the others


def _seeds(files: dict[str, bytes]) -> Sequence[bytes]:
    return [bytes([place]) + content for place, content in enumerate(files.values())]


TARGETS = [
    Target("results", read, lambda: _seeds(_whole()), 1),
    Target("report", render, lambda: _seeds(_whole()), 0.03),
    Target("plots", draw, lambda: _seeds(_whole()), 0.001, limit=20.0),
    Target("sweep-files", sweep, lambda: _seeds(_sweep()), 0.1),
]
