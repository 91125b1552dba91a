"""Give back what an unlearning update damaged, without training.

usage: unlearnctl repair RUN [repair=sage|task_arithmetic] [strength=S] [key=value ...]
       unlearnctl repair model=local model.path=BASE unlearned=DIR data=... eval=[a,b]

Learns where retained text lives at the input of every changed matrix, shrinks the update there, and picks the
strength by forgetting and retention on the validation items. The result is a checkpoint like any other.

examples:
  unlearnctl repair outputs/train/NAME/RUN
  unlearnctl repair outputs/train/NAME/RUN repair=task_arithmetic
  unlearnctl repair outputs/train/NAME/RUN repair.energy=0.95 strength=30
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from unlearnctl.config.checks import check_lengths, check_read
from unlearnctl.config.instantiate import build, build_suites, plain
from unlearnctl.config.tiny_world import check_known
from unlearnctl.data.spec import DataSpec
from unlearnctl.data.streams import load_data
from unlearnctl.evaluation.evaluate import evaluate, validate
from unlearnctl.evaluation.measured import Measured, Suites
from unlearnctl.models.delta import save_delta
from unlearnctl.models.load import identity, load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.storage_layout import in_stored_dtypes
from unlearnctl.repair.update import Update, retained_batches, search
from unlearnctl.reporting.reports import write_report
from unlearnctl.reporting.strength_curve import print_curve, write_curve
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.provenance import now, of_run
from unlearnctl.results.record import record, scores_to_json
from unlearnctl.results.schema import write_results
from unlearnctl.runs.directory import REPORT_BYTES, check_free, create, own_config, run_directory
from unlearnctl.runs.disk import keeping, report_or_say
from unlearnctl.runs.inherit import laid_over, of_model, suites_of_run, typed, with_model_of
from unlearnctl.runs.lock import locked
from unlearnctl.runs.update import update_of
from unlearnctl.unlearning.outcome import command_line
from unlearnctl.utils.device import pick_device
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

RUN_KEY = "run_dir"
FROM_RUN = ("model", "data", "eval")


def repair(cfg: DictConfig) -> Path:
    """Repair one update and write a run directory of its own.

    Raises:
        UserError: no such run or folders, nothing changed between them, a value out of range.
    """
    cfg = complete(cfg)
    _check(cfg)
    method, suites = build("repair", cfg.repair), build_suites(cfg.eval)
    searched = build_suites(cfg.eval, plain(cfg.select) if cfg.select else None, numbers_only=True)
    spec = ModelSpec.from_config(plain(cfg.model))
    check_known(cfg, spec, changes=True)
    check_lengths(DataSpec.from_config(plain(cfg.data)), spec.config)
    check_read(suites, "eval", spec.config)
    changed = update_of(cfg, spec)
    assert changed is not None  # `_check` has seen to that
    tokenizer = spec.tokenizer()
    data = load_data(plain(cfg.data), tokenizer, cfg.seed)
    validate(suites.values(), tokenizer)
    directory = run_directory(cfg, "repair")
    check_free(directory, sum(t.nbytes for t in changed.values()) + REPORT_BYTES, again=cfg)
    model = load_model(spec, pick_device(cfg.device))
    started = now()
    measured = Measured(model, tokenizer, identity(spec), plain(cfg.eval))
    before = measured.base(suites)
    update = Update(method, model, changed)
    update.learn(lambda: retained_batches(data, cfg.sequences, cfg.batch_size, model.device))
    directory = create(directory, cfg)
    again = f"the answers are kept, so the same command with run={directory.name} asks none of them again"
    with keeping(again, plain(cfg.eval)), locked(directory):
        tensors, part = _choose(cfg, update, searched, measured, spec)
        manifest = save_delta(directory / "checkpoint", tensors, spec, identity(spec))
        origin = {"base": identity(spec), "data": data.fingerprint(), "checkpoint_sha256": manifest["sha256"]}
        found = record(
            plain(cfg),
            of_run(command_line(), cfg.seed, started, **origin),
            measured(tensors, suites),
            before,
            unlearned=scores_to_json(measured(changed, suites)),
            repair=part,
        )
        write_results(directory / "results.json", found)
        report_or_say(directory, lambda: write_report(directory), lambda: write_curve(directory, part))
    measured.forget_answers()
    print_curve(part)
    print("before: the unlearned model; after: repaired")
    print_comparison({**found, "before": found["unlearned"]})
    print(f"export: unlearnctl export {directory} to={directory.name}-model")
    print(f"run: {directory}")
    return directory


def _choose(
    cfg: DictConfig, update: Update, searched: Suites, measured: Measured, spec: ModelSpec
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Repair at the strength that is given or found best; return the tensors and the `repair` part of results.json."""
    strength = cfg.strength
    curve: list[dict[str, float]] = []
    if strength is None:
        select = {"select": plain(cfg.select) if cfg.select else None}
        base = evaluate(searched, measured.model, measured.tokenizer)
        strength, curve = search(update, cfg.strengths, base, lambda t: measured(t, searched, select))
    return in_stored_dtypes(update.repaired(strength), spec), update.record(strength, curve)


def complete(cfg: DictConfig) -> DictConfig:
    """Take model, data and suites of the run, if one is given; and the model's own `select` unless one was typed."""
    merged = cfg.copy() if cfg.run_dir is None else with_model_of(cfg, Path(str(cfg.run_dir)))
    if merged.select is None and typed("select")[0] is None:  # `select=null` is an answer too
        merged.select = of_model(merged.model, "validation")
    if cfg.run_dir is None:
        return merged
    trained = own_config(Path(str(cfg.run_dir)), "run_dir", ("data", "objective", "name"))
    merged.data, merged.objective = laid_over(trained.data, cfg, "data"), trained.objective
    merged.eval = suites_of_run(cfg, Path(str(cfg.run_dir)))
    if typed("name")[0] is None:
        merged.name = f"{trained.name}-{str(cfg.repair.get('_target_')).split('.')[-2:][0]}"
    return merged


def _check(cfg: DictConfig) -> None:
    if (cfg.run_dir is None) == (cfg.unlearned is None):
        raise UserError(
            "a run or unlearned=: give one, as in unlearnctl repair RUN, or the unlearned model's folder"
        )
    if not cfg.get("eval"):
        raise UserError("eval=[]: nothing to choose a strength by; name a suite, e.g. eval=[tinyworld]")
    DataSpec.from_config(plain(cfg.data))
