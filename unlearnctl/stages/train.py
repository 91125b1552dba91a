"""`unlearnctl train`: prepare → measure → unlearn → save → measure → report. Read it top to bottom."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from unlearnctl.data.streams import ForgetRetain, check_batch, load_data, read_data
from unlearnctl.errors import UserError
from unlearnctl.evaluation.cache import cached_evaluate
from unlearnctl.evaluation.provenance import now, provenance
from unlearnctl.evaluation.record import SCHEMA, Metric, scores_to_json, write_results
from unlearnctl.evaluation.run import evaluate
from unlearnctl.models.delta import apply_delta, save_delta, stored_dtypes
from unlearnctl.models.load import enable_checkpointing, identity, load_model, load_trunk
from unlearnctl.models.tapped import TappedModel
from unlearnctl.reporting.report import write_report
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.stages.plan import Plan, make_plan, show_plan
from unlearnctl.stages.prepare import Prepared, build_suites, plain, prepare
from unlearnctl.stages.run_dir import check_free, create, run_directory
from unlearnctl.tracking import Trackers, make_trackers
from unlearnctl.training.loop import Fit, Trainer
from unlearnctl.training.monitor import Watcher
from unlearnctl.training.progress import TrainProgress

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Scores = dict[str, dict[str, Metric]]
REPORT_BYTES = 50_000_000  # plots, HTML, metrics: generous


def train(cfg: DictConfig) -> Path | None:
    """Run one training config; returns its run directory, or None for a dry run.

    Raises:
        UserError: anything wrong with config, data or model, before weights load.
    """
    ready = prepare(cfg, offline=cfg.launch.dry_run)
    micro = ready.settings.micro_batch or ready.settings.global_batch
    plan = make_plan(ready, tokens=micro * cfg.data.max_length)
    if cfg.launch.dry_run:
        show_plan(ready, plan)
        return None
    directory = run_directory(cfg, "train")
    check_free(directory, 2 * plan.checkpoint + REPORT_BYTES)
    accelerator = make_accelerator(ready)
    world = accelerator.num_processes
    check_batch(ready.settings.global_batch, ready.settings.micro_batch or 1, world)
    corpora = read_data(plain(cfg.data))
    tokenizer = ready.spec.tokenizer()
    data = load_data(plain(cfg.data), tokenizer, cfg.seed, corpora=corpora)
    for suite in ready.suites.values():
        suite.validate()
    run = Run(cfg, ready, plan, data, tokenizer, accelerator)
    create(directory, cfg)
    return run.execute(directory)


def make_accelerator(ready: Prepared) -> Accelerator:
    """Accelerate's view of this process; `trainer.device=cpu` keeps off a GPU."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    device = ready.settings.device
    if device not in (None, "cpu", "cuda"):
        raise UserError(f"trainer.device={device}: must be null, cpu or cuda")
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision=ready.settings.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if device == "cuda" and accelerator.device.type != "cuda":
        raise UserError("trainer.device=cuda: no CUDA device is visible; use trainer.device=cpu")
    return accelerator


@dataclass
class Run:
    """The parts of one run, and what they have produced so far."""

    cfg: DictConfig
    ready: Prepared
    plan: Plan
    data: ForgetRetain
    tokenizer: PreTrainedTokenizerBase
    accelerator: Accelerator
    whole: PreTrainedModel | None = None
    started: str = field(default_factory=now)

    def execute(self, directory: Path) -> Path:
        """Everything from the first evaluation to the last line."""
        base = identity(self.ready.spec)
        before = self.measure_base(base)
        with make_trackers(plain(self.cfg.tracker), directory, plain(self.cfg)) as trackers:
            fit, watcher, tensors = self.unlearn(trackers)
            trackers.finish(fit.status)
        manifest = save_delta(directory / "checkpoint", tensors, self.ready.spec, base)
        after: Scores = {}
        if fit.status != "interrupted":
            apply_delta(self.whole_model(), tensors)
            after = evaluate(self.ready.suites, self.whole_model(), self.tokenizer)
        record = {
            "schema": SCHEMA,
            "status": fit.status,
            "config": plain(self.cfg),
            "provenance": {
                **provenance(command_line(), self.cfg.seed), "started": self.started, "finished": now(),
                "base": base, "data": self.data.fingerprint(), "checkpoint_sha256": manifest["sha256"],
            },
            "train": self.train_record(fit, watcher),
            "before": scores_to_json(before),
            "after": scores_to_json(after),
        }  # fmt: skip
        write_results(directory / "results.json", record)
        self.finish(directory, record)
        return directory

    def whole_model(self) -> PreTrainedModel:
        """The whole model, loaded when first asked for."""
        if self.whole is None:
            self.whole = load_model(self.ready.spec, str(self.accelerator.device))
        return self.whole

    def measure_base(self, base: str) -> Scores:
        """Scores of the untouched model, from the cache if it was measured before."""
        return cached_evaluate(
            base,
            plain(self.cfg.eval),
            lambda: evaluate(self.ready.suites, self.whole_model(), self.tokenizer),
        )

    def unlearn(self, trackers: Trackers) -> tuple[Fit, Watcher, dict[str, Tensor]]:
        """Train; returns the chosen tensors in the dtype in which the base folder stores them."""
        import torch
        from accelerate.utils import set_seed

        ready = self.ready
        set_seed(self.cfg.seed)
        tapped = self.tapped_model()
        generator = torch.Generator().manual_seed(self.cfg.seed)
        ready.objective.setup(ready.skeleton.hidden_size, len(self.data.topics), generator)
        optimizer = instantiate(ready.settings.optimizer, params=tapped.trained().values(), _convert_="all")
        watcher = self.watcher(tapped, trackers)
        watcher.start()
        with TrainProgress(ready.settings.steps, enabled=self.accelerator.is_main_process) as progress:

            def on_step(row: dict[str, Any]) -> None:
                trackers.log(row, row["step"])
                progress.step(row)

            fit = Trainer(
                tapped, ready.objective, self.data, ready.settings, optimizer, self.accelerator,
                on_step, watcher.after_step,
            ).fit()  # fmt: skip
        tensors = watcher.best_tensors or snapshot(tapped)
        stored = stored_dtypes(ready.spec, list(tensors))
        return fit, watcher, {n: t.to(getattr(torch, stored[n])) for n, t in tensors.items()}

    def tapped_model(self) -> TappedModel:
        """The training model: a trunk of its own, or the whole model itself."""
        ready = self.ready
        if ready.trunk:
            self.whole = None
            gc.collect()
            model = load_trunk(ready.spec, ready.top + 1, str(self.accelerator.device))
        else:
            model = self.whole_model()
        if ready.settings.gradient_checkpointing:
            enable_checkpointing(model)
        needs = ready.objective.needs()
        return TappedModel(model, ready.skeleton.blocks, ready.trainable, ready.lowest, needs)

    def watcher(self, tapped: TappedModel, trackers: Trackers) -> Watcher:
        """In-training evaluation as `trainer.monitor` asks."""
        settings = self.ready.settings.monitor
        suites = build_suites(self.cfg.eval, settings.overrides) if settings.every else {}

        def report(step: int, scores: Mapping[str, Mapping[str, Metric]]) -> None:
            trackers.log({"kind": "eval", "step": step, "suites": scores_to_json(scores)}, step)

        return Watcher(
            settings,
            evaluate=lambda: evaluate(suites, tapped.model, self.tokenizer, quiet=True),
            snapshot=lambda: snapshot(tapped),
            report=report,
        )

    def train_record(self, fit: Fit, watcher: Watcher) -> dict[str, Any]:
        """The `train` part of results.json."""
        return {
            "steps": fit.steps,
            "seconds": round(fit.seconds, 3),
            "tokens": fit.tokens,
            "best_step": watcher.best_step,
            "terms": fit.terms,
            "trained": {"tensors": self.plan.trained_tensors, "parameters": self.plan.trained_parameters},
            "stop_reason": fit.stop_reason,
        }

    def finish(self, directory: Path, record: dict[str, Any]) -> None:
        """Report files, the table, what to do next, and the last line."""
        write_report(directory)
        print_comparison(record)
        if reason := record["train"]["stop_reason"]:
            print(f"stopped: {reason}")
        print(f"\nreport: {directory / 'report.html'}")
        print(f"export: unlearnctl export run={directory} to={directory.name}-model")
        print(f"run: {directory}")


def snapshot(tapped: TappedModel) -> dict[str, Tensor]:
    """Copies of the trained tensors, on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in tapped.trained().items()}


def command_line() -> str:
    """The command as typed, to be pasted again."""
    import shlex
    import sys

    return shlex.join([*sys.argv[0].split(), *sys.argv[1:]])  # cli.py makes argv[0] "unlearnctl VERB"
