"""Training checkpoints of one run: when one is written, what is in it, and what is taken from the last."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object
from omegaconf import OmegaConf

from unlearnctl.distributed.collectives import all_ranks, any_rank
from unlearnctl.models.load import identity
from unlearnctl.results.provenance import versions
from unlearnctl.runs.directory import config_hash
from unlearnctl.tracking.jsonl import cut_history
from unlearnctl.training.checkpoint import Damaged, latest, numbered, read, write
from unlearnctl.training.state import load_trainer, trainer_state
from unlearnctl.unlearning.memory_usage import Held
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from unlearnctl.unlearning.session import Run

FOLDER = "training"
CHANGEABLE = (  # what a run that failed may be resumed with: how fast, and in what pieces, not what is computed
    "trainer.optimizer.lr", "trainer.clip_norm", "trainer.micro_batch", "trainer.gradient_checkpointing",
    "trainer.on_oom",
)  # fmt: skip
MUST_AGREE = {
    "config": "config.yaml was changed since it was written",
    "base": "the base model's weights are others now",
    "data": "the data are others now",
}


class Saver:
    """Writes from the first process alone; slices (fsdp) are gathered for it, in which every rank takes part."""

    def __init__(self, run: Run) -> None:
        self.run, self.settings = run, run.ready.settings.checkpoint
        self.folder = run.directory / FOLDER
        self.main = run.accelerator.is_main_process
        self.active = self.settings.every > 0
        self.takes_part = self.main or run.ready.settings.sharding == "fsdp"
        self.found: dict[str, Any] | None = None
        self.written = time.monotonic()
        self.saved: int | None = None  # the step of the newest one
        self.changes: dict[str, list[Any]] = {}  # CHANGEABLE key: before, now

    def recall(self) -> None:
        """Find what a resumed run goes on from; before any weights load.

        Raises:
            UserError: it was written for another config, other data or other base weights.
        """
        last = latest(self.folder, self._say)
        if len(set(gather_object([str(last and last[2])]))) > 1:
            raise UserError(
                f"resume={self.run.directory}: not every process sees the same training checkpoints"
            )
        if last is None:
            self._say(f"resume: {self.run.directory} has no sound training checkpoint, so it starts anew")
            return
        self.found, about, path = last
        now = self._about(identity(self.run.ready.spec))
        for key, what in MUST_AGREE.items():
            if about.get(key) != now[key]:
                raise UserError(f"resume={self.run.directory}: {path} cannot be used: {what}")
        if about.get("versions") != now["versions"]:
            self._say("resume: library versions changed, so the result may differ in the last digits")
        self.saved = self.found["trainer"]["fit"]["steps"]
        self._say(f"resume: goes on after step {self.saved} of {self.run.ready.settings.steps} ({path})")
        was, is_ = about.get("changeable", {}), now["changeable"]
        self.changes = {key: [was.get(key), is_[key]] for key in CHANGEABLE if was.get(key) != is_[key]}
        for key, (before, after) in self.changes.items():
            self._say(f"resume: {key}={after} from here on, {before} before")

    def cut_history(self) -> None:
        """Take out of metrics.jsonl what a resumed run will write again.

        Raises:
            OSError: it cannot be written.
        """
        state = (self.found or {}).get("meta") or {}
        settings = self.run.ready.settings.meta
        told = (
            len(state["rows"]) if state.get("explored") else 0
        )  # a search that was cut tells all of it again
        told += bool(told and settings and settings.mode in ("search", "random"))  # and what it chose
        cut_history(self.run.directory / "metrics.jsonl", self.saved or 0 if self.found else -1, told)

    def restore(self) -> None:
        """Put what was found into a run that has begun."""
        if self.found is None:
            return
        run, found = self.run, self.found
        load_trainer(run.trainer, found["trainer"])
        run.watcher.load_state(found["watcher"])
        if run.meta:
            run.meta.load_state(found["meta"])
        run.started, run.command = found["started"], found["command"]
        run.resumed_after = [*found["resumed_after"], run.trainer.result.steps]
        run.changed = list(found["changed"])
        if self.changes:
            run.changed.append({"after_step": run.trainer.result.steps, **self.changes})
        if "trainer.optimizer.lr" in self.changes:
            run.trainer.set_lr(float(self.changes["trainer.optimizer.lr"][1]))
        if "trainer.micro_batch" in self.changes:
            run.trainer.result.micro_batch = None  # what was found out before was about another size
        run.held = Held(**found["held"]) if found["held"] else None
        self.found = None  # and with it the tensors

    def between_steps(self) -> None:
        """Write one if it is time, by the clock of rank 0 where all take part."""
        if not (self.active and self.takes_part):
            return
        due = self.main and time.monotonic() - self.written >= self.settings.every
        if any_rank(due) if self.run.trainer.sharded else due:
            self.write()

    def write(self) -> None:
        """Write one now. Where that fails the run goes on, and says so; weights that are not finite are not kept."""
        if not (self.active and self.takes_part):
            return
        trainer = self.run.trainer
        finite = all_ranks(trainer.finite()) if trainer.sharded else trainer.finite()
        sound = trainer.result.status != "diverged" and finite
        state = self._state() if sound else None
        if not self.main:
            return
        if state is None:
            self._drop_unproven()
            return
        try:
            write(self.folder, state, self._about(self.run.base), self.settings.keep)
            self.saved = trainer.result.steps
        except OSError as error:
            print(f"training checkpoint: not written ({error.strerror or error}: {self.folder})")
        self.written = time.monotonic()

    def _drop_unproven(self) -> None:
        """Of a run that diverged, keep the checkpoints that a finite loss came after: the newest may be the fault."""
        self.saved = None
        for path in numbered(self.folder):
            with suppress(Damaged, OSError):
                step = read(path)[0]["trainer"]["fit"]["steps"]
                if step >= max(1, self.run.trainer.result.steps):
                    shutil.rmtree(path)
                else:
                    self.saved = step

    def clear(self) -> None:
        """The run has ended: nothing will be resumed."""
        if self.main:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _state(self) -> dict[str, Any]:
        run = self.run
        ended = run.trainer.done
        return {
            "trainer": trainer_state(run.trainer), "watcher": run.watcher.state(),
            "meta": run.meta.state() if run.meta else None, "started": run.started, "command": run.command,
            "resumed_after": run.resumed_after, "changed": run.changed,
            "held": asdict(run.held or Held.of(run.trainer)) if ended else None,
        }  # fmt: skip

    def _about(self, base: str) -> dict[str, Any]:
        fixed = self.run.cfg.copy()
        changeable = {key: OmegaConf.select(fixed, key) for key in CHANGEABLE}
        for key in CHANGEABLE:
            OmegaConf.update(fixed, key, None)
        return {
            "config": config_hash(fixed), "changeable": changeable, "base": base, "data": self.run.data.fingerprint(),
            "versions": versions(), "processes": self.run.accelerator.num_processes,
        }  # fmt: skip

    def _say(self, line: str) -> None:
        if self.main:
            print(line)
