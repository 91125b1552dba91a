"""Try to bring back what was forgotten, and measure how much comes.

usage: unlearnctl attack RUN [attack=[a,b]] [eval=[a,b]] [key=value ...]
       unlearnctl attack model=local model.path=DIR [unlearned=DIR] ...

Each attack tries variants; the suites in eval score each of them, on facts that no attack's text states. One table,
with the share of what was forgotten that came back, and the worst case of each attack. On another model than the tiny
world, suites and the texts to relearn from are the run's own unless others are named, and attacks that need facts of
the tiny world are left out unless they are named.

groups: attack=[relearn,quantize,fewshot,prefix,latent] eval=[a,b] model=

examples:
  unlearnctl attack outputs/train/NAME/RUN
  unlearnctl attack outputs/train/NAME/RUN attack=[relearn] attack.relearn.lrs=[1e-4,1e-3]
  unlearnctl attack model=local model.path=BASE unlearned=DIR attack=[quantize,fewshot] eval=[wmdp]
  unlearnctl attack model=local model.path=DIR attack=[quantize]     any model; without its base, no recovered share
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from unlearnctl.attacks.base import Target, Variant
from unlearnctl.attacks.trials import KeptRows, try_all
from unlearnctl.config.attacks import altered_suites, build_attacks, settings_of_suites
from unlearnctl.config.checks import check_read
from unlearnctl.config.instantiate import build_suites, plain
from unlearnctl.config.tiny_world import check_known, is_tinyworld
from unlearnctl.evaluation.cache import cached_evaluate, kept_answers
from unlearnctl.evaluation.evaluate import evaluate, validate
from unlearnctl.models.delta import apply_delta, digest
from unlearnctl.models.load import identity, load_model
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.reporting.recovered import print_robustness
from unlearnctl.reporting.reports import write_report
from unlearnctl.results.metric import Scores
from unlearnctl.results.provenance import now, of_run
from unlearnctl.results.record import record
from unlearnctl.results.schema import write_results
from unlearnctl.runs.directory import REPORT_BYTES, check_free, create, own_config, run_directory
from unlearnctl.runs.disk import keeping, report_or_say
from unlearnctl.runs.inherit import (
    leave_out_tinyworld,
    of_model,
    relearn_corpora,
    suites_of_run,
    typed,
    with_model_of,
)
from unlearnctl.runs.lock import locked
from unlearnctl.runs.update import update_of
from unlearnctl.unlearning.outcome import command_line
from unlearnctl.utils.device import pick_device
from unlearnctl.utils.errors import UserError

RUN_KEY = "run_dir"
FROM_RUN = ("model", "eval")


def attack(cfg: DictConfig) -> Path:
    """Attack a run's result, or any model, and write a run directory of its own.

    Raises:
        UserError: no such run or folders, an attack or suite that cannot run; before weights load.
    """
    cfg = complete(cfg)
    _check(cfg)
    attacks, suites = build_attacks(cfg.attack, cfg.eval), build_suites(cfg.eval)
    spec = ModelSpec.from_config(plain(cfg.model))
    check_known(cfg, spec, changes=True)
    check_read(suites, "eval", spec.config)
    check_read(attacks, "attack", spec.config)
    blocks = skeleton(spec.config, spec.blocks, spec.trust_remote_code)
    changed = update_of(cfg, spec)
    tokenizer = spec.tokenizer()
    validate([*suites.values(), *altered_suites(cfg.eval, attacks)], tokenizer)
    for one in attacks.values():
        one.validate(tokenizer, blocks.num_blocks)
    directory = run_directory(cfg, "attack")
    check_free(directory, REPORT_BYTES, again=cfg)
    started = now()
    model = load_model(spec, pick_device(cfg.device))
    base: Scores | None = None
    original = None
    if changed is not None:
        base = cached_evaluate(
            identity(spec), plain(cfg.eval), lambda kept: evaluate(suites, model, tokenizer, answers=kept)
        )
        parameters = dict(model.named_parameters(remove_duplicate=False))
        original = {name: parameters[name].detach().clone() for name in changed}
        apply_delta(model, changed)
    directory = create(directory, cfg)
    again = (
        f"the variants that were measured are kept, so the same command with run={directory.name} continues"
    )
    with keeping(again, plain(cfg.eval)), locked(directory):
        start = f"{identity(spec)} {digest(changed or {})}"
        answers = kept_answers(start, plain(cfg.eval))
        unlearned = evaluate(suites, model, tokenizer, answers=answers)
        target = Target(model, tokenizer, blocks.blocks, cfg.seed, original)
        kept = KeptRows(directory, start)
        rows = try_all(attacks, target, lambda variant: _scores(cfg, variant, target), kept, base, unlearned)
        came = of_run(command_line(), cfg.seed, started, base=identity(spec))
        found = record(plain(cfg), came, unlearned, base, attacks=rows)
        write_results(directory / "results.json", found)
    answers.forget()
    report_or_say(directory, lambda: write_report(directory))
    print_robustness(found)
    print(f"report: {directory / 'report.html'}")
    print(f"run: {directory}")
    return directory


def _scores(cfg: DictConfig, variant: Variant, target: Target) -> Scores:
    """Return what the attack measured itself, or score the suites with the settings that the variant changes."""
    if variant.scores is not None:
        return {suite: dict(metrics) for suite, metrics in variant.scores.items()}
    taken = settings_of_suites(cfg.eval, variant.evaluation)
    suites = build_suites(cfg.eval, taken)
    if variant.evaluation:  # suites that do not have the setting would repeat themselves
        suites = {name: suite for name, suite in suites.items() if taken[name]}
    return evaluate(suites, target.model, target.tokenizer)


def complete(cfg: DictConfig) -> DictConfig:
    """Take the model of the run, if one is given, and its suites and texts too where that is not the tiny world."""
    if cfg.run_dir is None:
        return _with_own_relearn(cfg.copy())
    run = Path(str(cfg.run_dir))
    merged = _with_own_relearn(with_model_of(cfg, run))
    trained = own_config(run, "run_dir", ("data", "objective"))
    merged.objective = trained.objective
    on_tinyworld = is_tinyworld(str(merged.model.path))
    if not on_tinyworld or typed("eval")[0] is not None:
        merged.eval = suites_of_run(cfg, run)
    if not on_tinyworld:
        if "relearn" in (cfg.get("attack") or {}):
            relearn_corpora(trained, merged)
        leave_out_tinyworld(merged)
    return merged


def _with_own_relearn(cfg: DictConfig) -> DictConfig:
    """Give `attack.relearn` the settings that its model has of its own, where none was typed."""
    own = of_model(cfg.model, "relearn")
    if own and "relearn" in (cfg.get("attack") or {}):
        for name in map(str, own):
            if f"attack.relearn.{name}" not in typed("attack")[1]:
                cfg.attack.relearn[name] = own[name]
    return cfg


def _check(cfg: DictConfig) -> None:
    if cfg.run_dir is not None and cfg.unlearned is not None:
        raise UserError("a run and unlearned=: give one, a train run or the unlearned model's folder")
    if not cfg.get("eval"):
        raise UserError("eval=[]: nothing to measure by; name a suite, e.g. eval=[tinyworld_held_out]")
    if not cfg.get("attack"):
        raise UserError("attack=[]: nothing to try; name an attack, e.g. attack=[relearn]")
