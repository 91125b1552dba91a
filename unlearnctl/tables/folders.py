"""Keep the folders of a machine out of a table: its settings name them as $DATA, and they are put in at the end.

So a run's identity holds no folder, and a table continues after its data or its model has been moved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearnctl.tables.spec import TableSpec
from unlearnctl.utils.errors import UserError, nearest

DATA, MODEL = "$DATA", "$MODEL"  # data= and model_path=
FILE = re.compile(r"\$DATA/([^\s,\[\]{}'\"]+)")
WHERE = "docs/tables/README.md says where each comes from"


def fill(node: Any, folders: Mapping[str, Path | None]) -> Any:
    """Return plain data with the folders in the place of their names, at the beginning of a text.

    What comes from Hydra is filled in rather than what goes to it, because its grammar reserves signs that names of
    folders often hold.
    """
    if isinstance(node, Mapping):
        return {key: fill(value, folders) for key, value in node.items()}
    if isinstance(node, list):
        return [fill(value, folders) for value in node]
    if not isinstance(node, str):
        return node
    name, slash, rest = node.partition("/")
    return f"{folders[name]}{slash}{rest}" if folders.get(name) else node


def check_folders(spec: TableSpec, data: Path | None, model: Path | None) -> None:
    """Check the folders before anything runs: of the files that the table reads, and of a local copy of its model.

    Raises:
        UserError: files are read from a folder that was not given, or one is not there; no such model.
    """
    if model is not None and not model.exists():
        raise UserError(f"model_path={model}: no such folder or GGUF file")
    if model is not None and len(spec.models) > 1:
        raise UserError(f"model_path={model}: the table has {len(spec.models)} models; add models=NAME")
    settings = (setting for member in spec.members() for setting in member.settings)
    files = list(dict.fromkeys(file for setting in settings for file in FILE.findall(setting)))
    if not files:
        return
    if data is None:
        table = f"{spec.name}, scale={spec.scale}"
        raise UserError(f"data=: {table} reads {', '.join(files)}; give data=DIR that holds them; {WHERE}")
    for file in files:
        if not (data / file).exists():
            near = [path.name for path in (data / file).parent.glob("*")]
            raise UserError(f"data={data}: has no {file}{nearest(Path(file).name, near)}; {WHERE}")
