"""Train several runs in one process that share weights and, where their batches agree, prefix passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unlearnctl.training.loop import Fit, Trainer, interruption
from unlearnctl.utils.stopping import interruptible


def fit_together(trainers: Sequence[Trainer], after_round: Callable[[], None]) -> list[Fit]:
    """Step each trainer in turn until all are done; `after_round` is called when each has had its step."""
    active = [trainer for trainer in trainers if not trainer.done]
    with interruptible() as signalled:
        while active:
            active = [trainer for trainer in active if trainer.advance()]
            after_round()
            if active and (reason := interruption(signalled())):
                for trainer in active:
                    trainer.interrupt(reason)
                break
    return [trainer.result for trainer in trainers]
