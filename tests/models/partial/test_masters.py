"""A module whose parameter is a float32 master computes what it computed before, and its gradient is float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.models.tiny import ARCHITECTURES, make_batch, tiny_model
from tests.training.synthetic import make_trainer
from unlearnctl.models.partial.masters import hold_masters, slots_of
from unlearnctl.objectives.rmu import RMU

OTHERS = [*(set(ARCHITECTURES) - {"llama", "qwen2"}), "gpt2", "bloom", "gpt_oss", "mamba", "mixtral"]


def all_slots(model: nn.Module) -> list[tuple[nn.Module, str, str]]:
    return slots_of(model, {id(parameter): name for name, parameter in model.named_parameters()})


@pytest.mark.parametrize(
    "architecture",
    ["llama", "qwen2", *(pytest.param(a, marks=pytest.mark.full) for a in sorted(OTHERS))],
)
@pytest.mark.filterwarnings("ignore")  # transformers misses kernels of some
def test_outputs_keep_their_bits(architecture: str) -> None:
    """Before, with masters, and rounded back; qwen2 has a tied head, mixtral stacks of experts."""
    model, batch = tiny_model(architecture).bfloat16(), make_batch((13, 20, 7))
    given = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    before = model(**given).logits
    names = [name for name, _ in model.named_parameters()]
    drop = hold_masters(all_slots(model))
    during = model(**given).logits
    assert torch.equal(before, during)
    assert [name for name, _ in model.named_parameters()] == names
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    during.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)
    model.zero_grad()
    drop()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.equal(before, model(**given).logits)


def test_steps_below_half_a_unit_add_up() -> None:
    """At 1.0 a bfloat16 unit is 2⁻⁷ upwards: a step of 2⁻¹⁰ is lost, and four of them are half a unit."""
    linear = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(linear.weight)
    drop = hold_masters([(linear, "weight", "weight")])
    with torch.no_grad():
        for _ in range(5):
            linear._parameters["weight"].add_(2**-10)
        assert linear(torch.ones(1, dtype=torch.bfloat16)).item() == 1 + 2**-7
    drop()
    assert linear.weight.item() == 1 + 2**-7


def test_micro_batches_gradients_are_summed_in_float32() -> None:
    linear = nn.Linear(1, 1, bias=False).bfloat16()
    hold_masters([(linear, "weight", "weight")])
    for x in (1.0, 2**-12):  # their sum needs 13 bits
        linear(torch.tensor([x], dtype=torch.bfloat16)).backward()
    assert linear._parameters["weight"].grad.item() == 1 + 2**-12


def test_float32_parameters_are_left_alone() -> None:
    linear = nn.Linear(2, 2)
    linear.bias.data = linear.bias.data.half()
    weight, bias = linear.weight, linear.bias
    hold_masters(all_slots(linear))
    assert linear.weight is weight
    assert linear.bias.dtype == torch.float16
    assert linear._parameters["bias"] is bias
    untouched = nn.Linear(2, 2)
    hold_masters(all_slots(untouched))
    assert type(untouched) is nn.Linear


def test_a_stack_of_experts_is_rounded_once_per_call() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrices = nn.Parameter(torch.ones(3, 2, 2, dtype=torch.bfloat16))
            self.seen: list[Tensor] = []

        def forward(self) -> Tensor:
            self.seen = [self.matrices for _ in range(3)]
            return sum(matrices[i].sum() for i, matrices in enumerate(self.seen))

    stack = Stack()
    hold_masters(all_slots(stack))
    stack().backward()
    assert len({id(matrices) for matrices in stack.seen}) == 1
    assert stack.matrices is not stack.seen[0]  # nothing is kept between calls
    assert torch.equal(stack._parameters["matrices"].grad, torch.ones(3, 2, 2))


def test_the_reference_keeps_its_dtype_and_the_bits_of_the_base() -> None:
    plain = make_trainer(RMU(4, 4.0, 10.0), dtype=torch.bfloat16)
    trainer = make_trainer(RMU(4, 4.0, 10.0), dtype=torch.bfloat16, master_weights="auto", steps=3)
    assert {v.dtype for v in trainer.tapped.reference_tensors()} == {torch.bfloat16}
    trainer.fit()
    batch = trainer.batches(0)[0]["retain"]
    need = trainer.tapped.needs["retain"]
    views = [t.tapped.read(batch, need) for t in (plain, trainer)]
    assert torch.equal(*(view.reference.hidden[4] for view in views))
    assert not torch.equal(*(view.policy.hidden[4] for view in views))


def test_a_master_that_no_half_can_hold_is_not_finite() -> None:
    """A float16 number ends at 65,504; the run has to see it before it saves infinities."""
    trainer = make_trainer(RMU(4, 4.0, 10.0), dtype=torch.float16, master_weights="auto")
    assert trainer.finite()
    with torch.no_grad():
        trainer.parameters[0][0, 0] = 7e4
    assert not trainer.finite()
