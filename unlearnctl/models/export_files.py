"""Decides which files of a model folder are exported: those that transformers loads, and licences.

An allowlist, because folders collect training states, logs and pickles that nobody should receive unasked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearnctl.models.folder import entry, shards
from unlearnctl.models.remote_code import local_code
from unlearnctl.utils.errors import UserError

NAMES = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|encoder|tekken"
    r"|chat_template|processor_config|preprocessor_config|image_processor_config|video_preprocessor_config"
    r"|feature_extractor_config)\.json"
    r"|(tokenizer|spiece|spm|sentencepiece|sentencepiece\.bpe|spm_char)\.model(\.v\d+)?"
    r"|(vocab|merges|dict)\.txt|vocab\.bpe|bpe\.codes|[\w.-]+\.tiktoken|chat_template\.jinja"
)
LEGAL = re.compile(
    r"(LICEN[CS]E|NOTICE|COPYING|COPYRIGHT|USE_POLICY)[\w-]*(\.txt|\.md|\.rst)?", re.IGNORECASE
)
LEGAL_BYTES = 1 << 20
OWN = ("README.md", "lineage.json")  # an export gets its own
TEMPLATES = "additional_chat_templates"  # the only folder that belongs to a tokenizer


@dataclass(frozen=True)
class Files:
    """The names in a model folder, sorted: weights and their index, other files of the model, and the rest."""

    weights: tuple[str, ...]
    others: tuple[str, ...]
    code: tuple[str, ...]  # Python files, which are among `others` too
    left_out: tuple[str, ...]

    def notes(self) -> Iterator[str]:
        """Yield what the user should know about an export, one line each."""
        if self.code:
            yield f"Python files of the model, which run when it is loaded: {', '.join(self.code)}"
        if self.left_out:
            shown = ", ".join(self.left_out[:8]) + (", …" if len(self.left_out) > 8 else "")
            yield f"left out, because transformers does not load them: {len(self.left_out)} ({shown})"


def files_of(folder: Path, with_code: bool = False) -> Files:
    """Sort the files of a local model folder.

    Args:
        folder: the model folder.
        with_code: its Python files are trusted, so they belong to the export.

    Raises:
        UserError: a link leads out of the folder.
    """
    weights = sorted({entry(folder), *shards(folder)})
    code = local_code(folder) if with_code else []
    others, left = [], []
    for path in sorted(folder.iterdir()):
        _check_link(folder, path)
        if path.name in weights:
            continue
        if path.is_file() and (path.name in code or _belongs(path)):
            others.append(path.name)
        elif path.name == TEMPLATES and path.is_dir():
            others += [f"{TEMPLATES}/{one.name}" for one in _templates(folder, path)]
        elif not path.name.startswith(".") and path.name not in OWN:
            left.append(path.name + ("/" if path.is_dir() else ""))
    return Files(tuple(weights), tuple(others), tuple(n for n in others if n in code), tuple(left))


def _templates(folder: Path, inside: Path) -> list[Path]:
    found = sorted(path for path in inside.glob("*.jinja") if path.is_file())
    for path in (inside, *found):
        _check_link(folder, path)
    return found


def _belongs(path: Path) -> bool:
    if LEGAL.fullmatch(path.name):
        return path.stat().st_size <= LEGAL_BYTES
    return bool(NAMES.fullmatch(path.name))


def _check_link(folder: Path, path: Path) -> None:
    """Refuse a link, unless it leads to another file of the folder or, in a hub cache, to the cache's own blobs."""
    if not path.is_symlink():
        return
    target, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    blobs = home.parent.parent / "blobs"
    cached = home.parent.name == "snapshots" and target.is_relative_to(blobs)
    if not target.is_relative_to(home) and not cached:
        raise UserError(
            f"model.path={folder}: {path.name} is a link that leads out of the folder; copy the file into it, "
            "or remove the link"
        )
