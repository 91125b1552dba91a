"""Make a class as a config would have it made, its arguments checked."""

from __future__ import annotations

from typing import Any

from unlearnctl.config.instantiate import build


def built(key: str, made: type, **arguments: Any) -> Any:
    """The object that `_target_` and these arguments give at a config key."""
    return build(key, {"_target_": f"{made.__module__}.{made.__qualname__}", **arguments})
