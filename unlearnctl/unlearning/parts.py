"""Make what a run trains with: the tapped model, the trainer, the evaluator, the learner and the probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unlearnctl.config.instantiate import build, build_suites, suite_settings
from unlearnctl.evaluation.cache import cached_evaluate
from unlearnctl.evaluation.evaluate import Suite, evaluate
from unlearnctl.evaluation.own_texts import OwnTexts
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.models.adapters import add_adapters
from unlearnctl.models.load import compile_blocks, enable_checkpointing
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.sharding import shard
from unlearnctl.objectives.protocols import UsesNorms, UsesProbes, parts_of
from unlearnctl.probes.fit import Probes, load_probes
from unlearnctl.probes.norms import token_norms
from unlearnctl.probes.on_texts import fit_on
from unlearnctl.results.record import scores_to_json
from unlearnctl.training.evaluator import Evaluator
from unlearnctl.training.loop import Trainer
from unlearnctl.training.rate import relative_rate, typical_rms
from unlearnctl.training.state import load_trainer, trainer_state
from unlearnctl.unlearning.learner import Learner
from unlearnctl.unlearning.saving import changed_tensors
from unlearnctl.unlearning.sinks import sink_share

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from unlearnctl.objectives.base import Objective
    from unlearnctl.results.metric import Metric
    from unlearnctl.tracking import Trackers
    from unlearnctl.training.settings import TrainerSettings
    from unlearnctl.unlearning.prepare import Prepared
    from unlearnctl.unlearning.setup import Setup


@dataclass(frozen=True)
class Training:
    """Holds what exists only while a run trains; the model is freed with it."""

    trainer: Trainer
    evaluator: Evaluator
    learner: Learner | None  # of `trainer=meta`

    def state(self) -> dict[str, Any]:
        """Return what a training checkpoint needs, under the keys of all earlier versions."""
        return {
            "trainer": trainer_state(self.trainer),
            "watcher": self.evaluator.state(),
            "meta": self.learner.state() if self.learner else None,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a state back."""
        load_trainer(self.trainer, state["trainer"])
        self.evaluator.load_state(state["watcher"])
        if self.learner:
            self.learner.load_state(state["meta"])


def make_training(
    setup: Setup,
    base: str,
    tapped: TappedModel,
    accelerator: Accelerator,
    trackers: Trackers,
    fresh: bool,
    say: Callable[[str], None],
) -> Training:
    """Make the evaluator, the trainer and the learner of a tapped model, in this order.

    Args:
        setup: of the run, its objective set up.
        base: identity of the untouched model.
        tapped: the model that trains.
        accelerator: of the run.
        trackers: take the rows.
        fresh: find probes, norms and the first scores; a run that is resumed has them in its checkpoint.
        say: takes a line for people.
    """
    settings, objective = setup.prepared.settings, setup.prepared.objective
    evaluator = make_evaluator(setup, base, tapped, trackers)
    if fresh:
        give_probes(setup, tapped)
        give_norms(setup, tapped)
        if (share := sink_share(setup, tapped)) is not None:
            trackers.log({"kind": "sinks", "step": 0, "share": share}, 0)
        evaluator.start()
    if settings.sharding == "fsdp":
        shard(tapped, accelerator.device.type)  # before the optimiser is made: it has to see the slices
    trainer = make_trainer(setup, tapped, objective, settings, accelerator)
    if relative := relative_rate(settings, objective.needs()):
        rms = trainer.lr / relative
        say(
            f"learning rate: {trainer.lr:.3g}, {relative:g} × {rms:.3g} (the median RMS of the matrices that train)"
        )
    trainer.after_step = evaluator.after_step
    if settings.meta is None:
        return Training(trainer, evaluator, None)
    learner = Learner(settings.meta, objective, setup.cfg.seed, trackers.log, say)
    learner.attach(trainer, evaluator)
    return Training(trainer, evaluator, learner)


def set_up_objective(setup: Setup) -> None:
    """Draw the objective's vectors from a generator of their own, so that they depend on the seed only."""
    generator = torch.Generator().manual_seed(setup.cfg.seed)
    hidden = setup.prepared.skeleton.hidden_size
    setup.prepared.objective.setup(hidden, len(setup.data.topics), generator)


def tapped_model(prepared: Prepared, model: PreTrainedModel) -> TappedModel:
    """Wrap the model that trains, so that it gives the objective what it reads."""
    if prepared.settings.gradient_checkpointing:
        enable_checkpointing(model)
    names, blocks = prepared.trainable, prepared.skeleton.blocks
    if prepared.lora:
        names = add_adapters(model, blocks, names, prepared.lora)
    tapped = TappedModel(model, blocks, names, prepared.lowest, prepared.objective.needs())
    if prepared.settings.master_weights == "auto":
        tapped.hold_masters()
    if prepared.settings.compile:
        compile_blocks(tapped)
    return tapped


def make_trainer(
    setup: Setup,
    tapped: TappedModel,
    objective: Objective,
    settings: TrainerSettings,
    accelerator: Accelerator,
) -> Trainer:
    """Make a trainer of the run's model and data, with a new optimiser."""
    trained, relative = list(tapped.trained().values()), relative_rate(settings, objective.needs())
    lr = relative * typical_rms(trained) if relative else settings.optimizer["lr"]
    optimizer = build("trainer.optimizer", {**settings.optimizer, "lr": lr}, params=trained)
    return Trainer(tapped, objective, setup.data, settings, optimizer, accelerator)


def make_evaluator(setup: Setup, base: str, tapped: TappedModel, trackers: Trackers) -> Evaluator:
    """Make the in-training evaluation that `trainer.monitor` asks for; `base` is the untouched model's identity."""
    settings, meta = setup.prepared.settings.monitor, setup.prepared.settings.meta
    suites: Mapping[str, Suite] = {}
    asked: Mapping[str, Any] | None = None  # of suites that a config describes; other runs have the same
    if settings.every and meta and meta.reward == "texts":
        suites = {"texts": OwnTexts(setup.data, tapped.model.config.get_text_config().vocab_size)}
    elif settings.every:
        asked = suite_settings(setup.cfg.eval, settings.overrides, numbers_only=True)
        suites = build_suites(setup.cfg.eval, settings.overrides, numbers_only=True)

    def score(answers: Answers | None = None) -> dict[str, dict[str, Metric]]:
        return evaluate(suites, tapped.model, setup.tokenizer, quiet=True, answers=answers)

    def report(step: int, scores: Mapping[str, Mapping[str, Metric]]) -> None:
        trackers.log({"kind": "eval", "step": step, "suites": scores_to_json(scores)}, step)

    return Evaluator(
        settings,
        evaluate=score,
        untouched=None if asked is None else lambda: cached_evaluate(base, asked, score, quiet=True),
        snapshot=lambda: changed_tensors(setup.prepared, tapped),
        report=report,
    )


def give_probes(setup: Setup, tapped: TappedModel) -> None:
    """Give probes to each objective that wants them: read from its folder, or fitted on the run's own texts."""
    for topic, part in parts_of(setup.prepared.objective):
        if isinstance(part, UsesProbes):
            layers, folder = part.probe_layers(), part.probe_folder()
            probes = load_probes(Path(folder)) if folder else _fit_probes(setup, tapped, layers, topic)
            part.take_probes(probes.of(layers))


def give_norms(setup: Setup, tapped: TappedModel) -> None:
    """Measure token norms once and give them to each part of the objective that uses them."""
    modules = setup.prepared.objective.modules()
    asking = [part for part in modules if isinstance(part, UsesNorms) and part.norm_layers()]
    if not asking:
        return
    norms = token_norms(
        tapped.decoder, setup.data, sorted({n for part in asking for n in part.norm_layers()})
    )
    for part in asking:
        part.take_norms(norms)


def _fit_probes(setup: Setup, tapped: TappedModel, layers: Sequence[int], topic: str | None) -> Probes:
    probes = fit_on(tapped.decoder, setup.data, layers, setup.cfg.seed, topic=topic)
    accuracies = zip(layers, probes.accuracy.tolist(), strict=True)
    found = ", ".join(f"{layer}: {accuracy:.2f}" for layer, accuracy in accuracies)
    print(f"probes: held-out accuracy by layer {found} ({probes.held_out} texts)")
    return probes
