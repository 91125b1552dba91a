"""Train one run: from the global batch to the optimiser step, on any number of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from unlearnctl.data.batch import Batch, Batches
from unlearnctl.distributed.collectives import all_ranks, any_rank, gathered
from unlearnctl.distributed.heartbeat import beat, waiting
from unlearnctl.models.partial.tapped import TappedModel
from unlearnctl.models.sharding import whole
from unlearnctl.objectives.base import Loss, Objective
from unlearnctl.training.micro import first_lengths, micro_batch_for
from unlearnctl.training.settings import TrainerSettings
from unlearnctl.training.sharpness import ascent, perturbed
from unlearnctl.training.snapshot import snapshot
from unlearnctl.utils.errors import out_of_memory
from unlearnctl.utils.stopping import describe_signal, interruptible

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Fit:
    """Records how training went."""

    steps: int = 0
    seconds: float = 0.0
    tokens: dict[str, int] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)
    status: str = "completed"
    stop_reason: str | None = None
    micro_batch: int | None = None  # what fits into memory, where that is less than was asked for


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
        # Stepped once per global step, whatever the number of processes. Accelerate's own scheduler would step once
        # per process, so it is made from the bare optimiser and never prepared.
        self.scheduler = get_scheduler(s.schedule, self.optimizer, s.warmup_steps, s.steps)
        self.parameters = list(self.tapped.trained().values())
        self.objective.to(self.accelerator.device)
        self.sharded = s.sharding == "fsdp"
        if self.sharded:  # the model is sliced already, see models/sharding.py
            self.model, self.optimizer = self.tapped, self.accelerator.prepare(self.optimizer)
        else:
            self.model, self.optimizer = self.accelerator.prepare(self.tapped, self.optimizer)

    def fit(self) -> Fit:
        """Run all steps, or until a stop, a NaN or Ctrl-C; the weights are left as of the last good step."""
        with interruptible() as signalled:
            while not self.done:
                going = self.advance()
                if going and (reason := interruption(signalled())):
                    self.interrupt(reason)
                    break
        return self.result

    def advance(self) -> bool:
        """Take one step, log and evaluate it; returns False once there is nothing more to do."""
        started = time.perf_counter()
        beat(f"step {self.result.steps + 1}")
        # Not in the constructor, because a resumed run has its scales from the checkpoint, which is loaded in between.
        if self.result.steps == 0:
            self._calibrate()
        row = self.step(self.result.steps)
        going = self._note(row, started) and self.result.steps < self.settings.steps
        # A last update may overflow a weight although loss and gradient were finite. No later loss would show it.
        if not going and self.result.status == "completed" and not all_ranks(self.finite()):
            self._diverged(f"a weight is not finite after step {self.result.steps}")
        self.result.seconds += time.perf_counter() - started
        if going:  # the last checkpoint is written by the session, which knows how the run ended
            self.checkpoint()
        return going

    def interrupt(self, reason: str) -> None:
        """Stop here; the run can be resumed."""
        self.result.status, self.result.stop_reason = "interrupted", reason

    @property
    def done(self) -> bool:
        """Tell whether nothing is left to do; also true of a finished run that was loaded from a checkpoint."""
        return self.result.status in ("stopped_early", "diverged") or self.result.steps >= self.settings.steps

    @property
    def micro(self) -> int:
        """Return how many sequences are in memory at once, on this process."""
        return self.result.micro_batch or self.settings.micro_batch or self._chosen_micro

    @cached_property
    def _chosen_micro(self) -> int:
        world, whole = self.accelerator.num_processes, self.settings.global_batch
        share = max(1, whole // world)
        # Losses on hidden states run few blocks and hold no logits: their steps are cheaper in one piece.
        if not (self.data.pack and any(need.head for need in self.tapped.needs.values())):
            return share
        lengths = first_lengths(self.data, list(self.tapped.needs), whole, world)
        return micro_batch_for(lengths, share, self.accelerator.device.type)

    def finite(self) -> bool:
        """Tell whether every weight that trains is a finite number, on this process."""
        return self.tapped.finite()

    @property
    def lr(self) -> float:
        """Return the learning rate in absolute units, before its schedule."""
        return float(self.scheduler.base_lrs[0])

    def set_lr(self, lr: float) -> None:
        """Continue with another learning rate, at the same place of the schedule."""
        # The scheduler computes a rate from `base_lrs` when it next steps. Until then the optimiser reads its groups,
        # and the log `_last_lr`.
        self.scheduler.base_lrs = [lr] * len(self.scheduler.base_lrs)
        rates = [lr * factor(self.scheduler.last_epoch) for factor in self.scheduler.lr_lambdas]
        for group, now in zip(self.optimizer.param_groups, rates, strict=True):
            group["initial_lr"], group["lr"] = lr, now
        self.scheduler._last_lr = rates

    def _diverged(self, reason: str) -> None:
        self.result.status, self.result.stop_reason = "diverged", reason

    def _note(self, row: dict[str, Any], started: float) -> bool:
        """Log a step and evaluate after it; returns whether training may continue."""
        fit = self.result
        # Checked before the step is counted, because `step` made no update from such values.
        values = {f"loss term '{name}'": value for name, value in row["terms"].items()}
        values |= {"the loss": row["loss"], "the gradient": row.get("grad_norm", 0.0)}
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
        """Take one optimiser step on the global batch `step`; no update if the loss or gradient is not finite.

        With fp16, a gradient that overflows under the present loss scale is no fault: that step is left out and the
        scale halved (`skipped` in the row), until the scale is 1.
        """
        micros, terms = self.gradients_with_oom_retry(step)
        # Reduced before anything is decided, so that every rank decides the same.
        summed = {name: self.accelerator.reduce(value, "sum").item() for name, value in terms.items()}
        norm = self._clip()
        # The rate of this step; after `scheduler.step()` it would be the next one's.
        lr = self.scheduler.get_last_lr()[0]
        finite, skipped = all(map(math.isfinite, summed.values())), False
        if finite and math.isfinite(norm):
            self.optimizer.step()
            self.scheduler.step()
            self.objective.after_step(summed)
        elif finite and (scaler := self.accelerator.scaler) and scaler.get_scale() > 1:
            self.optimizer.step()  # the scaler leaves it out, and lowers its scale
            skipped = True
        self.optimizer.zero_grad()
        total = summed.pop("loss")
        # Every micro-batch carries the counts of the whole global batch.
        tokens = {side: batch.tokens for side, batch in micros[0].items()}
        row = {"step": step + 1, "loss": total, "terms": summed, "lr": lr, "tokens": tokens}
        return {**row, "skipped": True} if skipped else {**row, "grad_norm": norm}

    def gradients_with_oom_retry(self, step: int) -> tuple[list[dict[str, Batch]], dict[str, torch.Tensor]]:
        """Leave a step's gradient in the parameters; returns its micro-batches and loss terms.

        With `trainer.on_oom=halve` a step that runs out of memory is repeated in smaller micro-batches, with the
        objective and the random numbers as they were: it becomes the step of a run with that micro-batch.
        """
        if self.settings.on_oom == "stop":
            micros = self.batches(step)
            return micros, self.gradients(micros)
        restore = snapshot(self.objective)
        while True:
            try:
                micros = self.batches(step)
                return micros, self.gradients(micros)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self.micro == 1:
                    raise
            # Outside the handler: as long as the traceback lives, it holds the tensors that did not fit.
            self._halve(step)
            restore()

    def _halve(self, step: int) -> None:
        """Make the micro-batch smaller and drop what the failed attempt left behind."""
        was = self.micro
        self.result.micro_batch = smaller_micro_batch(was)
        self.optimizer.zero_grad()
        self.objective.train()  # `trainer.sharpness` may have left it in eval mode
        if self.tapped.memo is not None:
            self.tapped.memo.clear()
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        print(
            f"out of memory at step {step + 1}: trainer.micro_batch {was} → {self.micro} from here on; "
            f"trainer.global_batch={self.settings.global_batch} stays"
        )

    def gradients(self, micros: Sequence[Mapping[str, Batch]]) -> dict[str, torch.Tensor]:
        """Leave the global batch's gradient in the parameters; returns this process's loss terms."""
        rho = self.settings.sharpness
        if not rho:
            return self._accumulate(micros, "total")
        # Three passes: forget at θ for the direction δ, the rest at θ, forget at θ + δ. The objective is in eval mode
        # in the passes for forgetting, so that what it learns by itself it learns once per step, at θ.
        self.objective.eval()
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
                # Detached, or the graph of every micro-batch would stay in memory until the last.
                terms[name] = terms.get(name, torch.zeros_like(value)) + value.detach()
        return terms

    def _backward(self, micro: Mapping[str, Batch], part: str, synchronise: bool) -> Loss:
        """Add one micro-batch's gradient; ranks exchange theirs with the last one only."""
        world = self.accelerator.num_processes
        # With FSDP, gradients are exchanged after every micro-batch: to wait for the last, each rank would hold whole
        # ones.
        with nullcontext() if synchronise or self.sharded else self.accelerator.no_sync(self.model):
            with self.accelerator.autocast():
                # Through the wrapper of DDP, never through `tapped`: else gradients would not be exchanged.
                views = self.model(micro)
                loss = self.objective(**views)
            with waiting() if synchronise else nullcontext():
                # DDP averages over ranks, and our losses are shares of a sum: multiply the average back.
                self.accelerator.backward(loss.part(part) * world)
        return loss

    def _clip(self) -> float:
        # Called even without a bound: this is what divides fp16 gradients by their loss scale, and the norm is logged.
        bound = self.settings.clip_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.parameters, bound)
        return float(whole(norm))

    def batches(self, step: int) -> list[dict[str, Batch]]:
        """Return this process's micro-batches of a step, with the sides that the objective reads, on the device."""
        a, s = self.accelerator, self.settings
        batches = self.data.micro_batches(step, s.global_batch, self.micro, a.process_index, a.num_processes)
        sides = self.tapped.needs
        return [{side: b[side].to(a.device) for side in sides} for b in batches]

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Let the objective measure, on one batch of each topic, what its scales depend on."""
        names = self.objective.calibration()
        if not names:
            return
        for topic in range(len(self.data.topics)):  # topics take turns, so step t is a batch of topic t
            for micro in self.batches(topic):
                self.objective.calibrate(self.model(micro)["forget"])
        for name in names:
            buffer = self.objective.get_buffer(name)
            buffer.copy_(self.accelerator.reduce(buffer, "sum"))


def interruption(signalled: int) -> str | None:
    """Return a reason to stop after this step, the same on all ranks: a signal reaches one sooner than another."""
    return describe_signal(max(gathered(signalled))) if any_rank(bool(signalled)) else None


def smaller_micro_batch(micro: int) -> int:
    """Return the largest proper divisor of a micro-batch."""
    return max(n for n in range(1, micro) if micro % n == 0)
