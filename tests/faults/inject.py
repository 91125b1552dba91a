"""Faults, made where the system makes them: opening, writing, renaming, copying; and in the numbers."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from unittest import mock

import safetensors.torch
import torch
from safetensors import SafetensorError

from unlearnctl.objectives.base import Loss
from unlearnctl.objectives.rmu_cosine import RMUCosine
from unlearnctl.training.loop import Trainer


class Faulty:
    """Which calls are refused: those for paths like `pattern`, after `skip` of them, `times` of them."""

    def __init__(self, pattern: str, number: int, skip: int = 0, times: int = 1 << 30) -> None:
        self.pattern, self.number, self.skip, self.times = pattern, number, skip, times
        self.seen = self.refused = 0

    def due(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike) or not fnmatch(os.fsdecode(path), self.pattern):
            return False
        self.seen += 1
        if self.seen <= self.skip or self.refused >= self.times:
            return False
        self.refused += 1
        return True

    def error(self, path: Any) -> OSError:
        return OSError(self.number, os.strerror(self.number), os.fspath(path))


@contextmanager
def refusing(pattern: str, number: int, skip: int = 0, times: int = 1 << 30) -> Iterator[Faulty]:
    """Files like `pattern` cannot be written: ENOSPC leaves a file that takes nothing, the others refuse to open.

    What is written to a full disk goes to /dev/full, so that the refusal comes from the kernel, when it flushes.
    """
    fault = Faulty(pattern, number, skip, times)
    opened, saved, copied = io.open, safetensors.torch.save_file, shutil.copyfile
    replaced, renamed, made = os.replace, os.rename, os.mkdir

    def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+") and fault.due(file):
            if number != errno.ENOSPC:
                raise fault.error(file)
            opened(file, "ab").close()
            return opened("/dev/full", "r+b" if "+" in mode else mode.replace("x", "w"), *args, **kwargs)
        return opened(file, mode, *args, **kwargs)

    def save_file(tensors: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        saved(tensors, path, *args, **kwargs)
        if fault.due(path):
            os.truncate(path, Path(path).stat().st_size // 2)
            raise SafetensorError(
                f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})"
            )

    def copyfile(source: Any, target: Any, **kwargs: Any) -> Any:
        if fault.due(target):
            opened(target, "ab").close()
            raise OSError(number, os.strerror(number), source, None, target)
        return copied(source, target, **kwargs)

    def onto(call: Callable[..., Any]) -> Callable[..., Any]:
        def moved(source: Any, target: Any, **kwargs: Any) -> Any:
            if number != errno.ENOSPC and fault.due(target):
                raise fault.error(source)
            return call(source, target, **kwargs)

        return moved

    def mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
        if number != errno.ENOSPC and fault.due(path):
            raise fault.error(path)
        made(path, *args, **kwargs)

    def is_file(mode: int) -> bool:  # /dev/full stands in for one
        return regular(mode) or stat.S_ISCHR(mode)

    regular = stat.S_ISREG
    with (
        mock.patch.object(io, "open", open_), mock.patch.object(builtins, "open", open_),
        mock.patch.object(safetensors.torch, "save_file", save_file),
        mock.patch.object(shutil, "copyfile", copyfile), mock.patch.object(os, "mkdir", mkdir),
        mock.patch.object(os, "replace", onto(replaced)), mock.patch.object(os, "rename", onto(renamed)),
        mock.patch.object(stat, "S_ISREG", is_file),
    ):  # fmt: skip
        yield fault
    assert fault.refused, f"nothing like {pattern} was written"


@contextmanager
def at_step(number: int, do: Callable[[Trainer], None], after: bool = False) -> Iterator[None]:
    """Something happens before, or right after, the computation of a step (counted from 1)."""
    step_of = Trainer.step

    def step(self: Trainer, place: int) -> dict[str, Any]:
        if place + 1 == number and not after:
            do(self)
        row = step_of(self, place)
        if place + 1 == number and after:
            do(self)
        return row

    with mock.patch.object(Trainer, "step", step):
        yield


@contextmanager
def bad_term(step: int, value: float) -> Iterator[None]:
    """The forget term has this value at a step of four micro-batches in all four: one call each."""
    whole, calls = RMUCosine.forward, []

    def forward(self: RMUCosine, forget: Any, retain: Any) -> Loss:
        loss = whole(self, forget, retain)
        calls.append(1)
        if len(calls) < step:
            return loss
        return Loss(loss.total * value, {**loss.terms, "forget": loss.terms["forget"] * value})

    with mock.patch.object(RMUCosine, "forward", forward):
        yield


def too_little(kind: str) -> Exception:
    """What torch and Python say where memory does not suffice."""
    return {
        "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 80 GiB"),
        "cpu": RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 8000000000000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        "python": MemoryError(),
    }[kind]  # fmt: skip


@contextmanager
def memory_for(rows: int, kind: str, step: int = 1) -> Iterator[None]:
    """From a step on, memory suffices for micro-batches of so many rows; a backward pass has begun when it does not."""
    whole, begun = RMUCosine.forward, []

    def forward(self: RMUCosine, forget: Any, retain: Any) -> Loss:
        loss = whole(self, forget, retain)
        if begun and len(forget.batch.input_ids) > rows:
            torch.rand(3)  # random numbers are used up, the objective was called
            raise too_little(kind)
        return loss

    def begin(trainer: Trainer) -> None:
        begun.append(1)

    with mock.patch.object(RMUCosine, "forward", forward), at_step(step, begin):
        yield


def complete(folder: Path) -> list[str]:
    """Names of what lies in a folder and below, but for what only a writer in the middle of its work may leave."""
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert not [name for name in left if ".tmp" in name or ".partial" in name], left
    return left
