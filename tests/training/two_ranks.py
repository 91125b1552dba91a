"""Run by test_loop under torch.distributed.run: the same ten steps on two gloo ranks."""

from __future__ import annotations

import sys

import torch

from tests.training.synthetic import make_trainer
from tests.training.test_loop import OBJECTIVES


def main() -> None:
    trainer = make_trainer(OBJECTIVES["rmu"](), topics=2)
    assert trainer.accelerator.num_processes == 2, "the launcher did not give two processes"
    losses: list[float] = []
    trainer.on_step = lambda row: losses.append(row["loss"])
    trainer.fit()
    if trainer.accelerator.is_main_process:
        torch.save((losses, {n: p.detach() for n, p in trainer.tapped.trained().items()}), sys.argv[1])
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
