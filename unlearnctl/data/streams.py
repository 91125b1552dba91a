"""Forget and retain side by side: global batches, cut for any number of processes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from unlearnctl.data.batch import Batch
from unlearnctl.data.corpus import Corpus, read_corpus
from unlearnctl.data.counts import Counts, shared
from unlearnctl.data.encode import Encoder, Row, collate
from unlearnctl.data.lazy_rows import LazyRows
from unlearnctl.data.refusals import REFUSALS
from unlearnctl.data.sampler import indices
from unlearnctl.data.spec import CorpusSpec, DataSpec
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SIDES = ("forget", "retain")
INSTEAD = ("alternate", "refusal")  # row by row beside the forget side: what should be said instead
Corpora = dict[str, dict[str, Corpus]]


def read_data(cfg: Mapping[str, Any]) -> Corpora:
    """Every corpus of `cfg.data`: side → topic → texts. Needs no tokenizer.

    Raises:
        UserError: see `readers.read_corpus`.
    """
    spec = DataSpec.from_config(cfg)
    read: dict[CorpusSpec, Corpus] = {}
    out: Corpora = {}
    for side in SIDES:
        out[side] = {}
        for topic, corpus in getattr(spec, side).items():
            if corpus not in read:
                read[corpus] = read_corpus(corpus, corpus_key(side, topic))
            out[side][topic] = read[corpus]
    return out


def load_data(
    cfg: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    corpora: Corpora | None = None,
    sides: Collection[str] = SIDES,
) -> ForgetRetain:
    """Read (unless `corpora` was read before) and tokenise; `sides` may name some of `INSTEAD` too.

    Raises:
        UserError: see `read_data`; nothing is left after tokenisation; alternates are wanted and there are none; an
            end token is wanted and the tokenizer has none.
    """
    spec = DataSpec.from_config(cfg)
    if spec.append_eos and tokenizer.eos_token_id is None:
        raise UserError("data.append_eos=true: the tokenizer has no end token; set it to false")
    corpora = corpora or read_data(cfg)
    rows: dict[str, dict[str, Sequence[Row]]] = {side: {} for side in SIDES}
    counts: dict[str, Counts] = {}
    for side in SIDES:
        for topic, corpus in corpora[side].items():
            one, key = getattr(spec, side)[topic], corpus_key(side, topic)
            length = one.max_length or spec.max_length
            encoder = Encoder(tokenizer, length, key, one.long, _ends(corpus, spec))
            late = corpus.large and one.long == "cut" and (side == "retain" or not set(INSTEAD) & set(sides))
            found = LazyRows(encoder, corpus) if late else encoder.all(corpus)
            rows[side][topic] = found
            lost = replace(encoder.lost)  # as it is now: rows drawn later count no more
            counts[key] = Counts(key, one, length, corpus.read, lost, len(found), late=late)
            if side == "retain":
                counts[key].shared = shared(corpora["forget"][topic], corpus)
    for side in [side for side in INSTEAD if side in sides]:
        rows[side] = {}
        for topic, corpus in corpora["forget"].items():
            key = corpus_key("forget", topic)
            _check_whole(spec.forget[topic], key)
            versions = [
                Encoder(tokenizer, counts[key].max_length, key, end=_ends(corpus, spec)).all(v)
                for v in said_instead(corpus, side)
            ]
            whole = rows["forget"][topic]
            rows["forget"][topic], rows[side][topic] = _paired(whole, versions)
            counts[key].unpaired += len(whole) - len(rows["forget"][topic])
    assert tokenizer.pad_token_id is not None
    record = {key: count.record() for key, count in counts.items()}
    return ForgetRetain(
        rows, tokenizer.pad_token_id, spec.padding_side, spec.shuffle, seed, _digest(spec, corpora), record
    )


def _ends(corpus: Corpus, spec: DataSpec) -> bool:
    """An answer ends where its text does; any other text may go on after it."""
    return corpus.prompts is not None if spec.append_eos is None else spec.append_eos


def corpus_key(side: str, topic: str) -> str:
    """The config key of a corpus."""
    return f"data.{side}" if topic == "all" else f"data.{side}.{topic}"


def _digest(spec: DataSpec, corpora: Corpora) -> str:
    """A short hash of all texts, and of what else makes rows of them where that is not as it always was."""
    told = hashlib.sha256()
    for opening, side in zip(("[[", ", ["), corpora.values(), strict=True):
        told.update(opening.encode())
        for place, corpus in enumerate(side.values()):
            told.update(b", " if place else b"")
            for part in corpus.content():
                told.update(part.encode())
        told.update(b"]")
    told.update(b"]")
    split = [
        corpus_key(s, key) for s in SIDES for key, one in getattr(spec, s).items() if one.long == "split"
    ]
    if split:
        told.update(f"split {split}".encode())
    return told.hexdigest()[:16]


def _check_whole(spec: CorpusSpec, key: str) -> None:
    if spec.long == "split":
        raise UserError(
            f"{key}.long=split: this objective puts something in the place of each text, so texts stay whole; "
            f"use {key}.long=cut"
        )


def said_instead(corpus: Corpus, side: str) -> list[Corpus]:
    """The forget corpus with its texts replaced: by each of its alternates, or by refusals that take turns.

    Raises:
        UserError: alternates are wanted, and the corpus has none.
    """
    if side == "refusal":
        refusals = [REFUSALS[i % len(REFUSALS)] for i in range(len(corpus.texts))]
        return [Corpus(refusals, corpus.prompts, turns=corpus.turns)]
    if corpus.alternates is None:
        raise UserError(
            "data.forget.alternate_field=null: this objective needs what should be said instead, as a field of each row"
        )
    count = min(len(texts) for texts in corpus.alternates)
    texts = [[several[k] for several in corpus.alternates] for k in range(count)]
    return [Corpus(each, corpus.prompts, turns=corpus.turns) for each in texts]


def _paired(forget: Sequence[Row], versions: list[list[Row]]) -> tuple[list[Row], list[Row]]:
    """Forget rows that every version has a partner of; and the partners, one version after the other."""
    by_index = [{row.index: row for row in rows} for rows in versions]
    kept = [row for row in forget if all(row.index in version for version in by_index)]
    # an index names a row for good, so versions must not share any
    apart = 1 + max(row.index for row in forget)
    return kept, [
        replace(version[row.index], index=row.index + number * apart)
        for number, version in enumerate(by_index)
        for row in kept
    ]


@dataclass(frozen=True)
class ForgetRetain:
    """Tokenised corpora. Topics take turns, one a step, as in the RMU authors' code."""

    rows: Mapping[str, Mapping[str, Sequence[Row]]]  # side → topic → rows
    pad_id: int
    padding_side: str
    shuffle: bool
    seed: int
    digest: str
    record: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # corpus → what was left out and cut

    @property
    def topics(self) -> list[str]:
        """Names of the forget topics, in the order in which they take turns."""
        return list(self.rows["forget"])

    def fingerprint(self) -> str:
        """A short hash of all texts and of what decides their order."""
        return hashlib.sha256(
            f"{self.digest}/{self.seed}/{self.shuffle}/{self.padding_side}".encode()
        ).hexdigest()[:16]

    def micro_batches(
        self, step: int, global_batch: int, micro_batch: int, rank: int = 0, world: int = 1
    ) -> list[dict[str, Batch]]:
        """This process's contiguous share of global batch `step`, cut into micro-batches.

        Raises:
            UserError: `global_batch` is not a multiple of micro_batch × world.
        """
        check_batch(global_batch, micro_batch, world)
        share = global_batch // world
        chosen = {side: self._global_rows(side, step, global_batch) for side in self.rows}
        starts = range(rank * share, (rank + 1) * share, micro_batch)
        return [
            {side: self._cut(rows, a, a + micro_batch, step, side) for side, rows in chosen.items()}
            for a in starts
        ]

    def _global_rows(self, side: str, step: int, global_batch: int) -> list[Row]:
        topics = self.topics
        turn, topic = step // len(topics), topics[step % len(topics)]
        rows, start = self.rows[side][topic], turn * global_batch
        if side in INSTEAD:  # each pass over the forget rows takes the next version
            count = len(self.rows["forget"][topic])
            order = indices(count, self.seed, f"forget/{topic}", start, global_batch, self.shuffle)
            return [rows[(i + (start + p) // count * count) % len(rows)] for p, i in enumerate(order)]
        order = indices(len(rows), self.seed, f"{side}/{topic}", start, global_batch, self.shuffle)
        return [rows[i] for i in order]

    def _cut(self, rows: list[Row], a: int, b: int, step: int, side: str) -> Batch:
        topic = step % len(self.topics)
        return collate(
            rows[a:b],
            self.pad_id,
            self.padding_side,
            tokens=sum(len(r.ids) - r.prompt for r in rows),
            predictions=sum(r.predictions for r in rows),
            sequences=len(rows),
            topic=topic,
            corpus=f"{side}/{self.topics[topic]}",
        )


def check_batch(global_batch: int, micro_batch: int, world: int) -> None:
    """Refuse a global batch that cannot be split evenly.

    Raises:
        UserError: with the nearest sizes that can.
    """
    unit = micro_batch * world
    if global_batch % unit:
        below, above = global_batch // unit * unit, (global_batch // unit + 1) * unit
        near = f"{below} or {above}" if below else str(above)
        raise UserError(
            f"trainer.global_batch={global_batch}: not a multiple of micro_batch {micro_batch} × {world} "
            f"processes; nearest: {near}"
        )
