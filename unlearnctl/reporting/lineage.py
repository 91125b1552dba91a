"""Record where an exported model comes from, step by step, in a file beside it that the next export reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearnctl.utils.safe_json import loads

NAME = "lineage.json"
FORMAT = "unlearnctl/lineage/1"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CACHED = re.compile(r"models--([A-Za-z0-9][\w.-]*?)--([\w.-]+)")
LOCAL = re.compile(r"@[0-9a-f]{16}:\w+$")  # the end of the identity of a local folder
STEP = ("method", "data", "checkpoint")
Tree = Mapping[str, Any]


def lineage(results: Tree, method: str, folder: Path | None = None) -> dict[str, Any]:
    """Build the lineage of an export: its base's, if it has one, and the step of this run.

    Args:
        results: the run's results.json.
        method: what was done, as a reader would say it.
        folder: of the base, if it is on this machine.
    """
    config, provenance = _tree(results.get("config")), _tree(results.get("provenance"))
    model, weights = _tree(config.get("model")), str(provenance.get("base") or "")
    before = (_read(folder) if folder else None) or {
        "format": FORMAT,
        "base": _base(model, weights, folder),
        "weights": weights,
        "steps": [],
    }
    step = (
        method,
        str(_tree(config.get("data")).get("name")),
        str(provenance.get("checkpoint_sha256") or ""),
    )
    return {**before, "steps": [*before["steps"], dict(zip(STEP, step, strict=True))]}


def _base(model: Tree, weights: str, folder: Path | None) -> str:
    """Name the base so that others can find it: its hub id or the name of its config; empty if neither is known."""
    path, name = str(model.get("path") or ""), str(model.get("name") or "")
    local = (
        path.startswith((".", "/", "~", "tinyworld:")) or Path(path).exists() or bool(LOCAL.search(weights))
    )
    if HUB_ID.fullmatch(path) and not local:
        return path
    if cached := CACHED.search(path):
        return f"{cached[1]}/{cached[2]}"
    if name not in ("", "local"):
        return name
    return (_saved_name(folder) or _card_base(folder)) if folder else ""


def _saved_name(folder: Path) -> str:
    """Read the name that transformers saved in config.json for a model of the hub."""
    try:
        name = str(_tree(loads((folder / "config.json").read_text(encoding="utf-8"))).get("_name_or_path"))
    except (OSError, ValueError):
        return ""
    return name if HUB_ID.fullmatch(name) and not Path(name).exists() else ""


def _card_base(folder: Path, most: int = 1 << 16) -> str:
    """Read `base_model` from the header of the README.md in the folder."""
    try:
        with (folder / "README.md").open(encoding="utf-8") as file:
            head = file.read(most)
    except (OSError, ValueError):
        return ""
    found = re.match(
        r"---\n(?:.*\n)*?base_model:\s*(?:-\s*)?[\"']?([^\s\"']+)", head.partition("\n---")[0] + "\n"
    )
    return found[1] if found and HUB_ID.fullmatch(found[1]) else ""


def _read(folder: Path) -> dict[str, Any] | None:
    """Read what an earlier export left in its folder; None if it is not ours."""
    try:
        found = loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if (
        not isinstance(found, dict)
        or found.get("format") != FORMAT
        or not isinstance(found.get("steps"), list)
    ):
        return None
    steps = [{key: str(_tree(step).get(key) or "") for key in STEP} for step in found["steps"]]
    kept = {key: str(found.get(key) or "") for key in ("base", "weights")}
    kept["base"] = kept["base"] if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", kept["base"]) else ""
    return {"format": FORMAT, **kept, "steps": steps}


def _tree(value: object) -> Tree:
    return value if isinstance(value, Mapping) else {}
