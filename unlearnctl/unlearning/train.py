"""`unlearnctl train`: prepare → measure → unlearn → save → measure → report. Read it top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from omegaconf import DictConfig

from unlearnctl.config.instantiate import plain, resolved
from unlearnctl.data.streams import ForgetRetain, check_batch
from unlearnctl.distributed.collectives import all_ranks, on_main
from unlearnctl.distributed.settings import Launch, read_launch
from unlearnctl.distributed.start import start_workers
from unlearnctl.distributed.world import World, join
from unlearnctl.evaluation.evaluate import validate
from unlearnctl.models.shared_models import SharedModels
from unlearnctl.runs.directory import REPORT_BYTES, check_free, create, run_directory
from unlearnctl.runs.lock import locked
from unlearnctl.sweeps.together import fit_together
from unlearnctl.training.fill import fill_caches
from unlearnctl.training.progress import TrainProgress
from unlearnctl.unlearning.advice import told
from unlearnctl.unlearning.cacheable import check_prefix_cache, prefix_base
from unlearnctl.unlearning.learner import check_meta
from unlearnctl.unlearning.plan import Plan, make_plan, show_plan
from unlearnctl.unlearning.plan_data import data_rows
from unlearnctl.unlearning.prepare import Prepared, prepare
from unlearnctl.unlearning.session import Run
from unlearnctl.unlearning.shared_data import tokenised
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import cache_dir

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def train(cfg: DictConfig, directory: Path | None = None) -> Path | None:
    """Run one training config; returns its run directory, or None for a dry run.

    Where `cfg.launch` asks for several processes, they are started, and each of them comes here again.

    Args:
        cfg: composed by Hydra, or read by a worker.
        directory: of the run, if the command that started this worker has made it, or if it is to go on; None: to
            be chosen and made.

    Raises:
        UserError: anything wrong with config, data or model, before weights load.
    """
    if cfg.get("resume") and directory is None:
        from unlearnctl.unlearning.resume import resume_from  # which imports this module

        return resume_from(cfg)
    launch = read_launch(plain(cfg.launch), cfg.trainer.device)
    if launch.starts_workers and not launch.dry_run:
        made = directory
        with redirect_stdout(StringIO()):  # rank 0 will say it again
            directory = _check_run(cfg, World(0, launch.num_processes, "us"), launch, made).directory
        if made is None and launch.machine_rank == 0:
            directory = create(directory, cfg)
        start_workers("train", cfg, directory, launch)
        return directory
    run = make_run(cfg, directory)
    if run is None:
        return None
    train_together([run])
    return run.directory


def make_run(cfg: DictConfig, directory: Path | None = None) -> Run | None:
    """Everything that can fail before weights load, then the run directory, unless there is one; None for a dry run.

    With `cfg.resume`, the directory is that of a run of this very config, to go on with.

    Raises:
        UserError: anything wrong with config, data or model.
    """
    resumed = bool(cfg.get("resume"))
    if resumed:
        if directory is None:
            raise UserError("resume: goes on with one run, so it does not go with a sweep")
        cfg = cfg.copy()
        cfg.resume = None  # as it was when the run began
    launch = read_launch(plain(cfg.launch), cfg.trainer.device)
    if launch.dry_run:
        ready = prepare(cfg, offline=True)
        show_plan(ready, _plan(cfg, ready, launch.num_processes), data_rows(cfg, ready))
        return None
    if launch.starts_workers:
        raise UserError(f"launch={launch.name}: runs side by side share one process; use launch=single")
    world = join(launch.on_cpu)
    if world:  # one rank names the run, and all mean the same by it
        cfg, directory = on_main(lambda: (resolved(cfg), directory))
    checked = _check_run(cfg, world or World(0, 1, "us"), launch, directory)
    accelerator = make_accelerator(checked.ready)
    if directory is None:
        checked = replace(checked, directory=on_main(lambda: create(checked.directory, cfg)))
    return Run(cfg, accelerator=accelerator, resumed=resumed, **vars(checked))


@dataclass(frozen=True)
class Checked:
    """What is known of a run before anything loads or is written; the parts of a `Run`."""

    ready: Prepared
    plan: Plan
    data: ForgetRetain
    tokenizer: PreTrainedTokenizerBase
    directory: Path
    cache_matrix: bool


def _check_run(cfg: DictConfig, world: World, launch: Launch, directory: Path | None = None) -> Checked:
    """Every check, as the given rank; a directory that is not given must be free."""
    ready = prepare(cfg)
    plan = _plan(cfg, ready, world.size)
    if directory is None:
        directory = on_main(lambda: _free_directory(cfg, plan, launch))
    if ready.settings.sharding == "fsdp" and world.size == 1:
        raise UserError("trainer.sharding=fsdp: there is but one process; use sharding=none")
    if ready.settings.on_oom == "halve" and world.size > 1:
        raise UserError(
            f"trainer.on_oom=halve: for one process, here are {world.size}; where one fails the others wait "
            "for it, so lower trainer.micro_batch instead"
        )
    check_meta(ready.objective, ready.settings, world.size)
    tokenizer, data = tokenised(cfg, ready)
    matrix = all_ranks(check_prefix_cache(ready, data, world.rank, world.size))
    validate(ready.suites.values(), tokenizer)
    return Checked(ready, plan, data, tokenizer, directory, matrix)


def _plan(cfg: DictConfig, ready: Prepared, processes: int) -> Plan:
    """What one process will hold.

    Raises:
        UserError: the global batch cannot be shared out.
    """
    settings = ready.settings
    check_batch(settings.global_batch, settings.micro_batch or 1, processes)
    micro = settings.micro_batch or settings.global_batch // processes
    slices = processes if settings.sharding == "fsdp" else 1
    return make_plan(ready, micro * cfg.data.max_length, slices)


def _free_directory(cfg: DictConfig, plan: Plan, launch: Launch) -> Path:
    directory = run_directory(cfg, "train")
    if launch.machine_rank == 0:  # the others write nothing
        check_free(directory, 2 * plan.checkpoint + REPORT_BYTES)
    return directory


def make_accelerator(ready: Prepared) -> Accelerator:
    """Accelerate's view of this process; `trainer.device=cpu` keeps off a GPU."""
    import torch

    device = ready.settings.device
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if on_cpu and ready.settings.mixed_precision == "fp16":  # accelerate would pass over it
        raise UserError("trainer.mixed_precision=fp16: needs a GPU; on a processor use bf16 or no")
    _share_precision(ready.settings.mixed_precision)
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision=ready.settings.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if device == "cuda" and accelerator.device.type != "cuda":
        raise UserError("trainer.device=cuda: no CUDA device is visible; use trainer.device=cpu")
    return accelerator


def _share_precision(name: str) -> None:
    """Runs that follow each other in one process may differ in precision, which accelerate keeps once for all."""
    if AcceleratorState._shared_state:
        AcceleratorState._shared_state["_mixed_precision"] = name


def train_together(
    runs: Sequence[Run], ended: Callable[[Run, BaseException | None], None] | None = None
) -> None:
    """Train runs on the same model and data side by side; one run is the ordinary case.

    They share the frozen weights and, where their batches agree, each step's pass over the frozen prefix.
    Everything else is each one's own, so that each equals its run alone. `ended`, if there is one, is told of each
    run that is finished, or of its error after training, and the other runs are finished.
    """
    ready = runs[0].ready
    _share_precision(ready.settings.mixed_precision)
    blocks = max(run.ready.top for run in runs) + 1 if ready.trunk else None
    models = SharedModels(
        ready.spec, ready.skeleton.blocks, str(runs[0].accelerator.device), len(runs), blocks
    )
    try:
        with ExitStack() as locks:
            for run in runs:
                locks.enter_context(locked(run.directory, run.accelerator.is_main_process))
                if run.resumed:
                    run.saver.recall()
            for run in runs:
                run.measure_base(models)
            _unlearn(runs, models)
            _finish(runs, models, ended)
    except BaseException as error:
        for run in runs:
            run.close("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        known = told(error, runs[0]) if len(runs) == 1 else error
        if known is error:
            raise
        raise known from error


def _finish(
    runs: Sequence[Run], models: SharedModels, ended: Callable[[Run, BaseException | None], None] | None
) -> None:
    for run in runs:
        try:
            run.finish(models)
        except Exception as error:
            if ended is None:
                raise
            ended(run, told(error, run))
        else:
            if ended:
                ended(run, None)


def _unlearn(runs: Sequence[Run], models: SharedModels) -> None:
    memo: dict | None = {} if len(runs) > 1 else None
    with TrainProgress(enabled=runs[0].accelerator.is_main_process) as progress:
        for run in runs:
            run.begin(models, progress)
            run.tapped.memo = memo
        models.drop_trunk()  # each member holds it
        trainers, root = [run.trainer for run in runs], cache_dir() / "prefix"
        fill_caches(
            trainers, prefix_base(runs[0]), root, runs[0].ready.trunk, all(run.cache_matrix for run in runs)
        )
        for run in runs:
            run.saver.restore()
            if run.meta:
                run.meta.explore()
        fit_together(trainers, memo.clear if memo is not None else lambda: None)
    for run in runs:
        run.saver.write()
        run.keep()
