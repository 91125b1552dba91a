"""Say how a run ended: results.json, each item's outcome, the report, the table, what to do next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.config.instantiate import plain
from unlearnctl.evaluation.collapse import flags
from unlearnctl.reporting.reports import write_report
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.changed_questions import changed_questions
from unlearnctl.results.history import read_history
from unlearnctl.results.provenance import now, of_run
from unlearnctl.results.record import paired_tests, record, write_items
from unlearnctl.results.schema import read_ending, write_results
from unlearnctl.runs.disk import report_or_say
from unlearnctl.unlearning.flat_rewards import flat_rewards
from unlearnctl.unlearning.no_effect import no_effect
from unlearnctl.unlearning.sinks import sink_flags
from unlearnctl.utils.stopping import exception_from

if TYPE_CHECKING:
    from unlearnctl.results.metric import Scores
    from unlearnctl.training.loop import Fit
    from unlearnctl.unlearning.memory_usage import MemoryUsage
    from unlearnctl.unlearning.setup import Setup

UNSCORED = ("interrupted", "diverged")  # ends that leave something to resume, and no result


def command_line() -> str:
    """Return the command as typed, quoted for a shell."""
    return shlex.join([*sys.argv[0].split(), *sys.argv[1:]])  # cli.py makes argv[0] "unlearnctl VERB"


@dataclass(frozen=True)
class History:
    """Records when and how a run was started and resumed; training checkpoints carry it along."""

    started: str = field(default_factory=now)
    command: str = field(default_factory=command_line)
    resumed_after: list[int] = field(default_factory=list)  # steps
    changed: list[dict[str, Any]] = field(default_factory=list)  # settings that a resumption changed

    @staticmethod
    def resumed(found: Mapping[str, Any], step: int, changes: Mapping[str, Any]) -> History:
        """Return the history that a checkpoint holds, with one more resumption, after `step`."""
        changed = [{"after_step": step, **changes}] if changes else []
        return History(
            started=found["started"],
            command=found["command"],
            resumed_after=[*found["resumed_after"], step],
            changed=[*found["changed"], *changed],
        )


@dataclass(frozen=True)
class Outcome:
    """Holds what a run has produced."""

    base: str  # identity of the untouched weights
    fit: Fit
    before: Scores
    manifest: dict[str, Any]  # of the checkpoint; empty if none was saved
    memory: MemoryUsage
    history: History
    lr: float  # in absolute units, before its schedule
    best_step: int | None = None
    meta: dict[str, Any] | None = None  # what the learner of `trainer=meta` did
    token_weights: dict[str, Any] | None = None
    moved: float | None = None  # share of the trained weights that changed
    after: Scores = field(default_factory=dict)  # empty if the run ended UNSCORED


def results(setup: Setup, outcome: Outcome) -> dict[str, Any]:
    """Build results.json of a run that has ended; docs/results_schema.md."""
    history, before, after = outcome.history, outcome.before, outcome.after
    origin = {
        "base": outcome.base,
        "data": setup.data.fingerprint(),
        "checkpoint_sha256": outcome.manifest.get("sha256"),
        **({"changed": history.changed} if history.changed else {}),
        **({"resumed_after": history.resumed_after} if history.resumed_after else {}),
    }
    questions = changed_questions(before, after)
    return record(
        plain(setup.cfg),
        of_run(history.command, setup.cfg.seed, history.started, **origin),
        after,
        before,
        outcome.fit.status,
        data=setup.data.record,
        train=_training(setup, outcome),
        paired=paired_tests(before, after),
        flags=[*flags(before, after), *_no_effect(setup, outcome)],
        **({"questions": questions} if questions else {}),
    )


def _no_effect(setup: Setup, outcome: Outcome) -> list[dict[str, Any]]:
    if outcome.fit.status in UNSCORED:
        return []
    rows, config = read_history(setup.directory / "metrics.jsonl").rows, plain(setup.cfg)
    return [*no_effect(rows, outcome.moved, config), *flat_rewards(rows, config), *sink_flags(rows)]


def _training(setup: Setup, outcome: Outcome) -> dict[str, Any]:
    fit, plan = outcome.fit, setup.plan
    optional = {
        "lr": outcome.lr,
        "layers": list(plan.layers),
        "micro_batch": fit.micro_batch,
        "meta": outcome.meta,
        "token_weights": outcome.token_weights,
    }
    return {
        "steps": fit.steps,
        "seconds": round(fit.seconds, 3),
        "tokens": fit.tokens,
        "best_step": outcome.best_step,
        "terms": fit.terms,
        "trained": {
            "tensors": plan.trained_tensors,
            "parameters": plan.trained_parameters,
            **({} if outcome.moved is None else {"moved": outcome.moved}),
        },
        "memory": outcome.memory.record(),
        "stop_reason": fit.stop_reason,
        **{key: value for key, value in optional.items() if value},
    }


def write_outcome(setup: Setup, outcome: Outcome, found: dict[str, Any]) -> None:
    """Write the outcome of each item, results.json and the report."""
    directory = setup.directory
    write_items(directory, before=outcome.before, after=outcome.after)
    write_results(directory / "results.json", found)
    report_or_say(directory, lambda: write_report(directory))


def print_summary(setup: Setup, outcome: Outcome, found: dict[str, Any]) -> None:
    """Print the table, what to do next, and the last line."""
    directory, fit = setup.directory, outcome.fit
    print_comparison(found)
    if fit.stop_reason:
        print(f"stopped: {fit.stop_reason}")
    if auroc := (outcome.token_weights or {}).get("auroc"):
        print(
            f"token weights: AUROC {auroc['value']:.3f} ± {1.96 * auroc['stderr']:.3f} against the true spans"
        )
    print(outcome.memory.line(setup.plan))
    print(f"\nreport: {directory / 'report.html'}")
    if fit.status == "interrupted" and setup.prepared.settings.checkpoint.every > 0:
        print(f"resume: unlearnctl train resume={directory}")
    if outcome.manifest:
        print(f"export: unlearnctl export {shlex.quote(str(directory))} to={directory.name}-model")
    print(f"run: {directory}")


def check_ended(directory: Path) -> None:
    """Raise what stopped a run that was interrupted and saved: its command must not exit as if it had finished.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    status, reason = read_ending(directory)
    if status == "interrupted":
        raise exception_from(reason)
