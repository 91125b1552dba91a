"""SIGKILL at random moments, then `resume=` until the end: are the bytes those of a run that was left alone?

    python -m tests.unlearning.kill_trials --trials 20

A trial kills one run up to three times: at any time (`step`), while a checkpoint is being written, slowly (`write`),
or in the final evaluation or the report (`finish`). Of a run on two processes the command is killed, or either worker.
Processes are forked from this one, which only imports.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.unlearning.same_outcome import outcome

COMMON = (
    "train", "trainer.device=cpu", "trainer.steps=8", "trainer.global_batch=4", "eval=[smoke]", "name=n",
    "trainer.checkpoint.every=1e-9", "trainer.monitor.every=2", "trainer.monitor.overrides=null",
)  # fmt: skip
RUNS = {
    "best": ("trainer.monitor.keep=best", "trainer.prefix_cache=memory"),
    "atwu": ("objective=atwu", "objective.token_weights.every=2"),
    "meta": ("trainer=meta", "trainer.monitor.keep=last", "objective.alpha=1"),
    "ranks": ("objective=npo", "launch=cpu", "launch.num_processes=2"),
    "slices": (
        "objective=npo", "launch=cpu", "launch.num_processes=2", "trainer.sharding=fsdp", "trainer.monitor.every=0",
    ),
}  # fmt: skip
KINDS = ("step", "write", "finish")


def start(args: tuple[str, ...], slow: bool) -> int:
    """The command in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    with Path("log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    code = 1
    try:
        if slow:
            slow_down()
        from unlearnctl.cli import main

        main(list(args))
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.stdout.flush()
        Path("modules.txt").write_text("\n".join(sys.modules))
        os._exit(code)


def import_what_it_did() -> None:
    """So that the next ones find it imported: it would take most of their time."""
    for name in Path("modules.txt").read_text().splitlines():
        if name.partition(".")[0] in (
            "unlearnctl",
            "transformers",
            "accelerate",
            "hydra",
            "matplotlib",
            "scipy",
        ):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def slow_down() -> None:
    """Checkpoint files grow in pieces, so that a kill finds them torn."""
    from safetensors import torch as safetensors

    from unlearnctl.training import checkpoint

    save, sync = safetensors.save_file, checkpoint.flush

    def save_slowly(tensors: Any, path: Path, **other: Any) -> None:
        save(tensors, path, **other)
        content = path.read_bytes()
        with path.open("wb") as file:
            for first in range(0, len(content), len(content) // 4 + 1):
                file.write(content[first : first + len(content) // 4 + 1])
                file.flush()
                time.sleep(0.01)

    def sync_slowly(path: Path) -> None:
        time.sleep(0.01)
        sync(path)

    safetensors.save_file, checkpoint.flush = save_slowly, sync_slowly  # type: ignore[assignment]


def ended(child: int) -> int | None:
    """Its exit code, if it has one."""
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def is_worker(process: psutil.Process) -> bool:
    """Whether it is a rank; the launcher names the module, too, but has ranks below it."""
    with contextlib.suppress(psutil.Error):
        return "unlearnctl.distributed.worker" in process.cmdline() and not process.children()
    return False


def kill(child: int, when: Callable[[], bool], delay: float, draw: random.Random) -> str | None:
    """SIGKILL `delay` seconds after `when` is first true; what was killed, None if it ended before."""
    while not when():
        if (code := ended(child)) is not None:
            assert code == 0, Path("log.txt").read_text()[-3000:]
            return None
        time.sleep(0.001)
    time.sleep(delay)
    below = psutil.Process(child).children(recursive=True)
    victim = draw.choice([child, *(process.pid for process in below if is_worker(process))])
    os.kill(victim, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not alive, alive
    if victim == child:
        return "command" if code == -signal.SIGKILL else None
    assert code in (0, 2), code
    return "worker" if code == 2 else None


def moment(kind: str, folder: Path, seconds: float, draw: random.Random) -> tuple[Callable[[], bool], float]:
    """When a kill of this kind is due, and how long after that."""
    if kind == "step":
        return (lambda: True), draw.uniform(0.3, 1) * seconds
    if kind == "write":
        number = draw.randint(1, 6)
        partial = folder / "training" / f".{number:06d}.tmp"
        return partial.exists, draw.uniform(0, 0.08)
    return (folder / "checkpoint" / "delta.json").exists, draw.uniform(0, 0.05) * seconds


def trial(kind: str, args: tuple[str, ...], name: str, seconds: float, draw: random.Random) -> list[str]:
    """Kill up to three times, then let it end; what was done."""
    folder = Path("outputs/train/n") / name
    command, done = (*args, f"run={name}"), []
    for _ in range(draw.randint(1, 3)):
        child = start(command, slow=kind == "write")
        killed = kill(child, *moment(kind, folder, seconds, draw), draw)
        if killed is None:
            command = ("train", f"resume={folder}")
            break
        left = sorted(p.name for p in folder.glob("training/*"))
        done.append(f"{killed}: {'+'.join(left) or 'nothing'}")
        if (folder / "config.yaml").is_file():
            command = ("train", f"resume={folder}")
        elif folder.exists():  # killed before there was anything
            for file in folder.iterdir():
                file.unlink()
    code = os.waitstatus_to_exitcode(os.waitpid(start(command, slow=False), 0)[1])
    assert code == 0, Path("log.txt").read_text()[-3000:]
    return done


def main() -> None:
    """Print a line for each trial; exit 1 if any run ended with other bytes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    os.chdir(tempfile.mkdtemp(prefix="kill-trials-"))
    os.environ["UNLEARNCTL_CACHE"] = str(Path("cache").absolute())
    draw, wrong = random.Random(options.seed), 0
    whole: dict[str, tuple[dict[str, Any], float]] = {}
    for number in range(options.trials):
        turn, place = divmod(number, len(options.kinds))
        way, kind = options.runs[turn % len(options.runs)], options.kinds[place]
        args = (*COMMON, *RUNS[way])
        if way not in whole:
            for name in (
                f"{way}-first",
                f"{way}-whole",
            ):  # the first one fills the caches, the second is timed
                began = time.monotonic()
                trial_code = os.waitpid(start((*args, f"run={name}"), slow=False), 0)[1]
                assert trial_code == 0, Path("log.txt").read_text()[-3000:]
                import_what_it_did()
            whole[way] = outcome(Path(f"outputs/train/n/{way}-whole")), time.monotonic() - began
        done: list[str] = []
        for again in range(5):  # until there was a kill at all
            name = f"trial{number}-{again}"
            if done := trial(kind, args, name, whole[way][1], draw):
                break
        same = outcome(Path(f"outputs/train/n/{name}")) == whole[way][0]
        wrong += not (same and done)
        print(f"{number + 1:3} {way:6} {kind:7} {len(done)} kills, leaving {done}: "
              f"{'same bytes' if same else 'OTHER BYTES'}", flush=True)  # fmt: skip
    print(f"{options.trials} trials, {options.trials - wrong} with the bytes of a run left alone")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
