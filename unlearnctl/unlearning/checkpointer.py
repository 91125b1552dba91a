"""Keep the training checkpoints of one run: when one is written, and which one a resumed run continues from."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object
from omegaconf import OmegaConf

from unlearnctl.distributed.collectives import all_ranks, any_rank
from unlearnctl.results.provenance import versions
from unlearnctl.runs.directory import config_hash
from unlearnctl.tracking.jsonl import cut_history
from unlearnctl.training.checkpoint import Damaged, latest, numbered, read, write
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from unlearnctl.training.loop import Trainer
    from unlearnctl.unlearning.setup import Setup

State = dict[str, Any]

FOLDER = "training"
RATES = ("trainer.optimizer.lr", "trainer.relative_lr")  # setting one of them sets the other to null
CHANGEABLE = (  # what a run that failed may be resumed with: how fast, and in what pieces, not what is computed
    *RATES,
    "trainer.clip_norm",
    "trainer.micro_batch",
    "trainer.gradient_checkpointing",
    "trainer.on_oom",
)
MUST_AGREE = {
    "config": "config.yaml was changed since it was written",
    "base": "the base model's weights changed since this checkpoint",
    "data": "the training data changed since this checkpoint",
}


class Checkpointer:
    """Writes from the first process only; with fsdp every rank takes part, because slices are gathered for it."""

    def __init__(self, setup: Setup, base: str, accelerator: Accelerator) -> None:
        self.setup, self.settings = setup, setup.prepared.settings.checkpoint
        self.folder = setup.directory / FOLDER
        self.main = accelerator.is_main_process
        self.about = about(setup, base, accelerator.num_processes)
        self.takes_part = self.settings.every > 0 and (
            self.main or setup.prepared.settings.sharding == "fsdp"
        )
        self.written = time.monotonic()
        self.saved: int | None = None  # the step of the newest one
        self.found: State | None = None  # what a resumed run continues from
        self.changes: dict[str, list[Any]] = {}  # CHANGEABLE key: before, now

    def recall(self) -> None:
        """Find what a resumed run continues from; before any weights load.

        Raises:
            UserError: it was written for another config, other data or other base weights.
        """
        directory = self.setup.directory
        last = latest(self.folder, self._say)
        # A folder that is not shared would let rank 0 resume while the others start from step 0.
        if len(set(gather_object([str(last and last[2])]))) > 1:
            raise UserError(f"resume={directory}: the processes do not all see the same training checkpoints")
        if last is None:
            self._say(f"resume={directory}: no valid checkpoint found; starting from step 0")
            return
        self.found, was, path = last
        for key, what in MUST_AGREE.items():
            if was.get(key) != self.about[key]:
                raise UserError(f"resume={directory}: {path} cannot be used: {what}")
        if was.get("versions") != self.about["versions"]:
            self._say("resume: library versions changed, so the result may differ in the last digits")
        self.saved = self.found["trainer"]["fit"]["steps"]
        self._say(f"resuming after step {self.saved} of {self.setup.prepared.settings.steps} ({path})")
        self._note_changes(was.get("changeable", {}), self.about["changeable"])

    def _note_changes(self, was: State, now: State) -> None:
        for key in CHANGEABLE:
            if was.get(key) != now[key]:
                self.changes[key] = [was.get(key), now[key]]
                self._say(f"resume: {key}={now[key]} from here on, {was.get(key)} before")

    def take(self) -> tuple[State | None, dict[str, list[Any]]]:
        """Hand over what was found, and the settings that changed since; the tensors are not kept here."""
        found, self.found = self.found, None
        return found, self.changes

    def cut_history(self) -> None:
        """Take out of metrics.jsonl what a resumed run will write again.

        Raises:
            OSError: it cannot be written.
        """
        learner = (self.found or {}).get("meta") or {}
        settings = self.setup.prepared.settings.meta
        # A search that was cut is gone through again and logs all of its rows; one that has ended logs none, neither
        # its episodes nor the row of its choice.
        rows = len(learner["rows"]) if learner.get("explored") else 0
        rows += bool(rows and settings and settings.mode in ("search", "random"))
        step = (self.saved or 0) if self.found else -1
        cut_history(self.setup.directory / "metrics.jsonl", step, rows)

    def write_if_due(self, trainer: Trainer, state: Callable[[], State]) -> None:
        """Write one if it is time, by the clock of rank 0 where all take part."""
        if not self.takes_part:
            return
        due = self.main and time.monotonic() - self.written >= self.settings.every
        if any_rank(due) if trainer.sharded else due:
            self.write(trainer, state)

    def write(self, trainer: Trainer, state: Callable[[], State]) -> None:
        """Write one now. If that fails, the run says so and continues; weights that are not finite are not kept."""
        if not self.takes_part:
            return
        finite = all_ranks(trainer.finite()) if trainer.sharded else trainer.finite()
        usable = finite and trainer.result.status != "diverged"
        content = state() if usable else None  # gathers slices, so every rank has to ask
        if not self.main:
            return
        if content is None:
            self._drop_unproven(trainer.result.steps)
            return
        try:
            write(self.folder, content, self.about, self.settings.keep)
            self.saved = trainer.result.steps
        except OSError as error:
            print(f"training checkpoint: not written ({error.strerror or error}: {self.folder})")
        # Set after a failure as well, so that a full disk is tried again after the next interval, not at every step.
        self.written = time.monotonic()

    def _drop_unproven(self, steps: int) -> None:
        """Keep only checkpoints that a finite loss came after: in a run that diverged, the newest may be at fault."""
        self.saved = None
        for path in numbered(self.folder):
            with suppress(Damaged, OSError):
                step = read(path)[0]["trainer"]["fit"]["steps"]
                if step >= max(1, steps):
                    shutil.rmtree(path)
                else:
                    self.saved = step

    def clear(self) -> None:
        """Remove them all: the run has ended, so nothing will be resumed."""
        if self.main:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _say(self, line: str) -> None:
        if self.main:
            print(line)


def about(setup: Setup, base: str, processes: int) -> State:
    """Collect what has to agree before a checkpoint is used, and what may differ but is noted."""
    fixed = setup.cfg.copy()
    changeable = {key: OmegaConf.select(fixed, key) for key in CHANGEABLE}
    for key in CHANGEABLE:
        if key != "trainer.relative_lr" or "relative_lr" in fixed.trainer:  # configs of older runs lack it
            OmegaConf.update(fixed, key, None)
    return {
        "config": config_hash(fixed),
        "changeable": changeable,
        "base": base,
        "data": setup.data.fingerprint(),
        "versions": versions(),
        "processes": processes,
    }
