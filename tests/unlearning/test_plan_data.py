"""A dry run says what of the data a run would not see; what it cannot read here it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import QUICK, run, succeed

DRY = ("train", *QUICK, "launch.dry_run=true", "eval=[]", "trainer.monitor.every=0", "data=local")


@pytest.mark.full
def test_what_is_lost_stands_in_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    rows = [{"q": "copper " * 60, "text": "valve"}] * 9 + [{"q": "valve", "text": "copper " * 60}]
    Path("f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("r.jsonl").write_text('{"text": "silver tower"}\n')
    asked = (
        "data.forget.path=f.jsonl",
        "data.retain.path=r.jsonl",
        "data.forget.prompt_field=q",
        "data.max_length=32",
    )
    lost = "9 of 10 rows left out (prompt longer than data.max_length=32), 1 of 1 cut to 32 tokens"
    out = succeed(*DRY, *asked).out
    assert f"1 rows; {lost}" in " ".join(out.split())
    assert (
        "not read for this plan (a/b is not on this machine)"
        in succeed(*DRY, *asked, "data.retain.path=a/b").out
    )
    Path("r.jsonl").write_text('{"text": "silver tower"\n')
    assert run(*DRY, *asked).err.startswith("error: data.retain.path=r.jsonl: line 1 is not JSON")
    Path("r.jsonl").write_text('{"text": "silver tower"}\n')
    trained = succeed(
        "train", *QUICK, *DRY[-3:], *asked, "run=a", "trainer.global_batch=1", "trainer.steps=1"
    ).out
    assert f"data.forget: {lost}\n" in trained
    (results,) = Path("outputs").rglob("results.json")
    assert json.loads(results.read_text())["data"]["data.forget"] == {
        "read": 10, "left_out": {"prompt longer than data.max_length=32": 9}, "texts": 1, "cut": 1, "split": 0,
        "rows": 1, "max_length": 32,
    }  # fmt: skip
    assert lost in (results.parent / "report.html").read_text()
