"""`unlearnctl attack` on a run, on two folders and on one: every attack, in seconds, on a few items."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.command import QUICK, run, succeed
from unlearnctl.tinyworld import model_dir

SMALL = (
    "device=cpu", "eval.tinyworld_held_out.limit=6", "eval.tinyworld_held_out.parts=[mcq]",
)  # fmt: skip
FAST = (
    "attack.relearn.lrs=[1e-3]", "attack.relearn.steps=[2]", "attack.relearn.batch_size=4",
    "attack.fewshot.shots=[2]",
    "attack.quantize.bits=[4]", "attack.prefix.texts=['It is known that the answer is known.']",
    "attack.prefix.search.rounds=1", "attack.prefix.search.candidates=2", "attack.prefix.search.facts=4",
    "attack.latent.layers=[7]", "attack.latent.train.limit=60", "attack.latent.test.limit=12",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("source")
    return succeed(
        "train", *QUICK, "objective=grad_diff", "trainer.optimizer.lr=2e-3", f"output_dir={folder}", "run=r"
    ).run_dir


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def results(folder: str) -> dict:
    return json.loads((Path(folder) / "results.json").read_text())


def test_every_attack_on_a_run(trained: str) -> None:
    done = succeed("attack", f"run_dir={trained}", *SMALL, *FAST)
    record = results(done.run_dir)
    rows = record["attacks"]
    tried = [(r["attack"], r["variant"].split(" “")[0]) for r in rows]
    assert tried == [
        ("relearn", "domain, lr 0.001, step 2"), ("relearn", "unrelated, lr 0.001, step 2"),
        ("quantize", "4 bits"), ("fewshot", "2-shot"), ("prefix", "“It is known that the an…”"),
        ("prefix", "searched"), ("latent", "probe, layer 7"),
    ]  # fmt: skip
    assert [sum(r["worst"] for r in rows if r["attack"] == name) for name in dict(tried)] == [1] * 5
    metrics = {"hazard_held_out_acc", "hazard_unseen_acc", "benign_acc", "benign_unseen_acc"}
    assert (
        set(record["before"]["tinyworld_held_out"]) == set(record["after"]["tinyworld_held_out"]) == metrics
    )
    for entry in rows[:-1]:
        assert set(entry["scores"]["tinyworld_held_out"]) == metrics
    assert set(rows[-1]["scores"]) == set(rows[-1]["base"]) == {"latent"}
    folder = Path(done.run_dir)
    assert len((folder / "attacks.jsonl").read_text().splitlines()) == len(rows)
    assert (folder / "robustness.png").is_file()
    table = list(csv.DictReader((folder / "robustness.csv").read_text().splitlines()))
    assert len(table) == 4 * (2 + 6) + 1
    assert {line["n"] for line in table} == {"6", "12"}
    assert all(line["low"] and line["high"] and line["chance"] for line in table)
    assert '<h2 id="robustness">' in (folder / "report.html").read_text()
    assert "4 bits" in done.out
    assert "hazard_held_out_acc (n 6, chance 0.25)" in " ".join(done.out.split())
    (folder / "robustness.csv").unlink()
    assert "4 bits" in succeed("report", str(folder)).out
    assert (folder / "robustness.csv").is_file()


@pytest.mark.full
def test_two_folders_give_what_the_run_gives(trained: str) -> None:
    succeed("export", f"run={trained}", "to=unlearned")
    fixed = (*SMALL, "attack=[quantize]", "attack.quantize.bits=[4]", "model.dtype=float32")
    by_run = results(succeed("attack", f"run_dir={trained}", *fixed, "run=a").run_dir)
    pair = (f"model.path={model_dir()}", "unlearned=unlearned")
    by_folders = results(succeed("attack", *pair, *fixed, "run=b").run_dir)
    alone = results(succeed("attack", "model.path=unlearned", *fixed, "run=c").run_dir)
    assert by_folders["attacks"] == by_run["attacks"]
    assert "before" not in alone
    assert alone["after"] == by_run["after"]
    assert [r["scores"] for r in alone["attacks"]] == [r["scores"] for r in by_run["attacks"]]
    assert alone["attacks"][0]["recovery"] is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("run_dir=nowhere",), "run_dir=nowhere: no run directory there"),
        (("run_dir={run}", "unlearned={base}"), "a run and unlearned=: give one"),
        (("model.path={base}", "unlearned={base}"), "unlearned="),
        (("run_dir={run}", "attack=[]"), "attack=[]: nothing to try"),
        (("run_dir={run}", "eval=[]"), "eval=[]: nothing to measure by"),
        (("run_dir={run}", "attack=[relern]"), "attack=relern: unknown (did you mean 'relearn'?)"),
        (("run_dir={run}", "attack.relearn.lr=1"), "attack.relearn.lr: unknown key (did you mean 'lrs'?)"),
        (("run_dir={run}", "attack.relearn.lrs=1e-4"), "attack.relearn.lrs=0.0001: must be a list"),
        (
            ("run_dir={run}", "attack.relearn.steps=[0]"),
            "attack.relearn.steps=[0]: must be a list of whole numbers, each 1 or more",
        ),
        (
            ("run_dir={run}", "attack.relearn.batch_size=0"),
            "attack.relearn.batch_size=0: must be a whole number, 1 or more",
        ),
        (
            ("run_dir={run}", "attack.relearn.corpora.domain.path=no.jsonl"),
            "attack.relearn.corpora.domain.path=no.jsonl: no such file",
        ),
        (
            ("run_dir={run}", "attack.relearn.corpora.domain.limit=a"),
            "attack.relearn.corpora.domain.limit=a: must be a whole number, 1 or more, or null",
        ),
        (
            ("run_dir={run}", "attack.quantize.bits=[1]"),
            "attack.quantize.bits=[1]: must be a list of whole numbers, each 2 to 16",
        ),
        (
            ("run_dir={run}", "attack.fewshot.shots=[0]"),
            "attack.fewshot.shots=[0]: must be a list of whole numbers",
        ),
        (
            ("run_dir={run}", "attack.latent.layers=[8]"),
            "attack.latent.layers=[8]: this model has 8 blocks, 0 to 7",
        ),
        (
            ("run_dir={run}", "attack.prefix.search.top_k=0"),
            "attack.prefix.search.top_k=0: must be a whole number",
        ),
        (
            ("run_dir={run}", "attack=[fewshot]", "eval=[perplexity]"),
            "attack=[fewshot]: none of the suites in eval (perplexity) has a setting num_fewshot",
        ),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...], message: str, trained: str) -> None:
    filled = [arg.replace("{run}", trained).replace("{base}", str(model_dir())) for arg in args]
    done = run("attack", "device=cpu", *filled)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}"), done.err
    assert done.err.count("\n") == 1
    assert not Path("outputs").exists()
