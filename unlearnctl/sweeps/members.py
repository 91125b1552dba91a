"""List the members of a sweep, where each is kept, and which ones remain to be run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearnctl.config.trust import without_trust
from unlearnctl.runs.layout import PLACES
from unlearnctl.runs.live import at_work
from unlearnctl.sweeps.status import Status, read_status, write_status
from unlearnctl.utils.atomic import open_ours, write_atomically
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads

FILE = "sweep.json"


@dataclass(frozen=True)
class Member:
    """One combination: its directory, named by the hash of its config, and its overrides."""

    directory: Path
    overrides: list[str]

    @property
    def status(self) -> Status:
        """Read its status.json."""
        return read_status(self.directory) or Status(overrides=self.overrides)


def claim(folder: Path, run: str, arguments: Sequence[str], resume: bool) -> None:
    """Create the sweep's directory, and store what resuming needs.

    Raises:
        UserError: it exists and the sweep is not being resumed, or it cannot be written.
    """
    body = {"run": run, "arguments": list(arguments)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # "x" fails if the file exists, so of two commands that start at once only one gets the name.
        if not resume:
            open_ours(folder / FILE, "x").close()
        write_atomically(folder / FILE, json.dumps(body, indent=1) + "\n")
    except FileExistsError as error:
        raise UserError(
            f"run={run}: {folder} exists already; choose another run=NAME, "
            f"or finish that sweep: unlearnctl train --resume {folder}"
        ) from error
    except OSError as error:
        raise UserError(f"output_dir={folder}: cannot be written: {error.strerror}") from error


def plan(members: Sequence[Member]) -> list[int]:
    """Mark as planned, and return by index, the members that are neither done nor running; each config once."""
    seen: set[Path] = set()
    left = []
    for place, member in enumerate(members):
        if member.directory in seen:
            continue
        seen.add(member.directory)
        status = read_status(member.directory)
        if (status is None or status.state != "done") and at_work(member.directory) is None:
            tries = status.attempt if status else 0
            write_status(member.directory, Status(overrides=member.overrides, attempt=tries))
            left.append(place)
    return left


def by_directory(members: Sequence[Member]) -> list[Member]:
    """Return each config once."""
    return list({member.directory: member for member in members}.values())


def common_overrides(members: Sequence[Sequence[str]]) -> set[str]:
    """Return the overrides that all members share."""
    return set.intersection(*map(set, members)) if members else set()


def labels(members: Sequence[Member]) -> dict[Path, str]:
    """Label each member by the settings that distinguish it: `layer=3, alpha=1`."""
    common = common_overrides([member.overrides for member in members])
    found = {}
    for member in members:
        pairs = [override.partition("=") for override in member.overrides if override not in common]
        shown = [f"{key.lstrip('+').rpartition('.')[2]}={value}" for key, _, value in pairs]
        found[member.directory] = ", ".join(shown) or member.directory.name
    return found


def resumed(folder: str, arguments: Sequence[str]) -> list[str]:
    """Return the overrides that resume the sweep in `folder`: its own, then `arguments`, which take precedence.

    Raises:
        UserError: there is no sweep in `folder`.
    """
    path = Path(folder)
    try:
        kept = loads((path / FILE).read_text(encoding="utf-8"))
        run, old = str(kept["run"]), without_trust([str(argument) for argument in kept["arguments"]])
        levels = len(Path(run).parts) + 1  # OUTPUT_DIR/train/sweep/RUN, wherever that is now
        above = (path if levels < len(path.parents) else path.absolute()).parents[levels]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"--resume {folder}: no {FILE} there; give the directory of a sweep, as in outputs/train/sweep/RUN"
        ) from error
    if flag := next((argument for argument in old if argument.startswith("-")), None):
        raise UserError(f"--resume {folder}: {FILE} contains the flag {flag}; flags must be typed")
    given = {_key(argument) for argument in arguments} | set(PLACES)
    places = [f"run={json.dumps(run)}", f"output_dir={json.dumps(str(above))}", "hydra.sweeper.resume=true"]
    return [*(a for a in old if _key(a) not in given), *arguments, *places]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
