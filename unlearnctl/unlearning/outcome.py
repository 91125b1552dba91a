"""What a run leaves once it is measured: results.json, each item's outcome, the report, the table, what to do next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.config.instantiate import plain
from unlearnctl.evaluation.collapse import flags
from unlearnctl.reporting.reports import write_report
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.provenance import of_run
from unlearnctl.results.record import paired_tests, record, write_items
from unlearnctl.results.schema import write_results
from unlearnctl.runs.disk import report_or_say
from unlearnctl.utils.safe_json import loads
from unlearnctl.utils.stopping import exception_from

if TYPE_CHECKING:
    from unlearnctl.unlearning.session import Run, Scores

UNSCORED = ("interrupted", "diverged")  # ends after which there is something to go on with, and no result


def result(run: Run, after: Scores) -> dict[str, Any]:
    """results.json of a run that has ended; docs/results_schema.md."""
    origin = {
        "base": run.base,
        "data": run.data.fingerprint(),
        "checkpoint_sha256": run.manifest.get("sha256"),
        **({"changed": run.changed} if run.changed else {}),
        **({"resumed_after": run.resumed_after} if run.resumed_after else {}),
    }
    return record(
        plain(run.cfg),
        of_run(run.command, run.cfg.seed, run.started, **origin),
        after,
        run.before,
        run.fit.status,
        data=run.data.record,
        train=_training(run),
        paired=paired_tests(run.before, after),
        flags=flags(run.before, after),
    )


def _training(run: Run) -> dict[str, Any]:
    return {
        "steps": run.fit.steps,
        "seconds": round(run.fit.seconds, 3),
        "tokens": run.fit.tokens,
        "best_step": run.best_step,
        "terms": run.fit.terms,
        "trained": {"tensors": run.plan.trained_tensors, "parameters": run.plan.trained_parameters},
        "memory": run.held.record() if run.held else None,
        "stop_reason": run.fit.stop_reason,
        **({"micro_batch": run.fit.micro_batch} if run.fit.micro_batch else {}),
        **({"meta": run.meta.record(run.fit.steps)} if run.meta else {}),
        **({"token_weights": run.token_weights} if run.token_weights else {}),
    }


def write_result(run: Run, record: dict[str, Any], after: Scores) -> None:
    """results.json, the outcome of each item, the report; then the training checkpoints go."""
    write_items(run.directory, before=run.before, after=after)
    write_results(run.directory / "results.json", record)
    report_or_say(run.directory, lambda: write_report(run.directory))
    if run.fit.status not in UNSCORED:
        run.saver.clear()


def tell(run: Run, record: dict[str, Any]) -> None:
    """The table, what to do next, and the last line."""
    print_comparison(record)
    if run.fit.stop_reason:
        print(f"stopped: {run.fit.stop_reason}")
    if found := (run.token_weights or {}).get("auroc"):
        print(
            f"token weights: AUROC {found['value']:.3f} ± {1.96 * found['stderr']:.3f} against the true spans"
        )
    assert run.held is not None
    print(run.held.line(run.plan))
    print(f"\nreport: {run.directory / 'report.html'}")
    if run.fit.status == "interrupted" and run.saver.active:
        print(f"resume: unlearnctl train resume={run.directory}")
    if run.manifest:
        print(f"export: unlearnctl export {shlex.quote(str(run.directory))} to={run.directory.name}-model")
    print(f"run: {run.directory}")


def check_ended(directory: Path) -> None:
    """Raise what stopped a run that saved itself: its command does not end as if it were done.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    try:
        record = loads((directory / "results.json").read_text(encoding="utf-8"))
        interrupted, reason = record["status"] == "interrupted", record["train"]["stop_reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if interrupted:
        raise exception_from(reason)


def command_line() -> str:
    """The command as typed, to be pasted again."""
    return shlex.join([*sys.argv[0].split(), *sys.argv[1:]])  # cli.py makes argv[0] "unlearnctl VERB"
