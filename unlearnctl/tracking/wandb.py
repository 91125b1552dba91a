"""Log to Weights & Biases: no prompt, nothing on the terminal, offline where there is no key."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from unlearnctl.tracking.attempts import attempt_name, sweep_name
from unlearnctl.tracking.base import TrackedRun, check_installed, flatten
from unlearnctl.utils.errors import UserError, brief, unknown

Mode = Literal["online", "offline", "disabled"]


class Wandb:
    """One wandb run for one of ours, its files in the run directory; the members of a sweep are a group.

    Args:
        project: of wandb, as `entity` (null: the account's own) and `tags`.
        group: null for the sweep's name.
        mode: online, offline or disabled; null for online if there is a key, else offline.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(
        self,
        *,
        project: str = "unlearnctl",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        mode: Mode | None = None,
    ) -> None:
        check_installed("wandb")
        self.project, self.entity, self.group = project, entity, group
        self.tags, self.mode = tuple(tags), mode

    def start(self, run: TrackedRun) -> None:
        """Begin the wandb run; if its server cannot be reached, an offline one.

        Raises:
            UserError: wandb refuses the settings, such as an online run without a key.
        """
        import wandb

        mode = choose_mode(self.mode)
        try:
            self._run = self._init(run, mode)
        except wandb.errors.UsageError as error:
            raise UserError(
                f"tracker.mode={mode}: {brief(error)}; tracker.mode=offline needs no server"
            ) from error
        except wandb.errors.CommError as error:
            print(
                f"tracker.mode={mode}: {brief(error)}; the run continues offline; to send it later: "
                f"wandb sync {run.directory / 'wandb'}/offline-run-*"
            )
            self._run = self._init(run, "offline")
        # Our own step: wandb's must never decrease, and a train and an eval row may share one.
        self._run.define_metric("*", step_metric="step")

    def _init(self, run: TrackedRun, mode: str) -> Any:
        import wandb

        return wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group or sweep_name(run.directory),
            tags=self.tags,
            name=attempt_name(run.directory),
            dir=str(run.directory),
            config=dict(run.config),
            mode=mode,  # type: ignore[arg-type]
            reinit="create_new",  # else the members of a serial sweep would merge into one run
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Send the row's numbers."""
        self._run.log({**flatten(row), "step": step})

    def finish(self, status: str) -> None:
        """Note the status and end this run, so that the next one in this process starts its own."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=1 if status == "failed" else 0)


def choose_mode(mode: str | None) -> str:
    """Return `mode`, else `$WANDB_MODE`, else online if there is a key."""
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    if mode not in get_args(Mode):
        raise unknown("tracker.mode", mode, get_args(Mode))
    return mode


def has_key() -> bool:
    """Whether `$WANDB_API_KEY` is set or `wandb login` left a key in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
