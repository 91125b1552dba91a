"""Find the file and line of a setting's key and value, for a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from unlearnctl.utils.paths import shown


def shown_value(value: object) -> object:
    """Return the value as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else value


def line_of(files: Sequence[Path], leaf: str, value: object) -> str:
    """Return ` (FILE:LINE)` of the first line with this key and value, or an empty text if it was typed."""
    wanted = re.compile(
        rf"(^|[\s{{,]){re.escape(leaf)}['\"]?\s*:[\s'\"\[]*{re.escape(str(shown_value(value)))}(?![\w.])",
        re.IGNORECASE,
    )
    for place in files:
        for file in sorted(place.rglob("*.yaml")) if place.is_dir() else [place]:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError):
                continue
            for number, line in enumerate(lines, 1):
                if wanted.search(line):
                    return f" ({shown(file)}:{number})"
    return ""
