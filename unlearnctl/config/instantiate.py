"""Make objects from config nodes; wrong names and values are refused with their config key."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unlearnctl.config.depth import at_depth
from unlearnctl.config.targets import TARGET, find_class
from unlearnctl.objectives.base import Objective
from unlearnctl.utils.errors import LONGEST, UserError, brief, unknown_key
from unlearnctl.utils.validate import check_value, check_values


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved config as plain containers."""
    out = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(out, dict)
    return out  # type: ignore[return-value]


def resolved(cfg: DictConfig) -> DictConfig:
    """Return a copy without interpolations, so that `${now:…}` and the like have one value everywhere."""
    copied = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(copied, DictConfig)
    return copied


def build_objective(cfg: DictConfig, blocks: int = 32) -> Objective:
    """Instantiate `cfg.objective`; its `name` is for paths and tables only.

    Args:
        cfg: its layers may be shares of the depth.
        blocks: of the model, which makes blocks of those shares; until it is known, any number serves to check values.

    Raises:
        UserError: see `build`.
    """
    return _objective("objective", at_depth(plain(cfg), blocks))


def _objective(key: str, node: Mapping[str, Any]) -> Objective:
    node = {name: value for name, value in node.items() if name != "name"}
    parts = node.get("by_topic")
    if not isinstance(parts, Mapping):
        return build(key, node)
    given = {topic: part for topic, part in parts.items() if part}
    for topic, part in given.items():
        check_value(f"{key}.by_topic.{topic}", part, Mapping[str, Any])
    built = {topic: _objective(f"{key}.by_topic.{topic}", part) for topic, part in given.items()}
    return build(key, {**node, "by_topic": built})


def suite_settings(
    cfg: DictConfig, overrides: Mapping[str, Mapping[str, Any]] | None = None, numbers_only: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the settings of each suite of `cfg.eval`, with some replaced.

    Args:
        cfg: `eval`.
        overrides: suite name -> settings.
        numbers_only: whether replies that only people read are left out, as where a run is scored again and again.
    """
    found = {}
    for name, suite in plain(cfg).items():
        changed = (overrides or {}).get(name, {})
        check_value(f"eval.{name}", suite, Mapping[str, Any])
        check_value(f"trainer.monitor.overrides.{name}", changed, Mapping[str, Any])
        silent = {"replies": 0} if numbers_only and "replies" in suite else {}
        found[name] = {**suite, **silent, **changed}
    return found


def build_suites(
    cfg: DictConfig, overrides: Mapping[str, Mapping[str, Any]] | None = None, numbers_only: bool = False
) -> dict[str, Any]:
    """Instantiate the suites of `cfg.eval`; the arguments are those of `suite_settings`."""
    settings = suite_settings(cfg, overrides, numbers_only)
    return {name: build(f"eval.{name}", node) for name, node in settings.items()}


def build(key: str, node: object, **extra: Any) -> Any:
    """Make the object that a config node describes; nested nodes with a class are made first.

    Args:
        key: of the node.
        node: `_target_` and the class's arguments, resolved.
        extra: arguments that a config cannot contain.

    Raises:
        UserError: there is no such class, or it does not take these arguments; with the config key.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{key}={node}: must be a mapping with {TARGET}")
    made = find_class(f"{key}.{TARGET}", node.get(TARGET))
    arguments = {name: value for name, value in node.items() if name != TARGET}
    for name, value in arguments.items():
        if isinstance(value, Mapping) and TARGET in value:
            arguments[name] = build(f"{key}.{name}", value)
    _check_arguments(key, arguments, made, extra)
    try:
        return made(**arguments, **extra)
    except UserError:
        raise
    except Exception as error:  # a constructor refuses values of the right type
        raise UserError(f"{key}: {brief(error, LONGEST)}") from error


def _check_arguments(key: str, node: Mapping[str, Any], made: type, extra: Mapping[str, Any]) -> None:
    """Refuse arguments that the constructor does not take, before it fails somewhere inside."""
    init = made.__init__  # type: ignore[misc]
    parameters = {} if init is object.__init__ else dict(inspect.signature(init).parameters)
    parameters.pop("self", None)
    open_ended = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    for name in node:
        if name in extra or (name not in parameters and not open_ended):
            raise unknown_key(key, name, [p for p in parameters if p not in extra])
    check_values(key, node, init)
    for name, parameter in parameters.items():
        plain_one = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if plain_one and parameter.default is parameter.empty and name not in {*node, *extra}:
            raise UserError(f"{key}.{name}: required")
