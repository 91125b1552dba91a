"""`${oc.env:NAME}` counts where it was typed; a file that holds it would put what it finds into names and results."""

from __future__ import annotations

from typing import Any

from omegaconf import Node, OmegaConf
from omegaconf.resolvers import oc

from unlearnctl.config.trust import trusted
from unlearnctl.utils.errors import UserError


def guard_environment() -> None:
    """From here on OmegaConf resolves no variable that was not named on the command line, however it is written."""
    OmegaConf.register_new_resolver("oc.env", _env, replace=True)


def refusal(error: BaseException | None) -> str:
    """What `_env` said, if it is what an error came from."""
    while error is not None:
        if isinstance(error, UserError):
            return str(error)
        error = error.__cause__ or error.__context__
    return ""


def _env(name: str, *default: Any, _node_: Node) -> str | None:
    if name not in trusted().environment:
        key = _node_._get_full_key(None)
        raise UserError(f"{key}: the environment's {name} (oc.env) counts on the command line alone")
    return oc.env(name, *default)
