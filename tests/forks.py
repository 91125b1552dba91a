"""Commands in processes of their own, forked from one that has done nothing but import the libraries.

Importing takes most of the time of a short command. All else is as with `python -m unlearnctl`: the process has its own
streams, working directory and environment, and ends as an interpreter ends.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.command import Done

# What our modules import inside functions.
LIBRARIES = (
    "accelerate", "datasets.packaged_modules.json.json", "datasets.packaged_modules.text.text",
    "hydra._internal.core_plugins.basic_launcher", "lm_eval.evaluator", "lm_eval.models.huggingface", "lm_eval.tasks",
    "matplotlib.backends.backend_agg", "matplotlib.figure", "peft", "scipy.stats", "torch.distributed.tensor",
    "transformers.modeling_utils", "transformers.models.llama.modeling_llama",
)  # fmt: skip
SECONDS = 600  # after which a command is killed
UNWANTED = ("unlearnctl.__main__", "unlearnctl.tracking.")  # the former is run; trackers are optional


class Server:
    """The process that forks; one command at a time."""

    def __init__(self, process: subprocess.Popen[str], place: Path) -> None:
        self.process = process
        self.streams = (place / "out", place / "err")

    def begin(self, *args: str, cwd: Path, **environment: str) -> int:
        """Start `unlearnctl ARGS`; return its process id."""
        out, err = map(str, self.streams)
        asked = {"args": args, "cwd": str(cwd), "environment": environment, "out": out, "err": err}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> Done:
        """Wait for the end of what was started."""
        code = self._answer()
        return Done(code, *(file.read_text(encoding="utf-8") for file in self.streams))

    def run(self, *args: str, cwd: Path, **environment: str) -> Done:
        """Start it and wait for its end."""
        self.begin(*args, cwd=cwd, **environment)
        return self.end()

    def _answer(self) -> int:
        assert self.process.stdout
        return int(self.process.stdout.readline())


@contextmanager
def server(place: Path) -> Iterator[Server]:
    """Start one; what its commands say passes through files in `place`. Its imports must say nothing."""
    with (place / "said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )  # fmt: skip
        with process:
            yield Server(process, place)
            process.communicate(timeout=60)
        said.seek(0)
        assert (process.returncode, said.read()) == (0, "")


def import_everything() -> None:
    """As the command does, with its settings of the libraries."""
    import unlearnctl
    from unlearnctl.utils.quiet import quiet_environment

    quiet_environment()
    for module in pkgutil.walk_packages(unlearnctl.__path__, "unlearnctl."):
        if not module.name.startswith(UNWANTED):
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)


def become(asked: dict[str, Any]) -> None:
    """Be the process of one command, to its end."""
    signal.alarm(SECONDS)
    os.chdir(asked["cwd"])
    os.environ.update(asked["environment"])
    for number, (path, flags) in enumerate(
        [(os.devnull, os.O_RDONLY), (asked["out"], os.O_WRONLY), (asked["err"], os.O_WRONLY)]
    ):
        os.dup2(os.open(path, flags | (os.O_CREAT | os.O_TRUNC) * bool(number)), number)
    sys.argv = ["unlearnctl", *asked["args"]]
    sys.path[0] = asked["cwd"]  # where `python -m` has it
    runpy.run_module("unlearnctl", run_name="__main__", alter_sys=True)


def main() -> None:
    """Import; then for each line of the input fork, say the process's id, wait, say its exit code."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an import prints is not an answer
    import_everything()
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            answers.close()
            become(json.loads(line))
        answers.write(f"{child}\n")
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")


if __name__ == "__main__":
    main()
