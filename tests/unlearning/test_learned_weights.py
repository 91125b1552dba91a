"""Learned token weights at the end of a run: saved, scored against the truth, shown on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import QUICK, succeed


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.full
def test_atwu_saves_scores_and_shows_its_weights() -> None:
    done = succeed("train", *QUICK, "objective=atwu", "run=a")
    folder = Path(done.run_dir)
    record = json.loads((folder / "results.json").read_text())["train"]["token_weights"]
    assert record["auroc"]["chance"] == 0.5
    assert record["auroc"]["texts"] == 1024
    assert record["auroc"]["n"] > 10_000
    assert 0 < record["mean"] < 1
    assert "token weights: AUROC 0." in done.out
    texts = json.loads((folder / "token_weights.json").read_text())["texts"]
    assert len(texts) == 24
    for text in texts:
        assert len(text["tokens"]) == len(text["weights"]) == len(text["true"])
        said = [token for token, true in zip(text["tokens"], text["true"], strict=True) if true]
        assert said, text
    page = (folder / "report.html").read_text()
    assert "Token weights" in page
    assert page.count('class="w') > 100
    assert ' true"' in page


@pytest.mark.full
def test_hostile_tokens_are_escaped_and_a_broken_file_is_left_out() -> None:
    run = succeed("train", *QUICK, "objective=atwu", "run=a").run_dir
    file = Path(run) / "token_weights.json"
    hostile = {"tokens": ["<script>alert(1)</script>"], "weights": [7.0], "true": None}
    file.write_text(json.dumps({"texts": [hostile]}))
    succeed("report", run)
    page = (Path(run) / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    for broken in ("", "{}", '{"texts": [{"tokens": ["a"], "weights": [], "true": null}]}', '{"texts": [7]}'):
        file.write_text(broken)
        succeed("report", run)
        assert "Token weights" not in (Path(run) / "report.html").read_text()


@pytest.mark.full
def test_without_spans_there_is_no_score() -> None:
    weights = ("objective=npo", "objective/token_weights=probability", "data.forget.spans_field=null")
    run = succeed("train", *QUICK, *weights, "run=a").run_dir
    record = json.loads((Path(run) / "results.json").read_text())["train"]["token_weights"]
    assert set(record) == {"mean"}
    assert json.loads((Path(run) / "token_weights.json").read_text())["texts"][0]["true"] is None


@pytest.mark.full
def test_spans_that_mark_nothing_give_no_score() -> None:
    Path("f.jsonl").write_text('{"text": "The base of Inka Rusk is wormgrass.", "s": []}\n' * 8)
    data = ("data.forget.path=f.jsonl", "data.forget.spans_field=s", "data.forget.alternate_field=null")
    done = succeed("train", *QUICK, "objective=atwu", *data, "run=a")
    assert "AUROC" not in done.out
    record = json.loads((Path(done.run_dir) / "results.json").read_text())["train"]["token_weights"]
    assert set(record) == {"mean"}


@pytest.mark.full
@pytest.mark.parametrize("objective", ["dpo", "idk_dpo", "altpo"])
def test_what_should_be_said_instead(objective: str) -> None:
    assert succeed("train", *QUICK, f"objective={objective}", "run=a").run_dir


def test_alternates_that_are_not_there_are_asked_for_before_weights_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.command import run

    monkeypatch.setattr(
        "transformers.AutoModelForCausalLM.from_pretrained", lambda *a, **k: pytest.fail("loaded")
    )
    done = run("train", *QUICK, "objective=dpo", "data.forget.alternate_field=null")
    assert done.code == 2
    assert done.err.startswith("error: data.forget.alternate_field=null: this objective needs")
    assert not Path("outputs").exists()
