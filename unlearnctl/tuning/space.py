"""Describe which settings a search tries, and draw from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

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
