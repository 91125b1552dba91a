"""Whole runs on the embedded world and on local folders of every architecture."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.command import QUICK, run, succeed
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.results.schema import validate_results
from unlearnctl.tracking import Trackers
from unlearnctl.training.loop import Trainer


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def results(run: str) -> dict:
    return json.loads((Path(run) / "results.json").read_text())


def rows(run: str) -> list[dict]:
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_everything_and_says_where(tmp_path: Path) -> None:
    run = succeed("train", *QUICK, "run=r").run_dir
    assert run == "outputs/train/tinyworld-tinyworld_hazard-rmu_cosine/r"
    names = {p.relative_to(run).as_posix() for p in Path(run).rglob("*") if p.is_file()}
    assert {
        "config.yaml", "metrics.jsonl", "results.json", "report.html", "checkpoint/delta.safetensors",
        "checkpoint/delta.json", "before_after.png",
    } <= names  # fmt: skip
    record = results(run)
    validate_results(record)
    assert record["status"] == "completed"
    assert record["provenance"]["command"] == shlex.join(["unlearnctl", "train", *QUICK, "run=r"])
    assert record["train"]["steps"] == 3
    assert set(record["before"]["smoke"]) == set(record["after"]["smoke"])
    assert all(m["n"] > 0 for m in record["after"]["smoke"].values())
    assert [r["step"] for r in rows(run) if r["kind"] == "train"] == [1, 2, 3]
    assert "http" not in (Path(run) / "report.html").read_text().replace("http-equiv", "").replace(
        "http://www.w3.org/2000/svg", ""
    )


@pytest.mark.full
def test_same_seed_same_bytes_and_another_seed_others() -> None:
    delta = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = succeed("train", *QUICK, f"run={name}", f"seed={seed}").run_dir
        delta.append((Path(run) / "checkpoint/delta.safetensors").read_bytes())
    assert delta[0] == delta[1]
    assert delta[0] != delta[2]


@pytest.mark.full
@pytest.mark.parametrize("trunk", ["true", "false"])
def test_a_trunk_trains_to_the_same_bytes(trunk: str) -> None:
    run = succeed("train", *QUICK, "run=t", f"trainer.trunk={trunk}", f"name=trunk-{trunk}").run_dir
    other = succeed("train", *QUICK, "run=t", "trainer.trunk=auto", "name=other").run_dir
    a, b = ((Path(r) / "checkpoint/delta.safetensors").read_bytes() for r in (run, other))
    assert a == b


def test_export_and_eval_give_the_scores_of_the_run(tmp_path: Path) -> None:
    run = succeed("train", *QUICK, "objective=grad_ascent", "trainer.optimizer.lr=1e-3", "run=r").run_dir
    recorded = results(run)["after"]
    assert recorded != results(run)["before"]
    succeed("export", f"run={run}", "to=out")
    model = AutoModelForCausalLM.from_pretrained("out")
    assert model.dtype == torch.float32
    assert "# tinyworld after unlearning with grad_ascent" in Path("out/README.md").read_text()
    again = succeed(
        "eval", "model=local", "model.path=./out", "model.dtype=float32", "eval=[smoke]", "device=cpu"
    )
    assert results(again.run_dir)["after"] == recorded
    direct = succeed("eval", f"run_dir={run}", "eval=[smoke]", "run=e2", "device=cpu")
    assert results(direct.run_dir)["after"] == recorded
    assert "before" not in results(direct.run_dir)


def test_a_multirun_leaves_members_and_one_summary() -> None:
    done = succeed("train", *QUICK, "-m", "objective.layer=3,4", "objective.alpha=1,10", "run=s")
    sweep = Path("outputs/train/sweep/s")
    assert len(list(sweep.glob("*/results.json"))) == 4
    assert (sweep / "summary.md").is_file()
    assert len((sweep / "summary.csv").read_text().splitlines()) >= 5
    assert done.out.strip().splitlines()[-1].startswith("sweep: ")


@pytest.mark.full
def test_monitoring_keeps_the_best_step() -> None:
    run = succeed(
        "train", *QUICK, "trainer.steps=4", "trainer.monitor.every=2", "trainer.monitor.keep=best", "run=m"
    ).run_dir
    assert [r["step"] for r in rows(run) if r["kind"] == "eval"] == [0, 2, 4]
    assert results(run)["train"]["best_step"] in (2, 4)


@pytest.mark.full
def test_a_run_without_suites_trains_all_the_same() -> None:
    run = succeed("train", *QUICK, "eval=[]", "run=n").run_dir
    record = results(run)
    validate_results(record)
    assert (record["status"], record["before"], record["after"]) == ("completed", {}, {})
    assert (Path(run) / "report.html").is_file()


@pytest.mark.full
def test_names_like_numbers_are_names() -> None:
    assert succeed("train", *QUICK, "run=7", "name=2024").run_dir == "outputs/train/2024/7"


@pytest.mark.full
def test_too_much_damage_stops_early() -> None:
    run = succeed(
        "train", *QUICK, "objective=grad_ascent", "trainer.optimizer.lr=3e-2", "trainer.steps=20",
        "trainer.monitor.every=2", "trainer.monitor.max_retain_damage=0.05", "run=d",
    ).run_dir  # fmt: skip
    record = results(run)
    assert record["status"] == "stopped_early"
    assert "max_retain_damage" in record["train"]["stop_reason"]
    assert record["train"]["steps"] < 20


@pytest.mark.full
@pytest.mark.parametrize("objective", ["rmu", "rmu_adaptive", "grad_diff", "npo", "simnpo"])
def test_every_objective_runs_with_its_shipped_settings(objective: str) -> None:
    run = succeed("train", *QUICK, f"objective={objective}", "run=o").run_dir
    assert results(run)["status"] == "completed"


def test_real_text_on_a_local_folder_of_any_architecture(architecture: str, tmp_path: Path) -> None:
    """TSV and plain text in the formats of ParaDetox and wikitext, rmu_cosine and npo."""
    tiny_model(architecture).save_pretrained("model")
    word_tokenizer().save_pretrained("model")
    Path("toxic.tsv").write_text("toxic\tneutral1\n" + "w1 w2 w3 w4 w5\tw6 w7 w8\n" * 12)
    Path("wiki.txt").write_text(" = Title = \n\n" + " w5 w6 w7 w8 w9 w10 w11 w12 \n" * 12)
    local = (
        "model=local", "model.path=./model", "data=local", "data.forget.path=toxic.tsv", "data.forget.field=toxic",
        "data.retain.path=wiki.txt", "data.max_length=32",
    )  # fmt: skip
    for objective in ("rmu_cosine", "npo"):
        layer = ("objective.layer=3",) if objective == "rmu_cosine" else ()
        run = succeed("train", *QUICK, *local, f"objective={objective}", *layer, f"run={objective}").run_dir
        assert results(run)["status"] == "completed"
    succeed("export", f"run={run}", "to=out")
    AutoModelForCausalLM.from_pretrained("out")


@pytest.mark.full
def test_what_lies_above_the_layer_read_is_left_out() -> None:
    """The shipped settings train blocks 1 to 6; an objective that reads block 2 cannot reach 3 to 6."""
    run = succeed("train", *QUICK, "objective.layer=2", "run=l").run_dir
    names = json.loads((Path(run) / "checkpoint/delta.json").read_text())["tensors"]
    assert {int(name.split(".")[2]) for name in names} == {1, 2}


@pytest.mark.full
@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("out of memory"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_trackers_hear_how_a_run_ended(
    error: BaseException, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    finish = Trackers.finish

    def listening(self: Trackers, how: str) -> None:
        heard.extend([how] * bool(self.trackers))
        finish(self, how)

    monkeypatch.setattr(Trackers, "finish", listening)
    succeed("train", *QUICK, "run=good")
    assert heard == ["completed"]

    def failing(self: Trainer) -> None:
        raise error

    monkeypatch.setattr(Trainer, "fit", failing)
    assert run("train", *QUICK, "run=bad").code != 0
    assert heard == ["completed", status]
