"""The one training loop: from global batch to optimiser step, on any number of processes."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from unlearnctl.data.batch import Batch
from unlearnctl.distributed.collectives import all_ranks, any_rank, gathered
from unlearnctl.distributed.heartbeat import sign, waiting
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.sharding import whole
from unlearnctl.objectives.base import Loss, Objective
from unlearnctl.training.memory import fitting
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.training.sharpness import ascent, perturbed
from unlearnctl.utils.stopping import SIGNALS, stop, told

if TYPE_CHECKING:
    from accelerate import Accelerator


class Batches(Protocol):
    """What the loop asks of the data: `unlearnctl.data.streams.ForgetRetain`."""

    @property
    def topics(self) -> list[str]:
        """Names of the forget topics, which take turns."""
        ...

    def micro_batches(
        self, step: int, global_batch: int, micro_batch: int, rank: int = 0, world: int = 1
    ) -> list[dict[str, Batch]]:
        """This process's share of a global batch, cut into micro-batches."""
        ...


@dataclass
class Fit:
    """How training went."""

    steps: int = 0
    seconds: float = 0.0
    tokens: dict[str, int] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)
    status: str = "completed"
    stop_reason: str | None = None
    micro_batch: int | None = None  # what memory sufficed for, where that was less than was asked for


@dataclass
class Trainer:
    """Steps an objective on a tapped model.

    Gradient accumulation follows from the global batch: losses are sums over local tokens divided by the
    global batch's count, so micro-batches and processes add up and change nothing but the time.
    """

    tapped: TappedModel
    objective: Objective
    data: Batches
    settings: TrainerSettings
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    on_step: Callable[[dict[str, Any]], None] = lambda row: None
    after_step: Callable[[int, bool], str | None] = lambda step, last: None
    checkpoint: Callable[[], None] = lambda: None  # called between two steps
    result: Fit = field(default_factory=Fit)

    def __post_init__(self) -> None:
        from transformers import get_scheduler

        s = self.settings
        scheduler = get_scheduler(s.schedule, self.optimizer, s.warmup_steps, s.steps)
        self.parameters = list(self.tapped.trained().values())
        self.objective.to(self.accelerator.device)
        self.sharded = self.settings.sharding == "fsdp"
        if self.sharded:  # sliced already, see models/sharding.py
            self.model, self.optimizer = self.tapped, self.accelerator.prepare(self.optimizer)
        else:
            self.model, self.optimizer = self.accelerator.prepare(self.tapped, self.optimizer)
        self.scheduler = scheduler  # stepped once a global step, whatever the number of processes

    def fit(self) -> Fit:
        """Run all steps, or until a stop, a NaN or Ctrl-C; the weights are left as of the last good step."""
        return fit_together([self])[0]

    def advance(self) -> bool:
        """One step, logged and watched; False once there is nothing more to do."""
        started = time.perf_counter()
        sign(f"step {self.result.steps + 1}")
        if self.result.steps == 0:
            self._calibrate()
        row = self.step(self.result.steps)
        going = self._note(row, started) and self.result.steps < self.settings.steps
        if not going and self.result.status == "completed" and not all_ranks(self.finite()):
            self._diverged(f"a weight is not finite after step {self.result.steps}")
        self.result.seconds += time.perf_counter() - started
        if going:
            self.checkpoint()
        return going

    @property
    def done(self) -> bool:
        """True if there is nothing more to do, also of one that is put back as it had ended."""
        return self.result.status in ("stopped_early", "diverged") or self.result.steps >= self.settings.steps

    @property
    def micro(self) -> int:
        """Sequences in memory at once, on this process."""
        share = max(1, self.settings.global_batch // self.accelerator.num_processes)
        return self.result.micro_batch or self.settings.micro_batch or share

    def finite(self) -> bool:
        """Whether every weight that trains is a finite number, on this process."""
        return all(bool(p.detach().isfinite().all()) for p in self.parameters)

    def set_lr(self, lr: float) -> None:
        """Go on at another learning rate, at the same place of the schedule."""
        self.scheduler.base_lrs = [lr] * len(self.scheduler.base_lrs)
        rates = [lr * factor(self.scheduler.last_epoch) for factor in self.scheduler.lr_lambdas]
        for group, now in zip(self.optimizer.param_groups, rates, strict=True):
            group["initial_lr"], group["lr"] = lr, now
        self.scheduler._last_lr = rates

    def _diverged(self, reason: str) -> None:
        self.result.status, self.result.stop_reason = "diverged", reason

    def _note(self, row: dict[str, Any], started: float) -> bool:
        fit = self.result
        values = {**{f"loss term '{name}'": value for name, value in row["terms"].items()},
                  "the loss": row["loss"], "the gradient": row.get("grad_norm", 0.0)}  # fmt: skip
        if bad := next((name for name, value in values.items() if not math.isfinite(value)), None):
            self._diverged(f"{bad} is {values[bad]} at step {row['step']}")
            return False
        fit.steps, fit.terms = row["step"], row["terms"]
        for side, count in row.pop("tokens").items():
            fit.tokens[side] = fit.tokens.get(side, 0) + count
        self.on_step({"kind": "train", **row, "seconds": fit.seconds + time.perf_counter() - started})
        if reason := self.after_step(fit.steps, fit.steps == self.settings.steps):
            fit.status, fit.stop_reason = "stopped_early", reason
        return fit.status == "completed"

    def step(self, step: int) -> dict[str, Any]:
        """One optimiser step on the global batch `step`; no update if the loss or gradient is not finite.

        With fp16, a gradient that overflows under the present loss scale is no fault: that step is left out and the
        scale halved (`skipped` in the row), until the scale is 1.
        """
        micros, terms = fitting(self, step)
        summed = {name: self.accelerator.reduce(value, "sum").item() for name, value in terms.items()}
        norm = self._clip()
        lr = self.scheduler.get_last_lr()[0]
        sound, skipped = all(map(math.isfinite, summed.values())), False
        if sound and math.isfinite(norm):
            self.optimizer.step()
            self.scheduler.step()
            self.objective.after_step(summed)
        elif sound and (scaler := self.accelerator.scaler) and scaler.get_scale() > 1:
            self.optimizer.step()  # the scaler leaves it out, and lowers its scale
            skipped = True
        self.optimizer.zero_grad()
        total = summed.pop("loss")
        tokens = {side: batch.tokens for side, batch in micros[0].items()}
        row = {"step": step + 1, "loss": total, "terms": summed, "lr": lr, "tokens": tokens}
        return {**row, "skipped": True} if skipped else {**row, "grad_norm": norm}

    def gradients(self, micros: Sequence[Mapping[str, Batch]]) -> dict[str, torch.Tensor]:
        """Leave the global batch's gradient in the parameters; returns this process's loss terms."""
        rho = self.settings.sharpness
        if not rho:
            return self._accumulate(micros, "total")
        self.objective.eval()  # what it learns by itself, it learns from the one pass at θ that follows
        self._accumulate(micros, "forget")
        delta = ascent(self.parameters, rho)
        self.objective.train()
        terms = self._accumulate(micros, "rest")
        self.objective.eval()
        with perturbed(self.parameters, delta):
            self._accumulate(micros, "forget")
        self.objective.train()
        return terms

    def _accumulate(self, micros: Sequence[Mapping[str, Batch]], part: str) -> dict[str, torch.Tensor]:
        terms: dict[str, torch.Tensor] = {}
        for index, micro in enumerate(micros):
            loss = self._backward(micro, part, synchronise=index == len(micros) - 1)
            for name, value in {"loss": loss.total, **loss.terms}.items():
                terms[name] = terms.get(name, torch.zeros_like(value)) + value.detach()
        return terms

    def _backward(self, micro: Mapping[str, Batch], part: str, synchronise: bool) -> Loss:
        world = self.accelerator.num_processes
        with nullcontext() if synchronise or self.sharded else self.accelerator.no_sync(self.model):
            with self.accelerator.autocast():
                views = self.model(micro)
                loss = self.objective(**views)
            with waiting() if synchronise else nullcontext():
                self.accelerator.backward(
                    loss.part(part) * world
                )  # DDP averages gradients; the losses are sums
        return loss

    def _clip(self) -> float:
        bound = self.settings.clip_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.parameters, bound)
        return float(whole(norm))

    def batches(self, step: int) -> list[dict[str, Batch]]:
        """This process's micro-batches of a step, with the sides that the objective reads, on the device."""
        a, s = self.accelerator, self.settings
        batches = self.data.micro_batches(step, s.global_batch, self.micro, a.process_index, a.num_processes)
        sides = self.tapped.needs
        return [{side: b[side].to(a.device) for side in sides} for b in batches]

    @torch.no_grad()
    def _calibrate(self) -> None:
        names = self.objective.calibration()
        if not names:
            return
        for topic in range(len(self.data.topics)):
            for micro in self.batches(topic):
                self.objective.calibrate(self.model(micro)["forget"])
        for name in names:
            buffer = self.objective.get_buffer(name)
            buffer.copy_(self.accelerator.reduce(buffer, "sum"))


def fit_together(trainers: Sequence[Trainer], after_round: Callable[[], None] = lambda: None) -> list[Fit]:
    """Step each trainer in turn until all are done; `after_round` is called when each has had its step."""
    active = [trainer for trainer in trainers if not trainer.done]
    with interruptible() as interrupted:
        while active:
            active = [trainer for trainer in active if trainer.advance()]
            after_round()
            if active and any_rank(bool(interrupted())):  # a signal reaches one rank sooner than another
                reason = told(max(gathered(interrupted())))
                for trainer in active:
                    trainer.result.status, trainer.result.stop_reason = "interrupted", reason
                break
    return [trainer.result for trainer in trainers]


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """The first Ctrl-C, SIGTERM or SIGHUP asks the loop to stop after the step, so that it can save; the second kills.

    Yields what returns the signal's number, 0 if there was none.
    """
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise stop(number)
        seen.append(number)

    try:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup
        heard = (signal.SIGINT, *(s for s in SIGNALS if s != signal.SIGHUP or not ignored))
        old = {s: signal.signal(s, note) for s in heard}
    except ValueError:  # not in the main thread: signals stay with whoever owns it
        yield lambda: 0
        return
    try:
        yield lambda: seen[0] if seen else 0
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)
