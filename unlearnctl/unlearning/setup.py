"""Settle everything about a run that can be known, and can fail, before weights load."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from unlearnctl.distributed.world import World, join
from unlearnctl.evaluation.evaluate import validate
from unlearnctl.runs.directory import REPORT_BYTES, check_free, create, run_directory
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.unlearning.cacheable import check_prefix_cache
from unlearnctl.unlearning.learner import check_meta
from unlearnctl.unlearning.plan import Plan, make_plan, show_plan
from unlearnctl.unlearning.plan_data import data_rows
from unlearnctl.unlearning.prepare import Prepared, prepare
from unlearnctl.unlearning.shared_data import tokenised
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Setup:
    """Holds everything about one run that is known before weights load."""

    cfg: DictConfig
    prepared: Prepared
    plan: Plan
    data: ForgetRetain
    tokenizer: PreTrainedTokenizerBase
    directory: Path
    cache_matrix: bool  # the prefix cache goes up to the first trained matrix
    resumed: bool = False  # continues from what the directory holds


def make_setup(cfg: DictConfig, directory: Path | None = None) -> Setup:
    """Check a run and make its directory, unless it has one.

    With `cfg.resume`, the directory is that of a run of this very config, which is to be continued.

    Raises:
        UserError: anything wrong with config, data or model.
    """
    resumed = bool(cfg.get("resume"))
    if resumed:
        if directory is None:
            raise UserError("resume: continues a single run, so it cannot be part of a sweep")
        cfg = cfg.copy()
        cfg.resume = None  # as it was when the run began
    elif cfg.model.get("recipe"):  # a YAML of before conf/recipe/: its numbers would silently not be used
        raise UserError("model.recipe: no longer read; put its numbers into recipe/MODEL/OBJECTIVE.yaml")
    launch = read_launch(plain(cfg.launch), cfg.trainer.device)
    world = join(launch.on_cpu)
    if world:
        # The config may hold the time of day. One rank resolves it, so that all mean the same run.
        cfg, directory = on_main(lambda: (resolved(cfg), directory))
    setup = check_setup(cfg, world or World(0, 1, "us"), launch, directory)
    if directory is None:
        setup = replace(setup, directory=on_main(lambda: create(setup.directory, cfg)))
    return replace(setup, resumed=resumed)


def check_setup(cfg: DictConfig, world: World, launch: Launch, directory: Path | None) -> Setup:
    """Run every check as the given rank, and write nothing; without a `directory`, the run's own must be free."""
    prepared = prepare(cfg)
    settings = prepared.settings
    plan = _plan(cfg, prepared, world.size)
    if directory is None:
        directory = on_main(lambda: _free_directory(cfg, plan, launch))
    _check_processes(settings, world.size)
    check_meta(prepared.objective, settings, world.size)
    # Tokenising comes after the quick checks, because a large corpus takes minutes.
    tokenizer, data = tokenised(cfg, prepared)
    # Ranks see different rows, and they must agree on what a cached row is.
    matrix = all_ranks(check_prefix_cache(prepared, data, world.rank, world.size))
    validate(prepared.suites.values(), tokenizer)
    _check_device(settings)
    return Setup(cfg, prepared, plan, data, tokenizer, directory, matrix)


def show_dry_run(cfg: DictConfig, processes: int) -> None:
    """Print what a run would load, train and write; nothing is downloaded.

    Raises:
        UserError: the run would be refused.
    """
    prepared = prepare(cfg, offline=True)
    show_plan(prepared, _plan(cfg, prepared, processes), data_rows(cfg, prepared))


def _plan(cfg: DictConfig, prepared: Prepared, processes: int) -> Plan:
    """Plan what one process will hold.

    Raises:
        UserError: the global batch cannot be shared out.
    """
    settings = prepared.settings
    check_batch(settings.global_batch, settings.micro_batch or 1, processes)
    micro = settings.micro_batch or settings.global_batch // processes
    slices = processes if settings.sharding == "fsdp" else 1
    return make_plan(prepared, micro * cfg.data.max_length, slices)


def _free_directory(cfg: DictConfig, plan: Plan, launch: Launch) -> Path:
    directory = run_directory(cfg, "train")
    if launch.machine_rank == 0:  # other machines write nothing
        check_free(directory, 2 * plan.checkpoint + REPORT_BYTES)
    return directory


def _check_processes(settings: TrainerSettings, processes: int) -> None:
    if settings.sharding == "fsdp" and processes == 1:
        raise UserError("trainer.sharding=fsdp: requires more than one process; use sharding=none")
    if settings.on_oom == "halve" and processes > 1:
        raise UserError(
            f"trainer.on_oom=halve: requires a single process, and this run has {processes}: where one runs out of "
            "memory the others wait for it; lower trainer.micro_batch instead"
        )


def _check_device(settings: TrainerSettings) -> None:
    import torch

    device, has_gpu = settings.device, torch.cuda.is_available()
    if settings.mixed_precision == "fp16" and (device == "cpu" or not has_gpu):
        # Accelerate would ignore it without a word.
        raise UserError("trainer.mixed_precision=fp16: needs a GPU; on a processor use bf16 or no")
    if device == "cuda" and not has_gpu:
        raise UserError("trainer.device=cuda: no CUDA device is visible; use trainer.device=cpu")


def make_accelerator(settings: TrainerSettings) -> Accelerator:
    """Make Accelerate's view of this process; with `trainer.device=cpu` it uses no GPU."""
    import torch

    if AcceleratorState._shared_state:
        # Accelerate keeps one precision for the whole process; members of a sweep may differ in theirs.
        AcceleratorState._shared_state["_mixed_precision"] = settings.mixed_precision
    return Accelerator(
        cpu=settings.device == "cpu" or not torch.cuda.is_available(),
        mixed_precision=settings.mixed_precision,
        # The model's buffers (rotary frequencies and the like) are constants; DDP would send them before every forward.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
