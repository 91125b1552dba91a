"""What `conf/tracker/` may hold; checked before a run begins, so that no run ends over its tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePath

from unlearnctl.utils.errors import UserError, unknown

MODES = ("online", "offline", "disabled")


@dataclass(frozen=True)
class Plain:
    """`tracker=none`: metrics.jsonl alone."""

    name: str = "none"
    system_every: float | None = None  # seconds

    def check(self) -> None:
        """Refuse values out of range, and a package that is not there.

        Raises:
            UserError: by its config key.
        """
        if self.system_every is not None and self.system_every <= 0:
            raise UserError(
                f"tracker.system_every={self.system_every}: must be a positive number of seconds, or null"
            )
        if self.name != "none" and find_spec(self.name) is None:
            raise UserError(f"tracker={self.name}: not installed; pip install {self.name}")


@dataclass(frozen=True)
class Tensorboard(Plain):
    """`tracker=tensorboard`."""

    folder: str = "tensorboard"  # inside the run directory

    def check(self) -> None:
        """As `Plain.check`; and the folder stays in the run directory."""
        super().check()
        path = PurePath(self.folder)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"tracker.folder={self.folder}: must be the name of a folder inside the run directory"
            )


@dataclass(frozen=True)
class Trackio(Plain):
    """`tracker=trackio`."""

    project: str = "unlearnctl"
    group: str | None = None


@dataclass(frozen=True)
class Wandb(Trackio):
    """`tracker=wandb`."""

    entity: str | None = None
    tags: Sequence[str] = ()
    mode: str | None = None

    def check(self) -> None:
        """As `Plain.check`; and the mode is one of wandb's."""
        super().check()
        if self.mode is not None and self.mode not in MODES:
            raise unknown("tracker.mode", self.mode, MODES)


SETTINGS: dict[str, type[Plain]] = {
    "none": Plain,
    "tensorboard": Tensorboard,
    "trackio": Trackio,
    "wandb": Wandb,
}
