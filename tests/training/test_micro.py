"""How many sequences are computed at once, and that it changes nothing but the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.training.synthetic import make_trainer
from unlearnctl.data.rows import Row
from unlearnctl.data.streams import ForgetRetain
from unlearnctl.objectives.base import Objective
from unlearnctl.objectives.dpo import DPO
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import NLL
from unlearnctl.objectives.rmu import RMU
from unlearnctl.training.micro import MOST, PASS, micro_batch_for, padded

RAGGED = (4, 40, 9, 38, 5, 41, 10, 7)
MADE: dict[str, Callable[[], Objective]] = {
    "npo": lambda: NPO(0.5, 1.0, 0.7, NLL()),
    "dpo": lambda: DPO(0.5, 1.0, 0.7, NLL()),
}


def data(pack: bool) -> ForgetRetain:
    rows: dict[str, dict[str, list[Row]]] = {}
    for side, shift in (("forget", 1), ("retain", 2), ("alternate", 5)):
        lengths = RAGGED[shift % 3 :] + RAGGED[: shift % 3]
        rows[side] = {
            "all": [Row([(shift + i * t) % 60 for t in range(n)], 2, i) for i, n in enumerate(lengths)]
        }
    return ForgetRetain(rows, 0, "right", True, 0, "", pack=pack)


def test_padding_is_that_of_a_naive_loop() -> None:
    longest_first = sorted(RAGGED, reverse=True)
    for size in (1, 2, 4, 8):
        cut = [longest_first[i : i + size] for i in range(0, 8, size)]
        assert padded(RAGGED, size) == sum(len(one) * max(one) for one in cut)


def test_equal_lengths_stay_whole_up_to_what_a_processor_gains_from() -> None:
    assert micro_batch_for([[16] * 8] * 2, 8, "cpu") == 8
    assert micro_batch_for([[256] * 4] * 2, 4, "cpu") == 2  # 512 positions
    assert micro_batch_for([[256] * 4] * 2, 4, "cuda") == 4
    assert micro_batch_for([[2 * MOST["cpu"]] * 4], 4, "cpu") == 1


def test_unequal_lengths_are_split_where_padding_costs_more_than_passes() -> None:
    few, many = [[10] * 4 + [10 + 2 * PASS["cpu"]] * 4], [[10] * 4 + [10] * 4]
    assert (micro_batch_for(few, 8, "cpu"), micro_batch_for(many, 8, "cpu")) == (4, 8)


@pytest.mark.parametrize("world", [1, 2])
def test_packed_micro_batches_are_each_process_share_in_another_order(world: int) -> None:
    for step in (0, 3):
        for rank in range(world):
            (plain,) = data(False).micro_batches(step, 8, 8 // world, rank, world)
            parts = data(True).micro_batches(step, 8, 2, rank, world)
            for side, whole in plain.items():
                index = torch.cat([part[side].index for part in parts])
                assert sorted(index.tolist()) == sorted(whole.index.tolist())
                assert {(p[side].tokens, p[side].predictions) for p in parts} == {
                    (whole.tokens, whole.predictions)
                }
            pairs = {
                tuple(pair)
                for part in parts
                for pair in zip(*(part[s].index.tolist() for s in ("forget", "alternate")), strict=True)
            }
            assert pairs == set(
                zip(plain["forget"].index.tolist(), plain["alternate"].index.tolist(), strict=True)
            )
            widths = [part["retain"].input_ids.shape[1] for part in parts]
            assert widths == sorted(widths, reverse=True)
            assert sum(widths) < 4 // world * max(widths)


@pytest.mark.parametrize("name", MADE)
def test_packing_gives_the_same_loss_and_gradient(name: str) -> None:
    steps = []
    for pack in (False, True):
        trainer = replace(make_trainer(MADE[name]()), data=data(pack))
        micros = trainer.batches(0)
        assert (len(micros) > 1) == pack
        terms = trainer.gradients(micros)
        steps.append((terms, [p.grad.clone() for p in trainer.parameters if p.grad is not None]))
    (plain, theirs), (packed, ours) = steps
    for term, value in plain.items():
        torch.testing.assert_close(packed[term], value, rtol=1e-6, atol=1e-6)
    for mine, one in zip(ours, theirs, strict=True):
        assert (mine - one).norm() <= 1e-6 * one.norm() + 1e-8


def test_losses_on_hidden_states_and_what_was_asked_for_stay_as_they_are() -> None:
    trainer = replace(make_trainer(RMU(4, 4.0, 10.0)), data=data(True))
    assert trainer.micro == 8
    assert replace(make_trainer(MADE["npo"](), micro_batch=4), data=data(True)).micro == 4
