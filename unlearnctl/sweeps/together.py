"""Train several runs in one process that share weights and, where their batches agree, prefix passes.

The steps are those of `unlearning.session.run`, each taken by every run before the next one. Everything else is each
run's own, so that each equals its run alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from unlearnctl.config.instantiate import plain
from unlearnctl.models.shared_models import SharedModels
from unlearnctl.training.loop import Fit, Trainer, interruption
from unlearnctl.training.progress import TrainProgress
from unlearnctl.unlearning.outcome import Outcome
from unlearnctl.unlearning.session import Session, shared_models
from unlearnctl.unlearning.setup import Setup
from unlearnctl.utils.stopping import interruptible

SHARED = ("mixed_precision", "gradient_checkpointing", "device")  # of cfg.trainer
Ended = Callable[[Setup, BaseException | None], None]
Begun = Callable[[Session], None]


def groups(setups: Sequence[Setup], members: int) -> Iterator[list[Setup]]:
    """Group runs that may share weights and prefix passes, at most `members` at once, in their order."""
    by_key: dict[str, list[Setup]] = {}
    for setup in setups:
        by_key.setdefault(group_key(setup), []).append(setup)
    for group in by_key.values():
        # Neighbours whose batches agree, because a prefix pass is shared only within a group.
        group.sort(key=lambda setup: (setup.cfg.seed, setup.cfg.trainer.global_batch))
        for first in range(0, len(group), members):
            yield group[first : first + members]


def group_key(setup: Setup) -> str:
    """Name what members must agree on: the model, the data, the lowest block that trains, how blocks are run."""
    cfg, prepared = plain(setup.cfg), setup.prepared
    how = [cfg["trainer"][key] for key in SHARED]
    return json.dumps([cfg["model"], cfg["data"], prepared.lowest, prepared.trunk, how], sort_keys=True)


def run_together(
    setups: Sequence[Setup],
    ended: Ended,
    begun: Begun = lambda session: None,
    scored: Callable[[Setup], bool] = lambda setup: True,
) -> None:
    """Carry out a group of runs.

    Args:
        setups: of the runs.
        ended: called with each, and with its error if it failed after training.
        begun: called with each when its trainer is made, before the first step.
        scored: whether a run that has trained is worth its scores and its report; the others end without.

    Raises:
        BaseException: whatever stopped the group before.
    """
    sessions = [Session(setup) for setup in setups]
    with ExitStack() as stack:
        for session in sessions:
            stack.enter_context(session.opened())
        models = shared_models(sessions)
        for session in sessions:
            session.measure_base(models)
        _train(sessions, models, begun)
        # All members are saved, and their models freed, before the first is evaluated.
        outcomes = [session.save() for session in sessions]
        for session, outcome in zip(sessions, outcomes, strict=True):
            if scored(session.setup):
                _finish(session, models, outcome, ended)
            else:
                session.discard()
                ended(session.setup, None)


def _train(sessions: Sequence[Session], models: SharedModels, begun: Begun) -> None:
    memo: dict = {}  # prefix passes of the present step
    first, *others = sessions
    with TrainProgress(enabled=first.is_main) as progress:
        for session in sessions:
            session.begin(models, progress)
            session.trainer.tapped.memo = memo
            begun(session)
        models.drop_trunk()  # each member holds what it needs of it
        first.fill_caches(others)
        for session in sessions:
            session.restore()
            session.explore()
        fit_together([session.trainer for session in sessions], memo.clear)


def _finish(session: Session, models: SharedModels, outcome: Outcome, ended: Ended) -> None:
    """Report a run; if that fails, the others are not affected."""
    try:
        session.finish(models, outcome)
    except Exception as error:
        ended(session.setup, session.explain(error))
    else:
        ended(session.setup, None)


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
