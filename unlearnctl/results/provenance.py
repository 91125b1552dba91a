"""Record where a number comes from: code, versions, machine, time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("unlearnctl", "torch", "transformers", "accelerate", "datasets", "lm-eval", "hydra-core", "numpy")


def now() -> str:
    """Return the time: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(command: str, seed: int) -> dict[str, Any]:
    """Collect the commit, versions, hardware, seed and the command as typed."""
    commit, dirty = _commit()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": versions(),
        "hardware": hardware(),
        "seed": seed,
        "command": command,
    }


def of_run(command: str, seed: int, started: str, **origin: Any) -> dict[str, Any]:
    """Collect the same for a run that ends now, and what it was made from."""
    return {**provenance(command, seed), "started": started, "finished": now(), **origin}


def versions() -> dict[str, str | None]:
    """List the versions of Python and of every package that can change a number."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def hardware() -> dict[str, Any]:
    """Describe the CPU, its cores, the memory in GiB and, if torch is loaded, the GPUs that it sees."""
    found: dict[str, Any] = {"cpu": _cpu_model(), "cores": os.cpu_count(), "machine": platform.machine()}
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory_gib"] = round(pages / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        found["memory_gib"] = None
    torch = sys.modules.get("torch")
    count = torch.cuda.device_count() if torch is not None and torch.cuda.is_available() else 0
    found["gpus"] = [torch.cuda.get_device_name(i) for i in range(count)] if torch is not None else []
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> tuple[str, bool]:
    # an installed wheel has no checkout around it, so its version stands for the commit
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return f"v{_version('unlearnctl')}", False
    commit = _git(root, "rev-parse", "HEAD") or f"v{_version('unlearnctl')}"
    return commit, bool(_git(root, "status", "--porcelain"))


def _git(root: Path, *args: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
