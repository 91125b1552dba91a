"""Make a class as a config would have it made, its arguments checked."""

from __future__ import annotations

import inspect
from typing import Any

from unlearnctl.config.instantiate import build


def built(key: str, made: type, *values: Any, **arguments: Any) -> Any:
    """The object that `_target_` and these arguments give at a config key."""
    given = inspect.signature(made).bind_partial(*values, **arguments).arguments
    return build(key, {"_target_": f"{made.__module__}.{made.__qualname__}", **given, **arguments})
