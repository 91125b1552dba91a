"""A planted answer is found where it was planted; the base is measured as well, and removed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.attacks.conftest import BLOCKS, weights
from tests.built import built
from unlearnctl.attacks.base import Target
from unlearnctl.attacks.latent import Latent
from unlearnctl.probes.answer_probe import Questions, probe_answers
from unlearnctl.utils.errors import UserError


def planted(n: int, seed: int) -> Questions:
    """Layer 0 says which of three values it is, layer 1 is noise; values of one pool."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.arange(n) % 3
    states = torch.randn(n, 2, 8, generator=generator)
    states[:, 0, :3] += 6 * torch.nn.functional.one_hot(which, 3)
    names = ["x", "y", "z"]
    return Questions(states, [names[i] for i in which], [names] * n)


def test_a_planted_answer_is_found_and_noise_is_not() -> None:
    train, test = planted(300, 0), planted(150, 1)
    there, noise = probe_answers(train, test, seed=0)
    assert test.chance == pytest.approx(1 / 3)
    assert sum(there.right) / 150 > 0.95
    assert abs(sum(noise.right) / 150 - 1 / 3) < 0.12
    assert abs(there.control - 1 / 3) < 0.15
    assert [f.right for f in probe_answers(train, test, seed=0)] == [there.right, noise.right]


def test_only_a_questions_own_choices_are_said() -> None:
    """Two pools: without the restriction, states that point to `x` would be right in neither."""
    train = planted(300, 0)
    both = Questions(
        torch.cat([train.states, train.states]),
        [*train.answers, *(f"{a}'" for a in train.answers)],
        [*train.choices, *([["x'", "y'", "z'"]] * 300)],
    )
    test = planted(60, 1)
    primed = Questions(test.states, [f"{a}'" for a in test.answers], [["x'", "y'", "z'"]] * 60)
    assert sum(probe_answers(both, primed, 0)[0].right) / 60 > 0.9
    unheard = Questions(test.states, ["q"] * 60, [["q", "r"]] * 60)
    assert sum(probe_answers(train, unheard, 0)[0].right) == 0


def fields(path: str) -> dict[str, str]:
    return {"path": path, "prompt_field": "stem", "field": "answer", "alternate_field": "others"}


@pytest.fixture
def held_out(tmp_path: Path) -> str:
    rows = [
        {
            "stem": f"w{50 + i} w{i}",
            "answer": f"w{40 + i % 3}",
            "others": [f"w{40 + (i + k) % 3}" for k in (1, 2)],
        }
        for i in range(9)
    ]
    file = tmp_path / "held_out.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


def test_layers_beside_the_base(target: Target, questions: str, held_out: str) -> None:
    attack = Latent(fields(questions), fields(held_out), layers=[0, 5], batch_size=7)
    attack.validate(target.tokenizer, BLOCKS)
    name = "model.layers.2.mlp.down_proj.weight"
    before = weights(target)
    same = Target(target.model, target.tokenizer, target.blocks, 0, {name: before[name]})
    first, last = attack.variants(same)
    assert (first.settings["layer"], last.settings["layer"]) == (0, 5)
    for variant in (first, last):
        assert variant.scores is not None
        metric = variant.scores["latent"]["probe_acc"]
        assert (metric.n, metric.role, metric.goal) == (9, "forget", "lower")
        assert metric.chance == pytest.approx(1 / 3)
        assert variant.base == variant.scores  # the base has the same weights here
    assert all(torch.equal(p, before[n]) for n, p in target.model.named_parameters())
    alone = list(attack.variants(target))
    assert [v.base for v in alone] == [None, None]
    assert [v.scores for v in alone] == [first.scores, last.scores]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [6]}, r"^attack\.latent\.layers=\[6\]: this model has 6 blocks, 0 to 5"),
        ({"strength": 0}, r"^attack\.latent\.strength=0: must be a positive number"),
        ({"test": None}, r"^attack\.latent\.test=null: must be a mapping"),
    ],
)
def test_mistakes(change: dict, message: str, target: Target, questions: str, held_out: str) -> None:
    arguments = {"train": fields(questions), "test": fields(held_out), **change}
    with pytest.raises(UserError, match=message):
        built("attack.latent", Latent, **arguments).validate(target.tokenizer, BLOCKS)


def test_what_the_corpora_must_hold(target: Target, questions: str) -> None:
    with pytest.raises(
        UserError, match=r"^attack\.latent\.test: 24 questions are also in attack\.latent\.train"
    ):
        Latent(fields(questions), fields(questions)).validate(target.tokenizer, BLOCKS)
    bare = {key: value for key, value in fields(questions).items() if key != "alternate_field"}
    with pytest.raises(UserError, match=r"^attack\.latent\.train\.alternate_field=null: must name a field"):
        Latent(bare, fields(questions)).validate(target.tokenizer, BLOCKS)
