"""Carry out one run: measure, unlearn, save, measure again, report. Read `run` from top to bottom.

`sweeps/together.py` takes the same steps on several runs side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from unlearnctl.config.instantiate import plain
from unlearnctl.config.trackers import make_trackers
from unlearnctl.distributed.collectives import on_main
from unlearnctl.evaluation.cache import cached_evaluate, kept_answers
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.models.delta import apply_delta
from unlearnctl.models.load import identity
from unlearnctl.models.shared_models import SharedModels
from unlearnctl.models.storage_layout import share_changed
from unlearnctl.objectives.protocols import WeighsTokens
from unlearnctl.runs.lock import locked
from unlearnctl.tracking import Trackers
from unlearnctl.training.fill import fill_caches
from unlearnctl.training.loop import Trainer
from unlearnctl.training.progress import TrainProgress
from unlearnctl.unlearning.advice import as_user_error, divergence
from unlearnctl.unlearning.cacheable import prefix_base
from unlearnctl.unlearning.checkpointer import RATES, Checkpointer
from unlearnctl.unlearning.learned_weights import measure_token_weights
from unlearnctl.unlearning.memory_usage import MemoryUsage
from unlearnctl.unlearning.outcome import UNSCORED, History, Outcome, print_summary, results, write_outcome
from unlearnctl.unlearning.parts import (
    Training,
    make_trainer,
    make_training,
    set_up_objective,
    tapped_model,
)
from unlearnctl.unlearning.saving import as_stored, changed_tensors, recreate_directory, save_changes
from unlearnctl.unlearning.setup import Setup, make_accelerator
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import cache_dir

if TYPE_CHECKING:
    from torch import Tensor

    from unlearnctl.objectives.base import Objective
    from unlearnctl.results.metric import Scores
    from unlearnctl.training.evaluator import Evaluator
    from unlearnctl.training.settings import TrainerSettings


def run(setup: Setup) -> Outcome:
    """Carry out one run.

    Raises:
        UserError: what stopped it, and how to continue.
    """
    session = Session(setup)
    try:
        with session.opened():
            models = shared_models([session])
            # Before training, because the whole model is freed before the trunk is loaded.
            session.measure_base(models)
            with TrainProgress(enabled=session.is_main) as progress:
                session.begin(models, progress)
                models.drop_trunk()  # the trainer holds what it needs of it
                # Caches are filled before the checkpoint's weights are loaded, because what they hold of the reference
                # is the base's own output.
                session.fill_caches()
                session.restore()
                session.explore()
                session.trainer.fit()
            outcome = session.save()
            return session.finish(models, outcome)
    except BaseException as error:
        explained = session.explain(error)
        if explained is error:
            raise
        raise explained from error


class Session:
    """Takes the steps of one run, which are called in the order in which they stand here."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.accelerator = make_accelerator(setup.prepared.settings)
        self.is_main = self.accelerator.is_main_process
        self.base = identity(setup.prepared.spec)
        self.checkpointer = Checkpointer(setup, self.base, self.accelerator)
        self.history = History()
        self.trackers = Trackers([])
        self.before: Scores = {}
        self.training: Training | None = None
        self.memory: MemoryUsage | None = None
        self.tensors: dict[str, Tensor] = {}  # that changed, once training has ended

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the run's directory, and find the checkpoint that a resumed run continues from."""
        with locked(self.setup.directory, self.is_main):
            try:
                if self.setup.resumed:
                    self.checkpointer.recall()
                yield
            except BaseException as error:
                # Trackers that are closed already stay as they are.
                self.trackers.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                raise

    def measure_base(self, models: SharedModels) -> None:
        """Score the untouched model, or take its scores from the cache."""
        self.before = cached_evaluate(
            self.base,
            plain(self.setup.cfg.eval),
            lambda answers: evaluate(
                self.setup.prepared.suites, models.untouched(), self.setup.tokenizer, answers=answers
            ),
        )

    def begin(self, models: SharedModels, progress: TrainProgress) -> None:
        """Make what trains, and measure what in-training evaluation compares with."""
        from accelerate.utils import set_seed

        setup, prepared = self.setup, self.setup.prepared
        set_seed(setup.cfg.seed)  # first: adapters and control vectors are drawn next
        sliced = prepared.settings.sharding == "fsdp"
        own = [] if prepared.lora else prepared.trainable  # adapters leave every tensor of the base shared
        tapped = tapped_model(prepared, models.for_training(own, sliced))
        set_up_objective(setup)
        self.trackers = self._make_trackers()
        fresh = not self.checkpointer.found
        self.training = make_training(
            setup, self.base, tapped, self.accelerator, self.trackers, fresh, progress.say
        )
        self.trainer.on_step = self._on_step(progress)
        self.trainer.checkpoint = self._write_if_due

    @property
    def trainer(self) -> Trainer:
        """Return the trainer, which exists between `begin` and `save`."""
        return self._parts().trainer

    @property
    def evaluator(self) -> Evaluator:
        """Return the in-training evaluation, which exists between `begin` and `save`."""
        return self._parts().evaluator

    def _parts(self) -> Training:
        assert self.training, "between `begin` and `save` only"
        return self.training

    def _make_trackers(self) -> Trackers:
        setup, resumed = self.setup, self.setup.resumed
        if resumed and self.is_main:
            self.checkpointer.cut_history()
        after = self.checkpointer.saved if resumed else None
        return make_trackers(plain(setup.cfg.tracker), setup.directory, plain(setup.cfg), after)

    def _on_step(self, progress: TrainProgress) -> Callable[[dict[str, Any]], None]:
        advance = progress.member(self.setup.directory.name, self.setup.prepared.settings.steps)

        def on_step(row: dict[str, Any]) -> None:
            self.trackers.log(row, row["step"])
            advance(row)

        return on_step

    def fill_caches(self, others: Sequence[Session] = ()) -> None:
        """Compute once what stays frozen, as `trainer.prefix_cache` asks; also for others that share the model."""
        together = [self, *others]
        prepared = self.setup.prepared
        fill_caches(
            [session.trainer for session in together],
            prefix_base(prepared.spec, self.base, self.accelerator.device.type),
            cache_dir() / "prefix",
            trunk=prepared.trunk,
            matrix=all(session.setup.cache_matrix for session in together),
        )

    def restore(self) -> None:
        """Put the checkpoint that was found back into a run that has begun."""
        found, changes = self.checkpointer.take()
        if found is None:
            return
        rate = self.trainer.lr  # of the config as it is now; loading the state puts back the earlier one
        self._parts().load_state(found)
        step = self.trainer.result.steps
        self.history = History.resumed(found, step, changes)
        self.memory = MemoryUsage(**found["held"]) if found["held"] else None
        if changes.keys() & set(RATES):
            self.trainer.set_lr(rate)
        if "trainer.micro_batch" in changes:
            # What turned out to fit into memory was found with another size: start from the one asked for.
            self.trainer.result.micro_batch = None

    def explore(self) -> None:
        """Let the learner of `trainer=meta` try settings in short episodes, before the run itself."""
        training = self._parts()
        if training.learner is None:
            return

        def make(objective: Objective, settings: TrainerSettings) -> Trainer:
            return make_trainer(self.setup, training.trainer.tapped, objective, settings, self.accelerator)

        training.learner.explore(training.trainer, training.evaluator, make, self._write_if_due)

    def _write_if_due(self) -> None:
        self.checkpointer.write_if_due(self.trainer, self._state)

    def _state(self) -> dict[str, Any]:
        """Return what a training checkpoint holds, under the keys of all earlier versions."""
        # Only the last checkpoint has it: a run that is resumed from there never again holds what training held.
        memory = (self.memory or MemoryUsage.of(self.trainer)) if self.trainer.done else None
        return {
            **self._parts().state(),
            **asdict(self.history),
            "held": asdict(memory) if memory else None,
        }

    def save(self) -> Outcome:
        """Save what changed, in the dtype in which the base folder stores it, and let the model go."""
        prepared, training = self.setup.prepared, self._parts()
        trainer, evaluator, fit = training.trainer, training.evaluator, training.trainer.result
        # Written first, so that a failure from here on, above all in evaluation, does not lose the training.
        self.checkpointer.write(trainer, self._state)
        on_main(lambda: recreate_directory(self.setup))
        self.trackers.finish(fit.status)
        memory = self.memory or MemoryUsage.of(trainer)
        tensors = evaluator.best_tensors or changed_tensors(prepared, trainer.tapped)
        self.tensors = as_stored(tensors, prepared.spec)
        manifest = on_main(lambda: save_changes(self.setup, self.tensors, self.base))
        objective, learned = prepared.objective, None
        weights = objective.weights_of_tokens() if isinstance(objective, WeighsTokens) else None
        if weights is not None:
            learned = measure_token_weights(self.setup, trainer.tapped, weights, self.accelerator.device)
        outcome = Outcome(
            base=self.base,
            fit=fit,
            before=self.before,
            manifest=manifest,
            memory=memory,
            history=self.history,
            lr=trainer.lr,
            best_step=evaluator.best_step,
            meta=training.learner.record(fit.steps) if training.learner else None,
            token_weights=learned,
            moved=share_changed(prepared.spec, self.tensors),
        )
        trainer.tapped.drop_masters()  # evaluation may use the same model
        self.training = None  # and with it the model, before evaluation loads another
        return outcome

    def finish(self, models: SharedModels, outcome: Outcome) -> Outcome:
        """Score the result, write results.json and the report, print the table and what to do next.

        Raises:
            UserError: training diverged.
        """
        setup, status = self.setup, outcome.fit.status
        answers = kept_answers(f"{self.base} {outcome.manifest.get('sha256')}", plain(setup.cfg.eval))
        if status not in UNSCORED:
            model = models.for_evaluation(self.tensors)
            apply_delta(model, self.tensors)
            after = evaluate(setup.prepared.suites, model, setup.tokenizer, answers=answers)
            outcome = replace(outcome, after=after)
        record = results(setup, outcome)
        on_main(lambda: write_outcome(setup, outcome, record))
        if status not in UNSCORED:
            self.checkpointer.clear()  # last: where they are left, the report was not finished
        answers.forget()  # results.json has the scores by now
        print_summary(setup, outcome, record)
        if status == "diverged":
            raise UserError(divergence(setup, outcome, self.checkpointer.saved))
        return outcome

    def discard(self) -> None:
        """End without scores, as a search does with a run that it stopped."""
        self.checkpointer.clear()

    def explain(self, error: BaseException) -> BaseException:
        """Turn an error into what a user can act on; itself where nothing can be added."""
        trainer = self.training.trainer if self.training else None
        return as_user_error(error, self.setup, self.checkpointer.saved, trainer)


def shared_models(sessions: Sequence[Session]) -> SharedModels:
    """Make the weights that sessions read; those that run together share them."""
    first = sessions[0].setup.prepared
    blocks = max(session.setup.prepared.top for session in sessions) + 1 if first.trunk else None
    return SharedModels(
        first.spec, first.skeleton.blocks, str(sessions[0].accelerator.device), len(sessions), blocks
    )
