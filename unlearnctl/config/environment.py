"""Allow `${oc.env:NAME}` only if it was typed: in a file, it could copy secrets into names and results."""

from __future__ import annotations

from typing import Any

from omegaconf import Node, OmegaConf
from omegaconf.resolvers import oc

from unlearnctl.config.trust import trusted
from unlearnctl.utils.errors import UserError


def guard_environment() -> None:
    """From now on, let OmegaConf resolve only variables that were typed on the command line."""
    OmegaConf.register_new_resolver("oc.env", _env, replace=True)


def refusal(error: BaseException | None) -> str:
    """Return the message of `_env` if it caused the error, else an empty text."""
    while error is not None:
        if isinstance(error, UserError):
            return str(error)
        error = error.__cause__ or error.__context__
    return ""


def _env(name: str, *default: Any, _node_: Node) -> str | None:
    if name not in trusted().environment:
        key = _node_._get_full_key(None)
        raise UserError(f"{key}: the environment variable {name} (oc.env) must be typed on the command line")
    return oc.env(name, *default)
