"""`unlearnctl eval`: measure a model, or a run's result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unlearnctl.commands.from_run import model_of_run, suites_of_run, typed
from unlearnctl.config.checks import check_read, check_seed, model_spec
from unlearnctl.config.instantiate import build_suites, plain, resolved
from unlearnctl.config.tiny_world import check_known
from unlearnctl.distributed.collectives import on_main
from unlearnctl.distributed.settings import Launch, read_launch
from unlearnctl.distributed.start import start_workers
from unlearnctl.distributed.world import join
from unlearnctl.evaluation.cache import Scores, kept_answers
from unlearnctl.evaluation.collapse import flags
from unlearnctl.evaluation.evaluate import evaluate, validate
from unlearnctl.models.delta import apply_delta, read_delta
from unlearnctl.models.load import identity, load_model, same_base
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.reporting.reports import write_report
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.provenance import now, of_run
from unlearnctl.results.schema import record, write_items, write_results
from unlearnctl.runs.directory import REPORT_BYTES, check_free, create, own_config, run_directory
from unlearnctl.runs.disk import keeping, report_or_say
from unlearnctl.runs.lock import locked
from unlearnctl.unlearning.outcome import command_line
from unlearnctl.utils.errors import UserError


def eval(cfg: DictConfig, directory: Path | None = None) -> Path:
    """Evaluate and write a run directory of its own.

    Where `cfg.launch` asks for several processes, they are started, and each of them comes here again; they share
    the questions.

    Args:
        cfg: composed by Hydra, or read by a worker.
        directory: made by the command that started this worker; None: to be chosen and made.

    Raises:
        UserError: no such model or run, a checkpoint of another base, a suite that cannot run.
    """
    launch = read_launch(plain(cfg.launch), cfg.device)
    world = join(launch.on_cpu)
    if world:
        cfg, directory = on_main(lambda: (resolved(cfg), directory))
    given = directory
    check_seed(cfg.seed)
    if given is None:  # else the command that started this worker has done it
        cfg = complete(cfg)
    if not cfg.get("eval"):
        raise UserError("eval=[]: nothing to measure; name a suite, e.g. eval=[tinyworld]")
    suites = build_suites(cfg.eval)
    device = pick_device(cfg.device)
    spec = model_spec(plain(cfg.model))
    check_known(cfg, spec)
    check_read(suites, "eval", spec.config)
    tensors, manifest = checkpoint_of(cfg, spec)
    tokenizer = spec.tokenizer()
    validate(suites.values(), tokenizer)
    directory = given or on_main(lambda: _free_directory(cfg, launch))
    if launch.starts_workers:
        if launch.machine_rank == 0:
            directory = create(directory, cfg)
        start_workers("eval", cfg, directory, launch)
        return directory
    started = now()
    model = load_model(spec, device)
    apply_delta(model, tensors)
    if given is None:
        free = directory
        directory = on_main(lambda: create(free, cfg))
    answers = kept_answers(f"{identity(spec)} {manifest.get('sha256')}", plain(cfg.eval))
    again = f"the answers are kept, so the same command with run={directory.name} asks none of them again"
    with keeping(again, plain(cfg.eval)), locked(directory, world is None or world.main):
        after = evaluate(suites, model, tokenizer, answers=answers)
        came = of_run(command_line(), cfg.seed, started, base=identity(spec))
        found = record(plain(cfg), came, after, flags=flags({}, after))
        on_main(lambda: _write(directory, found, after))
    answers.forget()
    print_comparison(found)
    print(f"run: {directory}")
    return directory


def _free_directory(cfg: DictConfig, launch: Launch) -> Path:
    directory = run_directory(cfg, "eval")
    if launch.machine_rank == 0:  # the others write nothing
        check_free(directory, REPORT_BYTES, again=cfg)
    return directory


def _write(directory: Path, found: dict[str, Any], after: Scores) -> None:
    write_items(directory, after=after)
    write_results(directory / "results.json", found)
    report_or_say(directory, lambda: write_report(directory))


def complete(cfg: DictConfig) -> DictConfig:
    """With the model and the suites of the run, if one is given."""
    if cfg.run_dir is None:
        return cfg
    merged = with_model_of(cfg, Path(str(cfg.run_dir)))
    merged.eval = suites_of_run(cfg, Path(str(cfg.run_dir)))
    return merged


def with_model_of(cfg: DictConfig, run: Path) -> DictConfig:
    """The verb's config with the model of a train run; what was typed of the model, and a name, holds.

    Raises:
        UserError: `run` is not a run directory of `unlearnctl train`, or its base is no longer there.
    """
    trained = own_config(run, "run_dir", ("model", "objective", "name"))
    merged = cfg.copy()
    OmegaConf.set_struct(merged, False)
    merged.model = model_of_run(trained.model, cfg, run)
    if typed("name")[0] is None:
        merged.name = f"{trained.name}"
    return merged


def checkpoint_of(cfg: DictConfig, spec: ModelSpec) -> tuple[dict, dict]:
    """The run's changed tensors and their manifest; both empty when no run is given.

    Raises:
        UserError: the checkpoint is damaged or was made from another base model.
    """
    if cfg.run_dir is None:
        return {}, {}
    tensors, manifest = read_delta(Path(str(cfg.run_dir)) / "checkpoint")
    check_base(spec, manifest, f"run_dir={cfg.run_dir}")
    return tensors, manifest


def check_base(spec: ModelSpec, manifest: Mapping[str, Any], key: str) -> None:
    """Refuse a checkpoint whose base is not this model, or whose tensors do not fit it."""
    made_in = manifest.get("dtype", spec.dtype)
    if made_in != spec.dtype:
        raise UserError(f"model.dtype={spec.dtype}: {key} was made in {made_in}; leave model.dtype out")
    if not same_base(spec, manifest):
        raise UserError(
            f"{key}: its checkpoint was made from {manifest['identity']}, but model.path has {identity(spec)}"
        )
    shapes = skeleton(spec.config, spec.blocks, spec.trust_remote_code).shapes
    for name, shape in manifest["tensors"].items():
        if tuple(shape) != shapes.get(name):
            raise UserError(f"{key}: its checkpoint's {name} {shape} does not fit the model")


def pick_device(asked: str | None) -> str:
    """`asked`, or cuda if there is one."""
    import torch

    if asked not in (None, "cpu", "cuda"):
        raise UserError(f"device={asked}: must be null, cpu or cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: no CUDA device is visible; use device=cpu")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")
