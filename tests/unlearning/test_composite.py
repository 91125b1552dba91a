"""Knowledge and toxicity in one run, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import QUICK, run, succeed

BOTH = ("train", *QUICK, "data=tinyworld_hazard_toxic", "objective=composite", "trainer.steps=4")


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.full
def test_two_functions_in_one_run() -> None:
    done = succeed(
        *BOTH, "~recipe", "objective@objective.by_topic.hazard=rmu", "objective.by_topic.toxic.layers=[4,5]"
    )
    assert done.out.count("probes: held-out accuracy by layer 4: ") == 1
    rows = [json.loads(line) for line in (Path(done.run_dir) / "metrics.jsonl").read_text().splitlines()]
    assert [next(iter(row["terms"])).split("/")[0] for row in rows] == ["hazard", "toxic", "hazard", "toxic"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("data=tinyworld_hazard",),
            "objective.by_topic: its topics ['hazard', 'toxic'] are not those of data=",
        ),
        (
            ("objective.by_topic.toxic.loss=erase",),
            "objective.by_topic.toxic.loss=erase: unknown. Allowed: hinge, project, push",
        ),
        (
            ("+objective.by_topic.toxic.lss=push",),
            "objective.by_topic.toxic.lss: unknown key (did you mean 'loss'?)",
        ),
        (("objective.by_topic.hazard.layer=[99]",), "objective.layer=99: tinyworld has 8 blocks"),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...], message: str) -> None:
    done = run(*BOTH, *args)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}"), done.err
