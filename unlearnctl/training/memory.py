"""A step in pieces that fit into memory: `trainer.on_oom`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from unlearnctl.training.state import State, load_objective, load_random, objective_state, random_state
from unlearnctl.utils.errors import out_of_memory

if TYPE_CHECKING:
    from unlearnctl.data.batch import Batch
    from unlearnctl.training.loop import Trainer


def fitting(trainer: Trainer, step: int) -> tuple[list[dict[str, Batch]], dict[str, torch.Tensor]]:
    """A step's micro-batches and loss terms, the gradient left in the parameters.

    With `trainer.on_oom=halve` a step for which memory does not suffice is begun again in smaller pieces, with the
    objective and the random numbers as they were, so that it is the step of a run with that micro-batch.
    """
    if trainer.settings.on_oom == "stop":
        micros = trainer.batches(step)
        return micros, trainer.gradients(micros)
    before = copy.deepcopy(objective_state(trainer.objective)), random_state()
    while True:
        try:
            micros = trainer.batches(step)
            return micros, trainer.gradients(micros)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or trainer.micro == 1:
                raise
        _halve(trainer, step, *copy.deepcopy(before))  # not in the handler: its traceback holds the tensors


def smaller(micro: int) -> int:
    """The largest part of a micro-batch that divides it."""
    return max(n for n in range(1, micro) if micro % n == 0)


def _halve(trainer: Trainer, step: int, objective: State, randomness: State) -> None:
    was = trainer.micro
    trainer.result.micro_batch = smaller(was)
    trainer.optimizer.zero_grad()
    trainer.objective.train()
    load_objective(trainer.objective, objective)
    load_random(randomness)
    if trainer.tapped.memo is not None:
        trainer.tapped.memo.clear()
    if trainer.accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
    print(
        f"out of memory at step {step + 1}: trainer.micro_batch {was} → {trainer.micro} from here on; "
        f"trainer.global_batch={trainer.settings.global_batch} stays"
    )
