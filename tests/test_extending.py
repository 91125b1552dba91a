"""Another package adds an objective, a suite, an attack and a tracker: a class and a YAML each, and no other edit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.command import run, succeed

PACKAGE = "outside_for_tests"
TRUSTED = ("--config-dir", "conf", f"plugins=[{PACKAGE}]")

OBJECTIVE = {
    f"{PACKAGE}/fade.py": """
from unlearnctl.objectives.base import Loss, Needs, Objective, View


class Fade(Objective):
    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def needs(self) -> dict[str, Needs]:
        return {"forget": Needs(layers=(2,)), "retain": Needs(layers=(2,), reference=True)}

    def forward(self, forget: View, retain: View) -> Loss:
        fade = forget.token_mean(forget.hidden[2].square().mean(-1))
        keep = retain.token_mean((retain.hidden[2] - retain.reference.hidden[2]).square().mean(-1))
        return Loss(fade + self.alpha * keep, {"forget": fade, "retain": keep}, forget=fade)
""",
    "conf/objective/fade.yaml": f"_target_: {PACKAGE}.fade.Fade\nname: fade\nalpha: 1.0\n",
}
SUITE = {
    f"{PACKAGE}/length.py": """
from unlearnctl.results.metric import Metric


class Length:
    def __init__(self, prompt: str) -> None:
        self.prompt = prompt

    def validate(self) -> None:
        assert self.prompt

    def run(self, model, tokenizer, answers) -> dict[str, Metric]:
        ids = tokenizer(self.prompt, return_tensors="pt").input_ids.to(model.device)
        loss = model(ids, labels=ids).loss.item()
        return {"loss": Metric(loss, None, 1, None, "retain", "lower")}
""",
    "conf/eval/length.yaml": (
        f"# @package eval.length\n_target_: {PACKAGE}.length.Length\nprompt: It is known that\n"
    ),
}
ATTACK = {
    f"{PACKAGE}/shrink.py": """
import torch

from unlearnctl.attacks.base import Variant, kept


class Shrink:
    asks = ()

    def __init__(self, factors: list[float]) -> None:
        self.factors = factors

    def validate(self, tokenizer, blocks: int) -> None:
        assert blocks

    def variants(self, target):
        parameters = dict(target.model.named_parameters())
        for factor in self.factors:
            with kept(target.model, parameters):
                with torch.no_grad():
                    for parameter in parameters.values():
                        parameter.mul_(factor)
                yield Variant(f"times {factor}", {"factor": factor})
""",
    "conf/attack/shrink.yaml": (
        f"# @package attack.shrink\n_target_: {PACKAGE}.shrink.Shrink\nfactors: [0.5]\n"
    ),
}
TRACKER = {
    f"{PACKAGE}/steps.py": """
class Steps:
    def __init__(self, *, file: str) -> None:
        self.file = file

    def start(self, run) -> None:
        self.path = run.directory / self.file

    def log(self, row, step: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{row['kind']} {step}\\n")

    def finish(self, status: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{status}\\n")
""",
    "conf/tracker/steps.yaml": f"_target_: {PACKAGE}.steps.Steps\nname: steps\nfile: steps.txt\n",
}
RECIPE = {"conf/recipe/tinyworld/fade.yaml": "# @package _global_\nobjective: {alpha: 3.0}\n"}
EXTENSIONS = {"objective": OBJECTIVE, "eval": SUITE, "attack": ATTACK, "tracker": TRACKER}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for files in (*EXTENSIONS.values(), RECIPE):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def test_each_extension_is_two_files() -> None:
    for group, files in EXTENSIONS.items():
        code, settings = files
        assert code.startswith(PACKAGE)
        assert settings.startswith(f"conf/{group}/")


@pytest.mark.usefixtures("outside")
def test_they_run_on_the_tiny_world() -> None:
    trained = succeed(
        "train", *TRUSTED, "objective=fade", "eval=[length]", "tracker=steps",
        "trainer.steps=2", "trainer.device=cpu", "trainer.monitor.every=0",
    )  # fmt: skip
    folder = Path(trained.run_dir)
    results = json.loads((folder / "results.json").read_text())
    assert results["before"]["length"]["loss"]["value"] != results["after"]["length"]["loss"]["value"]
    assert (folder / "steps.txt").read_text() == "train 1\ntrain 2\ncompleted\n"
    assert yaml.safe_load((folder / "config.yaml").read_text())["objective"]["alpha"] == 3.0

    attacked = succeed("attack", trained.run_dir, *TRUSTED, "eval=[length]", "attack=[shrink]")
    (row,) = json.loads((Path(attacked.run_dir) / "results.json").read_text())["attacks"]
    assert (row["attack"], row["variant"]) == ("shrink", "times 0.5")

    assert run("track", trained.run_dir).err.startswith("error: objective._target_=outside_for_tests.fade")
    sent = succeed("track", trained.run_dir, f"plugins=[{PACKAGE}]")
    assert f"{folder}: 2 rows sent" in sent.out
