"""Check Python, torch, GPU, hub access and disk.

usage: unlearnctl doctor

example:
  unlearnctl doctor
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from unlearnctl.utils.errors import UserError
from unlearnctl.utils.hub import SECONDS, reach
from unlearnctl.utils.paths import cache_dir

Status = Literal["ok", "warn", "fail"]
PYTHON = (3, 11)
DISK_FAIL, DISK_WARN = 2e9, 40e9  # a tiny run; an 8B model in bf16 (16 GB), its export, some room
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Check:
    """What one check found; `remedy` says what to do if there is a problem."""

    name: str
    status: Status
    found: str
    remedy: str = ""


def python() -> Check:
    """Check that Python is 3.11 or newer."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= PYTHON:
        return Check("python", "ok", version)
    return Check("python", "fail", version, "install Python 3.11 or newer")


def torch() -> Check:
    """Check that PyTorch can be imported."""
    try:
        import torch as library
    except (ImportError, OSError) as error:
        return Check("torch", "fail", str(error).split("\n")[0], "pip install torch, or `make setup`")
    return Check("torch", "ok", str(library.__version__))


def gpu() -> Check:
    """Find what training will run on."""
    try:
        import torch as library
    except (ImportError, OSError):
        return Check("gpu", "warn", "unknown: torch cannot be imported", "see torch")
    if library.cuda.is_available():
        cards = [library.cuda.get_device_properties(i) for i in range(library.cuda.device_count())]
        return Check("gpu", "ok", ", ".join(f"{c.name}, {c.total_memory / 2**30:.0f} GiB" for c in cards))
    if Path("/proc/driver/nvidia/version").exists():
        remedy = "install a torch build that fits the driver (see pytorch.org/get-started)"
        return Check("gpu", "warn", "an NVIDIA driver, but this torch cannot use it", remedy)
    return Check("gpu", "ok", "none: CPU (enough for the tiny world)")


def accelerate() -> Check:
    """Check that accelerate is installed."""
    try:
        return Check("accelerate", "ok", metadata.version("accelerate"))
    except metadata.PackageNotFoundError:
        return Check("accelerate", "fail", "not installed", "pip install accelerate, or `make setup`")


def hub() -> Check:
    """Check that the Hugging Face hub answers within three seconds."""
    url = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    remedy = "the tiny world needs no network; for other models give a local folder as model.path"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Check("hub", "warn", "HF_HUB_OFFLINE is set", f"unset it to download; {remedy}")
    problem = reach(url, SECONDS)
    if problem:
        return Check("hub", "warn", f"{url}: {problem}", remedy)
    if _logged_in():
        return Check("hub", "ok", f"{url}, logged in")
    return Check("hub", "ok", f"{url}, not logged in", "only for gated models: hf auth login")


def _logged_in() -> bool:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    token = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    return bool(os.environ.get("HF_TOKEN")) or token.is_file()


def cache() -> Check:
    """Check that the cache folder can be written."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Check("cache", "ok", str(folder))
    except OSError as error:
        return Check(
            "cache", "fail", f"{folder}: {error.strerror}", "set UNLEARNCTL_CACHE to a writable folder"
        )


def disk() -> Check:
    """Check that there is room for runs in the current folder."""
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 1e9:.0f} GB free in {Path.cwd()}"
    if free < DISK_FAIL:
        return Check("disk", "fail", found, "free some space, or set output_dir=DIR on another disk")
    if free < DISK_WARN:
        return Check(
            "disk", "warn", found, "enough for the tiny world; an 8B model and its export take 32 GB"
        )
    return Check("disk", "ok", found)


def wandb() -> Check:
    """Find whether `tracker=wandb` would go online."""
    from unlearnctl.tracking.wandb import has_key

    if util.find_spec("wandb") is None:
        return Check("wandb", "ok", "not installed (optional)", "for tracker=wandb: pip install wandb")
    if has_key():
        return Check("wandb", "ok", "key present")
    return Check("wandb", "ok", "no key: runs are kept offline", "to go online: wandb login")


def tiny_world() -> Check:
    """Check that the shipped model is complete."""
    from unlearnctl.tinyworld.resolve import resolve

    folder = Path(resolve("tinyworld:weights"))
    remedy = "reinstall the package, or build it again: unlearnctl tinyworld build to=DIR"
    absent = [n for n in ("config.json", "tokenizer.json") if not (folder / n).is_file()]
    shards = list(folder.glob("*.safetensors"))
    if absent or not shards:
        return Check("tiny world", "fail", f"{folder}: lacks {', '.join(absent) or '*.safetensors'}", remedy)
    megabytes = sum(shard.stat().st_size for shard in shards) / 1e6
    return Check("tiny world", "ok", f"{megabytes:.1f} MB of weights in {folder}")


CHECKS: tuple[Callable[[], Check], ...] = (
    python,
    torch,
    gpu,
    accelerate,
    hub,
    cache,
    disk,
    wandb,
    tiny_world,
)


def run_checks(checks: Sequence[Callable[[], Check]] | None = None) -> int:
    """Run the checks (all of them by default), print a table; return 1 if any failed, else 0."""
    results = [_run(check) for check in (CHECKS if checks is None else checks)]
    _print(results)
    return int(any(result.status == "fail" for result in results))


def doctor(args: Sequence[str]) -> int:
    """Run every check; return the exit code.

    Raises:
        UserError: there is one.
    """
    if args:
        raise UserError(f"unlearnctl doctor: takes no argument, got {args[0]}")
    return run_checks()


def _run(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # a broken machine is what we are here to report
        name = getattr(check, "__name__", "check").replace("_", " ")
        line = next(iter(str(error).splitlines()), "")
        return Check(name, "fail", f"{type(error).__name__}: {line}", "unexpected; please report it")


def _print(results: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(4):
        table.add_column(overflow="fold")
    for result in results:
        status = Text(result.status, style=STYLES[result.status])
        table.add_row(result.name, status, Text(result.found), Text(result.remedy))
    console = Console()
    if not console.is_terminal:  # in a pipe or a log a line stays a line
        console.width = 500
    console.print(table)
