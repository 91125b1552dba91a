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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from unlearnctl.config.checks import (
    check_lengths,
    check_read,
    model_spec,
)
from unlearnctl.config.instantiate import build, build_suites, plain
from unlearnctl.config.tiny_world import check_known
from unlearnctl.data.batch import Batch
from unlearnctl.data.spec import DataSpec
from unlearnctl.data.streams import ForgetRetain, load_data
from unlearnctl.evaluation.cache import cached_evaluate, kept_answers
from unlearnctl.evaluation.evaluate import evaluate, validate
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.models.delta import apply_delta, digest, save_delta
from unlearnctl.models.load import identity, load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.storage_layout import stored_dtypes
from unlearnctl.repair.spectrum import Spectrum, linear_updates, second_moments
from unlearnctl.reporting.reports import write_report
from unlearnctl.reporting.strength_curve import print_curve, write_curve
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.provenance import now, of_run
from unlearnctl.results.record import record, scores_to_json
from unlearnctl.results.schema import write_results
from unlearnctl.results.trade_off import trade_off
from unlearnctl.runs.directory import REPORT_BYTES, check_free, create, own_config, run_directory
from unlearnctl.runs.disk import keeping, report_or_say
from unlearnctl.runs.inherit import laid_over, of_model, suites_of_run, typed, with_model_of
from unlearnctl.runs.lock import locked
from unlearnctl.runs.update import update_of
from unlearnctl.unlearning.outcome import command_line
from unlearnctl.unlearning.session import Scores
from unlearnctl.utils.device import pick_device
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
    searched = build_suites(cfg.eval, plain(cfg.select) if cfg.select else None)
    spec = model_spec(plain(cfg.model))
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
    work = Repairing(cfg, method, model, tokenizer, changed, searched, spec)
    base = identity(spec)
    before = cached_evaluate(
        base, plain(cfg.eval), lambda kept: evaluate(suites, model, tokenizer, answers=kept)
    )
    work.measure_damage(data)
    directory = create(directory, cfg)
    again = f"the answers are kept, so the same command with run={directory.name} asks none of them again"
    with keeping(again, plain(cfg.eval)), locked(directory):
        found = _repair(cfg, work, spec, suites, (base, before, data.fingerprint()), directory)
    work.forget_answers()
    print_curve(found["repair"])
    print("before: the unlearned model; after: repaired")
    print_comparison({**found, "before": found["unlearned"]})
    print(f"export: unlearnctl export {directory} to={directory.name}-model")
    print(f"run: {directory}")
    return directory


def _repair(
    cfg: DictConfig,
    work: Repairing,
    spec: ModelSpec,
    suites: Mapping[str, Any],
    start: tuple[str, Scores, str],
    directory: Path,
) -> dict[str, Any]:
    """Choose the strength, save the repaired tensors, measure, write; returns what is in results.json.

    `start`: identity and scores of the base model, fingerprint of the data.
    """
    base, before, data = start
    strength = cfg.strength if cfg.strength is not None else work.search()
    tensors = work.rounded(work.repaired(strength), spec)
    manifest = save_delta(directory / "checkpoint", tensors, spec, base)
    unlearned = work.scores(work.changed, suites)
    repaired = work.record(strength)
    origin = {"base": base, "data": data, "checkpoint_sha256": manifest["sha256"]}
    after = work.scores(tensors, suites)
    found = record(
        plain(cfg),
        of_run(command_line(), cfg.seed, work.started, **origin),
        after,
        before,
        unlearned=scores_to_json(unlearned),
        repair=repaired,
    )
    write_results(directory / "results.json", found)
    report_or_say(directory, lambda: write_report(directory), lambda: write_curve(directory, repaired))
    return found


@dataclass
class Repairing:
    """A base model in memory, the update, and what was learnt of the retained text."""

    cfg: DictConfig
    method: Any
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    changed: Mapping[str, Tensor]
    searched: Mapping[str, Any]
    spec: ModelSpec
    started: str = field(default_factory=now)
    spectra: dict[str, Spectrum] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)

    def forget_answers(self) -> None:
        """What was measured is in results.json."""
        for one in self.answers:
            one.forget()

    def measure_damage(self, data: ForgetRetain) -> None:
        """Second moments of the retained text at the input of every changed linear module of the base model."""
        self.updates, self.others = linear_updates(self.model, self.changed)
        if not self.updates:
            raise UserError("repair: no linear weight changed, so there is nothing that it could repair")
        for names in self._groups():
            moments = second_moments(self.model, names, self._batches(data))
            self.spectra |= {name: Spectrum.of(moment) for name, moment in moments.items()}

    def _groups(self, bound: int = 4 << 30) -> Iterator[list[str]]:
        """Modules whose second moments fit into memory together."""
        group: list[str] = []
        held = 0
        for name, update in self.updates.items():
            size = 3 * 8 * update.shape[1] ** 2
            if group and held + size > bound:
                yield group
                group, held = [], 0
            group.append(name)
            held += size
        yield group

    def _batches(self, data: ForgetRetain) -> Iterator[Batch]:
        size = self.cfg.batch_size
        for step in range(-(-self.cfg.sequences // size)):
            for micro in data.micro_batches(step, size, size):
                yield micro["retain"].to(self.model.device)

    def repaired(self, strength: float) -> dict[str, Tensor]:
        """Every changed tensor: linear weights with their repaired update, others as they were."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        out = {name: self.changed[name] for name in self.others}
        for module, update in self.updates.items():
            name = f"{module}.weight"
            out[name] = parameters[name].double() + self.method(update, self.spectra[module], strength)
        return {name: out[name] for name in self.changed}

    def rounded(self, tensors: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
        """In the dtype in which the base stores them, as they will be saved."""
        import torch

        stored = stored_dtypes(spec, list(tensors))
        return {name: value.to("cpu", getattr(torch, stored[name])) for name, value in tensors.items()}

    def scores(self, tensors: Mapping[str, Tensor], suites: Mapping[str, Any]) -> Scores:
        """Of the base model with these tensors put in; they are taken out again. The answers are kept on the disk."""
        asked = plain(self.cfg.eval)
        if suites is self.searched:
            asked["select"] = plain(self.cfg.select) if self.cfg.select else None
        self.answers.append(kept_answers(f"{identity(self.spec)} {digest(tensors)}", asked))
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        held = {name: parameters[name].detach().clone() for name in tensors}
        apply_delta(self.model, tensors)
        try:
            return evaluate(suites, self.model, self.tokenizer, answers=self.answers[-1])
        finally:
            apply_delta(self.model, held)

    def search(self) -> float:
        """The strength whose forgotten share × retained share is largest on the validation items."""
        base = evaluate(self.searched, self.model, self.tokenizer)
        best, chosen = -1.0, 0.0
        for strength in sorted({0.0, *map(float, self.cfg.strengths)}):
            tensors = self.repaired(strength)
            point = trade_off(base, self.scores(tensors, self.searched))
            if point is None:
                raise UserError(
                    "strength=null: no metric in eval measures forgetting or retaining; give strength=NUMBER"
                )
            damage = sum(self.damage(strength).values())
            self.curve.append({"strength": strength, **point._asdict(), "damage": damage})
            if point.hypervolume > best:
                best, chosen = point.hypervolume, strength
        return chosen

    def damage(self, strength: float) -> dict[str, float]:
        """Module → tr(Δ'CΔ'ᵀ)."""
        return {
            name: self.spectra[name].damage(self.method(update, self.spectra[name], strength))
            for name, update in self.updates.items()
        }

    def record(self, strength: float) -> dict[str, Any]:
        """The `repair` part of results.json."""
        before, after = self.damage(0.0), self.damage(strength)
        return {
            "method": type(self.method).__name__,
            "strength": strength,
            "curve": self.curve,
            "modules": {n: {"damage_before": before[n], "damage_after": after[n]} for n in before},
            "untouched": self.others,
        }


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
