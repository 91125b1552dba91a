"""One run from its first measurement to its last line. `unlearning/train.py` calls the methods in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from unlearnctl.config.instantiate import build, build_suites, plain
from unlearnctl.config.trackers import make_trackers
from unlearnctl.data.streams import ForgetRetain
from unlearnctl.distributed.collectives import on_main
from unlearnctl.evaluation.cache import cached_evaluate, kept_answers
from unlearnctl.evaluation.evaluate import evaluate
from unlearnctl.models.adapters import add_adapters, merged
from unlearnctl.models.delta import apply_delta, save_delta
from unlearnctl.models.load import compile_blocks, enable_checkpointing, identity
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.sharding import shard, whole
from unlearnctl.models.shared_models import SharedModels
from unlearnctl.models.storage_layout import stored_dtypes
from unlearnctl.objectives.protocols import UsesProbes, WeighsTokens, parts_of
from unlearnctl.probes.fit import Probes, load_probes
from unlearnctl.probes.on_texts import fit_on
from unlearnctl.results.metric import Metric
from unlearnctl.results.provenance import now
from unlearnctl.results.record import scores_to_json
from unlearnctl.runs.directory import keep_config
from unlearnctl.tracking import Trackers
from unlearnctl.training.evaluator import Watcher
from unlearnctl.training.loop import Fit, Trainer
from unlearnctl.unlearning.advice import divergence
from unlearnctl.unlearning.checkpointer import Saver
from unlearnctl.unlearning.learned_weights import measure_token_weights
from unlearnctl.unlearning.learner import Meta
from unlearnctl.unlearning.memory_usage import Held
from unlearnctl.unlearning.outcome import UNSCORED, command_line, result, tell, write_result
from unlearnctl.unlearning.plan import Plan
from unlearnctl.unlearning.prepare import Prepared
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearnctl.objectives.base import Objective
    from unlearnctl.training.progress import TrainProgress
    from unlearnctl.training.settings import TrainerSettings

Scores = dict[str, dict[str, Metric]]


@dataclass
class Run:
    """The parts of one run, and what they have produced so far."""

    cfg: DictConfig
    ready: Prepared
    plan: Plan
    data: ForgetRetain
    tokenizer: PreTrainedTokenizerBase
    accelerator: Accelerator
    directory: Path
    cache_matrix: bool  # the prefix cache goes up to the first trained matrix
    base: str = ""  # identity of the untouched weights
    started: str = field(default_factory=now)
    before: Scores = field(default_factory=dict)
    tapped: TappedModel = field(init=False)
    trainer: Trainer = field(init=False)
    watcher: Watcher = field(init=False)
    fit: Fit = field(init=False)
    held: Held | None = None
    meta: Meta | None = None
    token_weights: dict[str, Any] | None = None
    resumed: bool = False  # goes on with what the directory holds
    resumed_after: list[int] = field(default_factory=list)  # steps
    changed: list[dict[str, Any]] = field(default_factory=list)  # settings that a resumption has set anew
    command: str = field(default_factory=command_line)
    saver: Saver = field(init=False)
    best_step: int | None = None
    tensors: dict[str, Tensor] = field(init=False)
    manifest: dict[str, Any] = field(init=False)
    trackers: Trackers = field(default_factory=lambda: Trackers([]))

    def __post_init__(self) -> None:
        self.saver = Saver(self)

    def measure_base(self, models: SharedModels) -> None:
        """Scores of the untouched model, from the cache if it was measured before."""
        self.base = identity(self.ready.spec)
        self.before = cached_evaluate(
            self.base,
            plain(self.cfg.eval),
            lambda answers: evaluate(self.ready.suites, models.untouched(), self.tokenizer, answers=answers),
        )

    def begin(self, models: SharedModels, progress: TrainProgress) -> None:
        """Make the trainer, and measure what in-training evaluation compares with."""
        import torch
        from accelerate.utils import set_seed

        ready = self.ready
        set_seed(self.cfg.seed)
        own, sliced = [] if ready.lora else ready.trainable, ready.settings.sharding == "fsdp"
        self.tapped = self.tapped_model(models.for_training(own, sliced))
        generator = torch.Generator().manual_seed(self.cfg.seed)
        ready.objective.setup(ready.skeleton.hidden_size, len(self.data.topics), generator)
        if self.resumed and self.accelerator.is_main_process:
            self.saver.cut_history()
        settings, after = plain(self.cfg.tracker), self.saver.saved if self.resumed else None
        self.trackers = make_trackers(settings, self.directory, plain(self.cfg), after)
        self.watcher = self.make_watcher(self.tapped, self.trackers)
        if not self.saver.found:  # else the checkpoint has what these two would find
            self.give_probes()
            self.watcher.start()
        if sliced:
            shard(self.tapped, self.accelerator.device.type)
        advance = progress.member(self.directory.name, ready.settings.steps)

        def on_step(row: dict[str, Any]) -> None:
            self.trackers.log(row, row["step"])
            advance(row)

        self.trainer = self.make_trainer(ready.objective, ready.settings)
        self.trainer.on_step, self.trainer.after_step = on_step, self.watcher.after_step
        self.trainer.checkpoint = self.saver.between_steps
        if ready.settings.meta:
            self.meta = Meta(self, ready.settings.meta, progress.say)

    @property
    def training(self) -> bool:
        """Whether it is between `begin` and `keep`."""
        return "trainer" in vars(self)

    def make_trainer(self, objective: Objective, settings: TrainerSettings) -> Trainer:
        """A trainer of this run's model and data, its optimiser at the start."""
        trained = self.tapped.trained().values()
        optimizer = build("trainer.optimizer", settings.optimizer, params=trained)
        return Trainer(self.tapped, objective, self.data, settings, optimizer, self.accelerator)

    def give_probes(self) -> None:
        """Give each objective the probes that it needs: read from its folder, or fitted on the run's own texts."""
        for topic, objective in parts_of(self.ready.objective):
            if isinstance(objective, UsesProbes):
                layers = objective.probe_layers()
                objective.take_probes(self.probes_for(layers, topic, objective.probe_folder()).of(layers))

    def probes_for(self, layers: Sequence[int], topic: str | None, folder: str | None) -> Probes:
        """Read, or fitted on a topic's forget and retain texts."""
        if folder:
            return load_probes(Path(folder))
        probes = fit_on(self.tapped.decoder, self.data, layers, self.cfg.seed, topic=topic)
        found = ", ".join(
            f"{layer}: {a:.2f}" for layer, a in zip(layers, probes.accuracy.tolist(), strict=True)
        )
        print(f"probes: held-out accuracy by layer {found} ({probes.held_out} texts)")
        return probes

    def tapped_model(self, model: PreTrainedModel) -> TappedModel:
        """The training model with what the objective reads tapped."""
        ready = self.ready
        if ready.settings.gradient_checkpointing:
            enable_checkpointing(model)
        needs, names = ready.objective.needs(), ready.trainable
        if ready.lora:
            names = add_adapters(model, ready.skeleton.blocks, names, ready.lora)
        tapped = TappedModel(model, ready.skeleton.blocks, names, ready.lowest, needs)
        if ready.settings.compile:
            compile_blocks(tapped)
        return tapped

    def make_watcher(self, tapped: TappedModel, trackers: Trackers) -> Watcher:
        """In-training evaluation as `trainer.monitor` asks."""
        settings = self.ready.settings.monitor
        suites = build_suites(self.cfg.eval, settings.overrides) if settings.every else {}

        def report(step: int, scores: Mapping[str, Mapping[str, Metric]]) -> None:
            trackers.log({"kind": "eval", "step": step, "suites": scores_to_json(scores)}, step)

        return Watcher(
            settings,
            evaluate=lambda: evaluate(suites, tapped.model, self.tokenizer, quiet=True),
            snapshot=lambda: self.snapshot(tapped),
            report=report,
        )

    def snapshot(self, tapped: TappedModel) -> dict[str, Tensor]:
        """Copies of the changed tensors, on the CPU, by their names in the base model."""
        if self.ready.lora:
            tensors = merged(tapped.model, self.ready.trainable)
        else:
            tensors = {name: p.detach() for name, p in tapped.trained().items()}
        return {name: whole(value).cpu().clone() for name, value in tensors.items()}

    def keep(self) -> None:
        """Save what changed, in the dtype in which the base folder stores it, and let the trainer go."""
        import torch

        self.fit = self.trainer.result
        on_main(self.make_anew)
        self.trackers.finish(self.fit.status)
        self.held = self.held or Held.of(self.trainer)
        tensors = self.watcher.best_tensors or self.snapshot(self.tapped)
        stored = stored_dtypes(self.ready.spec, list(tensors))
        self.tensors = {n: t.to(getattr(torch, stored[n])) for n, t in tensors.items()}
        self.manifest = on_main(self.save)
        self.best_step = self.watcher.best_step
        objective = self.ready.objective
        weights = objective.weights_of_tokens() if isinstance(objective, WeighsTokens) else None
        if weights is not None:
            self.token_weights = measure_token_weights(self, weights)
        del self.trainer, self.tapped, self.watcher  # and with them the model

    def make_anew(self) -> None:
        """The directory, if somebody removed it: what was computed is worth more."""
        if not (self.directory / "config.yaml").is_file():
            print(f"{self.directory}: gone since the run began; made anew")
            self.directory.mkdir(parents=True, exist_ok=True)
            keep_config(self.directory, self.cfg)

    def save(self) -> dict[str, Any]:
        """Write the changed tensors unless one is not finite; returns their manifest, empty where nothing is saved."""
        if not all(bool(t.isfinite().all()) for t in self.tensors.values()):
            return {}
        return save_delta(self.directory / "checkpoint", self.tensors, self.ready.spec, self.base)

    def close(self, status: str) -> None:
        """Close the trackers of a run that did not end well; those that are closed already stay as they are."""
        self.trackers.finish(status)

    def finish(self, models: SharedModels) -> None:
        """Measure the result, write results.json and the report, print the table and what to do next."""
        after: Scores = {}
        answers = kept_answers(f"{self.base} {self.manifest.get('sha256')}", plain(self.cfg.eval))
        if self.fit.status not in UNSCORED:
            model = models.for_evaluation(self.tensors)
            apply_delta(model, self.tensors)
            after = evaluate(self.ready.suites, model, self.tokenizer, answers=answers)
        record = result(self, after)
        on_main(lambda: write_result(self, record, after))
        answers.forget()
        tell(self, record)
        if self.fit.status == "diverged":
            raise UserError(divergence(self))
