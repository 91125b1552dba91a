"""What should be said instead of each forget text: an alternative from the data, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unlearnctl.data.corpus import Corpus
from unlearnctl.data.refusals import REFUSALS
from unlearnctl.data.rows import Row
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.utils.errors import UserError

INSTEAD = ("alternate", "refusal")  # sides whose rows pair with forget rows: what should be said instead


def check_whole(spec: CorpusSpec, key: str) -> None:
    """Refuse a corpus whose texts are split.

    Raises:
        UserError: `key` names the corpus.
    """
    if spec.long == "split":
        raise UserError(
            f"{key}.long=split: this objective replaces each text as a whole, so texts cannot be split; "
            f"use {key}.long=cut"
        )


def said_instead(corpus: Corpus, side: str) -> list[Corpus]:
    """Replace the texts of the forget corpus: by each of its alternates, or by refusals in turn.

    Raises:
        UserError: alternates are needed, and the corpus has none.
    """
    if side == "refusal":
        refusals = [REFUSALS[i % len(REFUSALS)] for i in range(len(corpus.texts))]
        return [Corpus(refusals, corpus.prompts, turns=corpus.turns)]
    if corpus.alternates is None:
        raise UserError(
            "data.forget.alternate_field=null: this objective needs an alternative to each text, in a field of each row"
        )
    # Each pass over the data uses another version of every row, so the row with the fewest alternates sets their
    # number.
    count = min(len(texts) for texts in corpus.alternates)
    versions = []
    for number in range(count):
        texts = [several[number] for several in corpus.alternates]
        versions.append(Corpus(texts, corpus.prompts, turns=corpus.turns))
    return versions


def paired(forget: Sequence[Row], versions: list[list[Row]]) -> tuple[list[Row], list[Row]]:
    """Return the forget rows that have a partner in every version, and the partners, one version after the other."""
    by_index = [{row.index: row for row in rows} for rows in versions]
    kept = [row for row in forget if all(row.index in version for version in by_index)]
    # An index identifies a row in caches, so no two versions may share one.
    apart = 1 + max(row.index for row in forget)
    partners = []
    for number, version in enumerate(by_index):
        partners += [replace(version[row.index], index=row.index + number * apart) for row in kept]
    return kept, partners
