"""Describe which settings a search tries, and draw from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from unlearnctl.config import depth
from unlearnctl.utils import numbers
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read

if TYPE_CHECKING:
    from optuna import Trial


@dataclass(frozen=True)
class Setting:
    """One key of the config and the values that are tried.

    Args:
        key: dotted, as on the command line.
        low: the smallest number.
        high: the largest number.
        log: whether numbers are drawn evenly by ratio instead of by difference.
        whole: whether only whole numbers are drawn.
        choices: the values, instead of a range of numbers.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    choices: Sequence[str | float | bool] | None = None

    def check(self, place: str) -> None:
        """Check what the types alone do not say.

        Raises:
            UserError: neither a range nor choices, or a range that is empty.
        """
        if self.choices is not None:
            if not self.choices or self.low is not None or self.high is not None:
                raise UserError(
                    f"{place}: {self.key} needs either low and high, or choices that are not empty"
                )
            return
        if self.low is None or self.high is None:
            raise UserError(f"{place}: {self.key} needs low and high, or choices")
        if not self.low < self.high or (self.log and self.low <= 0):
            least = "above 0 and " if self.log else ""
            raise UserError(f"{place}: {self.key}: low={self.low} must be {least}below high={self.high}")

    @property
    def places_blocks(self) -> bool:
        """Tell whether the setting decides which blocks train, and so what trials can share."""
        return self.key.rpartition(".")[2] in (*depth.KEYS, "trainable")

    def in_blocks(self, blocks: int) -> Setting:
        """Turn shares of the depth into blocks of a model that has so many: what means the same block is one value."""
        if self.key.rpartition(".")[2] not in depth.KEYS:
            return self
        if self.choices is not None:
            return replace(self, choices=depth.at_depth({"layers": list(self.choices)}, blocks)["layers"])
        low, high = (depth.at_depth({"layer": end}, blocks)["layer"] for end in (self.low, self.high))
        return (
            replace(self, low=low, high=high, whole=True) if low < high else Setting(self.key, choices=[low])
        )

    def nearest(self, value: object) -> str | float | bool | None:
        """Return the value of the space that is closest to a config's; None if there is no telling."""
        if self.choices is not None:
            return next((choice for choice in self.choices if choice == value), None)
        number = numbers.finite(value)
        if number is None or (self.log and number <= 0):
            return None
        assert self.low is not None
        assert self.high is not None
        clamped = min(max(number, self.low), self.high)
        return round(clamped) if self.whole else clamped

    def draw(self, trial: Trial) -> str | float | int | bool:
        """Let a trial choose a value."""
        if self.choices is not None:
            return cast("str | float | bool", trial.suggest_categorical(self.key, list(self.choices)))
        assert self.low is not None
        assert self.high is not None
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        # Three digits are more than a search can tell apart, and a recipe is read by people.
        return float(f"{trial.suggest_float(self.key, self.low, self.high, log=self.log):.3g}")


def read_space(place: str, given: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """Read and check a list of settings.

    Raises:
        UserError: nothing to try, a setting twice, or one that is not well formed.
    """
    settings = [read(Setting, f"{place}[{index}]", entry) for index, entry in enumerate(given)]
    if not settings:
        raise UserError(
            f"{place}: nothing to try; give settings as {place}=[{{key: ..., low: ..., high: ...}}]"
        )
    for index, setting in enumerate(settings):
        setting.check(f"{place}[{index}]")
    keys = [setting.key for setting in settings]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UserError(f"{place}: {twice} stands in it twice")
    return settings
