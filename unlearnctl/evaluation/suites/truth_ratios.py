"""Keep TOFU's truth ratios of one model in a file, for the forget quality of another."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from unlearnctl.utils.atomic import write_atomically
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads


def write_truth_ratios(
    path: Path, questions: Sequence[str], ratios: Sequence[float], append_eos: bool
) -> None:
    """Write the ratios with what decides them: the questions, and whether the end token was scored."""
    entry = {"questions": list(questions), "append_eos": append_eos, "truth_ratio": list(ratios)}
    write_atomically(path, json.dumps(entry) + "\n")


def read_truth_ratios(path: str, key: str, questions: Sequence[str], append_eos: bool) -> list[float]:
    """Read ratios that were saved for the same questions.

    Args:
        path: the file.
        key: config key of the suite, for messages.
        questions: of the forget set, in order.
        append_eos: whether this evaluation scores the end token.

    Raises:
        UserError: no such file, or it is about other questions or another way of scoring.
    """
    where = f"{key}.reference={path}"
    try:
        entry = loads(Path(path).read_text(encoding="utf-8"))
        ratios, theirs = [float(x) for x in entry["truth_ratio"]], entry["questions"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{where}: no file of truth ratios as {key}.save writes it") from None
    if theirs != list(questions) or not all(map(math.isfinite, ratios)):
        raise UserError(f"{where}: its truth ratios are not those of these questions")
    if entry.get("append_eos", False) != append_eos:
        other = str(not append_eos).lower()
        raise UserError(
            f"{where}: saved with append_eos={other}; save it again, or set {key}.append_eos={other}"
        )
    return ratios
