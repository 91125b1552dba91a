"""Build attacks from their config, and the suites as the attacks change them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from unlearnctl.attacks.base import AltersSuites, Attack
from unlearnctl.config.instantiate import build, build_suites, plain
from unlearnctl.config.targets import TARGET, find_class
from unlearnctl.utils.errors import UserError


def build_attacks(cfg: DictConfig, suites: DictConfig) -> dict[str, Attack]:
    """Build the attacks of `cfg`.

    Raises:
        UserError: a wrong setting, or none of the suites has a setting that an attack needs.
    """
    attacks = {name: build(f"attack.{name}", node) for name, node in plain(cfg).items()}
    for name, attack in attacks.items():
        for setting in attack.asks:
            if not any(settings_of_suites(suites, {setting: None}).values()):
                raise UserError(
                    f"attack=[{name}]: none of the suites in eval ({', '.join(suites)}) has a setting {setting}"
                )
    return attacks


def settings_of_suites(suites: DictConfig, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return, for each suite, those of `settings` that it has."""
    taken = {}
    for name, node in plain(suites).items():
        suite = find_class(f"eval.{name}.{TARGET}", node.get(TARGET))
        known = inspect.signature(suite.__init__).parameters  # type: ignore[misc]
        taken[name] = {key: value for key, value in settings.items() if key in known}
    return taken


def altered_suites(suites: DictConfig, attacks: Mapping[str, Attack]) -> list[Any]:
    """Build the suites as the attacks will change them, so that what fails fails before weights load."""
    found: list[Any] = []
    for attack in attacks.values():
        if isinstance(attack, AltersSuites):
            for change in attack.alterations():
                found += build_suites(suites, settings_of_suites(suites, change)).values()
    return found
