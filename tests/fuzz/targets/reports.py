"""Run directories that others may have written, their files one by one, and all that is made of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rich.console import Console

from tests.fuzz.page import check_page
from tests.fuzz.target import Target, scratch
from tests.reporting.whole import files, token_weights, whole_history, whole_results, write_files
from unlearnctl.commands.export import read_results
from unlearnctl.reporting import html, plots
from unlearnctl.reporting import recovered as attacks
from unlearnctl.reporting.card import model_card
from unlearnctl.reporting.recovered_files import write_robustness
from unlearnctl.reporting.summary import summarise
from unlearnctl.reporting.summary_files import as_csv, markdown
from unlearnctl.reporting.summary_terminal import print_summary
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.run import load_run, main_pair
from unlearnctl.results.schema import is_changed, read_ending, with_digest
from unlearnctl.results.trade_off import trade
from unlearnctl.sweeps.board import Board, last_step, read_trade
from unlearnctl.sweeps.members import Member, resumed
from unlearnctl.sweeps.status import read_status
from unlearnctl.tracking.attempts import attempt
from unlearnctl.unlearning.resume import ended


@cache
def _whole() -> dict[str, bytes]:
    return files(with_digest(whole_results()), whole_history(), token_weights())


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
    is_changed(run.results)
    main_pair(run.rows)
    trade(run.rows)


def render(data: bytes) -> None:
    """The page, the terminal's tables, the robustness table, the card, and the summary with a valid run beside it."""
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
    assert "<" not in markdown(summary)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(char.isprintable() or char == "\n" for char in shown)


@cache
def _sound() -> Path:
    return write_files(scratch("sound"), _whole())


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
    read_ending(folder)
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
    Target("results", read, lambda: _seeds(_whole()), 0.5),
    Target("report", render, lambda: _seeds(_whole()), 0.015),
    Target("plots", draw, lambda: _seeds(_whole()), 0.0005, limit=20.0),
    Target("sweep-files", sweep, lambda: _seeds(_sweep()), 0.06),
]
