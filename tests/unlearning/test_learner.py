"""trainer=meta around whole runs: what it writes, replays to the last bit, searches without a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import run, succeed
from unlearnctl.config.compose import composed
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import NLL
from unlearnctl.results.metric import Metric
from unlearnctl.training.evaluator import Evaluator
from unlearnctl.training.meta.settings import MetaSettings
from unlearnctl.training.settings import Monitor
from unlearnctl.unlearning.learner import Learner
from unlearnctl.utils.errors import UserError

SHORT = (
    "trainer=meta", "trainer.device=cpu", "trainer.steps=6", "trainer.global_batch=4", "trainer.monitor.every=2",
    "eval=[smoke]", "trainer.monitor.overrides=null", "trainer.monitor.keep=last", "objective.alpha=1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(run: str, kind: str) -> list[dict]:
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def delta(run: str) -> bytes:
    return (Path(run) / "checkpoint/delta.safetensors").read_bytes()


@pytest.mark.full
def test_online_acts_at_each_evaluation_and_is_replayed_bit_for_bit() -> None:
    learned = succeed("train", *SHORT, "trainer.meta.layers=[[4],[3,4]]", "run=a")
    acts = rows(learned.run_dir, "meta")
    assert [(r["step"], r["until"]) for r in acts] == [(0, 2), (2, 4), (4, 6)]
    assert len({r["knobs"]["alpha"] for r in acts}) == 3
    assert "meta steps 2-4  alpha" in learned.out
    record = json.loads((Path(learned.run_dir) / "results.json").read_text())["train"]["meta"]
    assert record["mode"] == "online"
    assert record["steps"] == 6
    again = succeed(
        "train", *SHORT, "trainer.meta.layers=[[4],[3,4]]", "trainer.meta.mode=replay",
        f"trainer.meta.replay={learned.run_dir}", "trainer.monitor.every=0", "run=b",
    )  # fmt: skip
    assert delta(again.run_dir) == delta(learned.run_dir)
    fixed = succeed("train", *SHORT, "trainer.meta=null", "objective.layer=[3,4]", "run=c")
    assert delta(fixed.run_dir) != delta(learned.run_dir)
    assert "Learned trade-offs" in (Path(learned.run_dir) / "report.html").read_text()


@pytest.mark.full
@pytest.mark.parametrize("cache", ["none", "memory"])
def test_episodes_leave_no_trace_in_the_run_itself(cache: str) -> None:
    """One episode, which has the config's own values: the run is that of the fixed setting, to the last bit."""
    both = (f"trainer.prefix_cache={cache}",)
    mode = ("trainer.meta.mode=search", "trainer.meta.episodes=1", "trainer.meta.episode_steps=3")
    found = succeed("train", *SHORT, *both, *mode, "run=a")
    fixed = succeed("train", *SHORT, *both, "trainer.meta=null", "run=b")
    assert delta(found.run_dir) == delta(fixed.run_dir)
    record = json.loads((Path(found.run_dir) / "results.json").read_text())["train"]["meta"]
    assert record["steps"] == 6 + 3


@pytest.mark.full
def test_the_best_episode_is_what_is_run_and_can_be_replayed() -> None:
    mode = ("trainer.meta.mode=random", "trainer.meta.episodes=3", "trainer.meta.episode_steps=2")
    found = succeed("train", *SHORT, *mode, "run=a")
    episodes = rows(found.run_dir, "episode")
    assert len(episodes) == 3
    (final,) = rows(found.run_dir, "meta")
    assert final["knobs"] == max(episodes, key=lambda r: r["hypervolume"])["knobs"]
    again = succeed(
        "train", *SHORT, "trainer.meta.mode=replay", f"trainer.meta.replay={found.run_dir}", "run=b"
    )
    assert delta(again.run_dir) == delta(found.run_dir)


@pytest.mark.full
def test_texts_reward_without_any_suite_in_any_dtype() -> None:
    """Masters, several micro-batches, a search and its run; each row tells how uncertain its reward is."""
    for mode in ("search", "online"):
        learned = succeed(
            "train", *SHORT, "eval=[]", "trainer.meta.reward=texts", "model.dtype=bfloat16", f"run={mode}",
            f"trainer.meta.mode={mode}", "trainer.meta.episodes=2", "trainer.meta.episode_steps=4",
            "trainer.optimizer.lr=1e-2",
        )  # fmt: skip
        acts = rows(learned.run_dir, "meta" if mode == "online" else "episode")
        assert all(0 < row["forgotten"] < 1 for row in acts)
        assert all(row["noise"] > 0 for row in acts)
        assert set(rows(learned.run_dir, "eval")[0]["suites"]) == {"texts"}
        record = json.loads((Path(learned.run_dir) / "results.json").read_text())
        assert record["train"]["trained"]["moved"] > 0.5
        assert [flag["raised"] for flag in record["flags"] if flag["name"] == "flat_rewards"] == [False]


def test_the_tiny_world_is_rewarded_by_its_questions_and_other_models_by_texts() -> None:
    for model, reward in (("tinyworld_qwen2", "suites"), ("smollm2_135m", "texts")):
        (cfg,) = composed([f"model={model}", "trainer=meta"])
        assert cfg.trainer.meta.reward == reward


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (["trainer.meta.knobs=[alfa]"], "trainer.meta.knobs=alfa: unknown (did you mean 'alpha'?)"),
        (
            ["trainer.monitor.every=0"],
            "trainer.monitor.every=0: trainer=meta learns from in-training evaluation",
        ),
        (["trainer.meta.mode=search"], "trainer.meta.episode_steps=100: must be at most trainer.steps=6"),
        (
            ["trainer.meta.mode=replay", "trainer.meta.replay=nowhere"],
            "trainer.meta.replay=nowhere: no readable",
        ),
        (
            ["objective=rmu", "trainer.meta.layers=[3,4]"],
            "trainer.meta.layers: this objective reads fixed layers",
        ),
        (["trainer.meta.layers=[3,9]"], "objective.layer=9: tinyworld has 8 blocks"),
        (
            ["trainer.meta.reward=texts", "trainer.monitor.overrides={smoke: {}}"],
            "trainer.monitor.overrides={'smoke': {}}: no suite is asked with trainer.meta.reward=texts",
        ),
        (["trainer.meta.reward=text"], "trainer.meta.reward=text: unknown (did you mean 'texts'?)"),
        (["trainer.meta.episodes=many"], "trainer.meta.episodes=many: must be a whole number"),
    ],
)
def test_mistakes_are_one_line_before_weights_load(wrong: list[str], line: str) -> None:
    done = run("train", *SHORT, *wrong)
    assert done.code == 2
    assert line in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not Path("outputs").exists()


def test_a_learner_that_nothing_could_teach_is_refused() -> None:
    """A membership AUC should end at chance: it is neither forgetting nor retention, so there is no trade-off."""
    before = {"s": {"loss_auc": Metric(0.9, None, 10, 0.5, "forget", "chance")}}
    evaluator = Evaluator(Monitor(every=1), lambda: before, dict, lambda step, scores: None, before=before)
    objective = NPO(0.1, 1.0, 1.0, NLL())
    learner = Learner(MetaSettings(knobs=["alpha"]), objective, 0, lambda row, step: None, lambda line: None)
    with pytest.raises(UserError, match=r"^trainer\.meta\.mode=online: .* no suite in eval measures either$"):
        learner.attach(None, evaluator)  # type: ignore[arg-type]
