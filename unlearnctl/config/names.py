"""Check names that become folders."""

from __future__ import annotations

from pathlib import Path

from unlearnctl.utils.errors import UserError


def check_name(key: str, value: object) -> None:
    """Refuse a name that is not a path below `output_dir`."""
    path = Path(str(value or ""))
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise UserError(f"{key}={value}: must be the name of a folder inside output_dir")
