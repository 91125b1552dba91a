"""The digest in results.json: there when a run writes it, right when it is read, wrong after any change."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.reporting.whole import whole_results
from unlearnctl.reporting import html
from unlearnctl.reporting.card import model_card
from unlearnctl.reporting.terminal import CHANGED, print_comparison
from unlearnctl.results.run import Run
from unlearnctl.results.schema import (
    digest,
    is_changed,
    read_results,
    with_digest,
    write_results,
)


def written(folder: Path) -> Path:
    record = whole_results() | {"status": "completed"}
    write_results(folder / "results.json", record)
    return folder / "results.json"


def test_the_digest_is_that_of_canonical_json() -> None:
    record = {"b": 1.0, "a": ["č", None, float("nan")], "sha256": "of before"}
    text = '{"a":["\\u010d",null,NaN],"b":1.0}'
    assert digest(record) == hashlib.sha256(text.encode()).hexdigest()
    assert list(with_digest(record)) == ["b", "a", "sha256"]
    assert with_digest({1: Path("x")}) == with_digest({"1": "x"})


def test_what_is_written_is_whole_and_stays_so_through_another_program(tmp_path: Path) -> None:
    path = written(tmp_path)
    record = read_results(path)
    assert not is_changed(record)
    path.write_text(
        json.dumps(dict(sorted(record.items(), reverse=True)), separators=(",", ":"))
    )  # as jq may
    assert not is_changed(read_results(path))
    assert not is_changed(
        {key: value for key, value in record.items() if key != "sha256"}
    )  # of before digests


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 0', '"seed": 1'),
        ('"status": "completed"', '"status": "stopped_early"'),
        ('"sha256": "', '"sha256": "0'),
        ('"notes": [', '"more": 1, "notes": ['),
    ],
)
def test_any_change_is_said_and_hides_nothing(old: str, new: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    record = read_results(path)
    console = Console(file=io.StringIO(), width=200)
    print_comparison(record, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for report in (shown, model_card(record), html.render(Run(tmp_path, record)).replace("&#39;", "'")):
        assert CHANGED in report
        assert "hazard" in report
