"""Composite: each topic's steps are those of its own objective, and nothing else is mixed in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.built import built
from tests.objectives.harness import D, view
from tests.training.synthetic import make_trainer
from unlearnctl.objectives.base import Loss, Needs, View
from unlearnctl.objectives.composite import Composite
from unlearnctl.objectives.grad_ascent import GradAscent
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.pdu import PDU
from unlearnctl.objectives.retain import KL, NLL
from unlearnctl.objectives.rmu import RMU
from unlearnctl.utils.errors import UserError


def of_topic(v: View, topic: int) -> View:
    return View(replace(v.batch, topic=topic), v.policy, v.frozen)


def make() -> Composite:
    return Composite({"facts": RMU(4, 2.0, 3.0, relative="mean"), "style": NPO(0.1, 1.0, 1.0, NLL())})


def test_each_topic_has_its_own_loss() -> None:
    composite = make()
    composite.setup(D, 2, torch.Generator().manual_seed(7))
    alone = RMU(4, 2.0, 3.0, relative="mean")
    alone.setup(D, 2, torch.Generator().manual_seed(7))
    for objective in (composite, alone):
        objective.calibrate(of_topic(view(1), 0))
    composite.calibrate(of_topic(view(1), 1))  # NPO has nothing to calibrate
    views = {"forget": of_topic(view(1), 0), "retain": of_topic(view(2), 0)}
    ours, theirs = composite(**views), alone(**views)
    assert torch.equal(ours.total, theirs.total)
    assert set(ours.terms) == {"facts/forget", "facts/retain"}
    views = {"forget": of_topic(view(1), 1), "retain": of_topic(view(2), 1)}
    assert torch.equal(composite(**views).total, NPO(0.1, 1.0, 1.0, NLL())(**views).total)
    assert set(composite(**views).terms) == {"style/forget", "style/retain"}


def test_needs_and_trainable_are_the_union() -> None:
    composite = Composite(
        {"a": RMU(4, 2.0, 3.0, reduction="all"), "b": NPO(0.1, 1.0, 1.0, KL()), "c": GradAscent()}
    )
    assert composite.needs() == {
        "forget": Needs(layers=(4,), logprobs=True, reference=True, padding=True),
        "retain": Needs(layers=(4,), logits=True, reference=True, padding=True),
    }

    class Arch:
        blocks = "model.layers"

        def mlp_outputs(self, block: int) -> list[str]:
            return [f"model.layers.{block}.mlp.down_proj.weight"]

    assert composite.trainable(Arch()) == [*RMU(4, 2.0, 3.0).trainable(Arch()), ".*"]
    assert set(Composite({"a": GradAscent()}).needs()) == {"forget"}


def test_after_a_step_only_its_topic_learns() -> None:
    composite = Composite({"a": PDU(1.0, 2.0, 1.0, 1.0, NLL()), "b": PDU(1.0, 2.0, 1.0, 1.0, NLL())})
    composite.after_step({"b/forget": 0.0, "b/retain": 2.0})
    multipliers = [part.multiplier.item() for part in composite.parts().values()]  # type: ignore[union-attr,operator]
    assert multipliers == [1.0, 3.0]


def test_topics_take_turns_in_training() -> None:
    trainer = make_trainer(make(), topics=2, steps=4)
    seen: list[set[str]] = []
    trainer.on_step = lambda row: seen.append(set(row["terms"]))
    assert trainer.fit().steps == 4
    assert seen == [{"facts/forget", "facts/retain"}, {"style/forget", "style/retain"}] * 2
    assert trainer.objective.get_buffer("by_topic.facts.scale")[0] > 0


def test_weights_scale_a_topics_loss_and_not_its_terms() -> None:
    parts = {"a": NPO(0.1, 1.0, 1.0, NLL()), "b": NPO(0.1, 1.0, 1.0, NLL())}
    weighted, plain = Composite(parts, {"b": 0.25}), Composite(parts)
    for topic, factor in ((0, 1.0), (1, 0.25)):
        views = {"forget": of_topic(view(1), topic), "retain": of_topic(view(2), topic)}
        torch.testing.assert_close(weighted(**views).total, factor * plain(**views).total)
        assert weighted(**views).terms.keys() == plain(**views).terms.keys()
    for weights, key in (({"c": 1.0}, "weights=c"), ({"a": 0.0}, "weights={'a': 0.0}")):
        with pytest.raises(UserError, match=rf"^objective\.{key}"):
            built("objective", Composite, parts, weights)


class Silent(GradAscent):
    """An objective that does not say what forgets, as the first ones of a user may not."""

    def forward(self, forget: View) -> Loss:
        return replace(super().forward(forget), forget=None)


def test_a_part_that_does_not_say_what_forgets_works_without_sharpness() -> None:
    loss = Composite({"a": Silent()})(forget=view(1))
    torch.testing.assert_close(loss.part("total"), GradAscent()(view(1)).total)
    with pytest.raises(UserError, match=r"^trainer\.sharpness: this objective does not say what forgets"):
        loss.part("forget")


def test_no_part_is_refused() -> None:
    with pytest.raises(UserError, match=r"^objective\.by_topic="):
        built("objective", Composite, {})
