"""Run the command line in this process: exit code, output, error output."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from unlearnctl.cli import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def run_dir(self) -> str:
        last = self.out.strip().splitlines()[-1]
        assert last.startswith("run: "), self.out + self.err
        return last.removeprefix("run: ")


COUNTS: set[int] = set()  # of imported modules, after the commands so far


def let_be_what_was_imported() -> None:
    """Each command collects garbage; it need not walk through the libraries that others imported."""
    if len(sys.modules) not in COUNTS:
        COUNTS.add(len(sys.modules))
        gc.collect()
        gc.freeze()


def run(*args: str) -> Done:
    """`unlearnctl ARGS`, as a user would type it."""
    out, err = io.StringIO(), io.StringIO()
    GlobalHydra.instance().clear()
    with mock.patch.dict(os.environ), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        os.environ.pop("HYDRA_FULL_ERROR", None)
        try:
            main(list(args))
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    let_be_what_was_imported()
    return Done(code, out.getvalue(), err.getvalue())


def succeed(*args: str) -> Done:
    done = run(*args)
    assert done.code == 0, done.err
    return done


QUICK: Sequence[str] = (
    "trainer.device=cpu", "trainer.steps=3", "trainer.global_batch=4", "trainer.monitor.every=0", "eval=[smoke]",
)  # fmt: skip
