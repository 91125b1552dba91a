"""Measure a model, or the result of a run.

usage: unlearnctl eval [RUN | model=NAME] [eval=[a,b]] [key=value ...]

Of a run: its model with what it changed, and its suites unless others are named. run= names the new run.

examples:
  unlearnctl eval
  unlearnctl eval outputs/train/NAME/RUN
  unlearnctl eval outputs/train/NAME/RUN eval=[wmdp,mmlu]
  unlearnctl eval model=local model.path=DIR eval=[wmdp,mmlu]
  unlearnctl eval launch=cpu launch.num_processes=2               the questions shared out
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unlearnctl.config.checks import check_read
from unlearnctl.config.instantiate import build_suites, plain, resolved
from unlearnctl.config.tiny_world import check_known
from unlearnctl.distributed.collectives import on_main
from unlearnctl.distributed.settings import Launch, read_launch
from unlearnctl.distributed.start import start_workers
from unlearnctl.distributed.world import join
from unlearnctl.evaluation.cache import Scores, kept_answers
from unlearnctl.evaluation.collapse import flags
from unlearnctl.evaluation.evaluate import evaluate, validate
from unlearnctl.models.delta import apply_delta
from unlearnctl.models.load import identity, load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.reporting.reports import write_report
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.provenance import now, of_run
from unlearnctl.results.record import record, write_items
from unlearnctl.results.schema import write_results
from unlearnctl.runs.directory import REPORT_BYTES, check_free, create, run_directory
from unlearnctl.runs.disk import keeping, report_or_say
from unlearnctl.runs.inherit import suites_of_run, with_model_of
from unlearnctl.runs.lock import locked
from unlearnctl.runs.update import checkpoint_of
from unlearnctl.unlearning.outcome import command_line
from unlearnctl.utils.device import pick_device
from unlearnctl.utils.errors import UserError

RUN_KEY = "run_dir"
FROM_RUN = ("model", "eval")
SEVERAL_PROCESSES = True


def eval(cfg: DictConfig, directory: Path | None = None) -> Path:
    """Evaluate and write a run directory of its own.

    Where `cfg.launch` asks for several processes, each of them calls this function too, and they
    share the questions.

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
    if given is None:  # else the command that started this worker has done it
        cfg = complete(cfg)
    if not cfg.get("eval"):
        raise UserError("eval=[]: nothing to measure; name a suite, e.g. eval=[tinyworld]")
    suites = build_suites(cfg.eval)
    device = pick_device(cfg.device)
    spec = ModelSpec.from_config(plain(cfg.model))
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
    """Take the model, the suites and their texts of the run, if one is given."""
    if cfg.run_dir is None:
        return cfg
    merged = with_model_of(cfg, Path(str(cfg.run_dir)))
    merged.eval = suites_of_run(cfg, Path(str(cfg.run_dir)))
    return merged
