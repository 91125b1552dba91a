"""The forget and the retain side: reads and tokenises them, and cuts global batches for any number of processes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from unlearnctl.data.batch import Batch
from unlearnctl.data.corpus import Corpus, read_corpus
from unlearnctl.data.counts import Counts, shared
from unlearnctl.data.encode import Encoder
from unlearnctl.data.lazy_rows import LazyRows
from unlearnctl.data.partners import INSTEAD, check_whole, paired, said_instead
from unlearnctl.data.rows import Row, collate
from unlearnctl.data.sampler import indices
from unlearnctl.data.spec import CorpusSpec, DataSpec
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SIDES = ("forget", "retain")
Corpora = dict[str, dict[str, Corpus]]


def read_data(cfg: Mapping[str, Any]) -> Corpora:
    """Read every corpus of `cfg.data`: side → topic → texts. Needs no tokenizer.

    Raises:
        UserError: see `readers.read_corpus`.
    """
    spec = DataSpec.from_config(cfg)
    read: dict[CorpusSpec, Corpus] = {}
    out: Corpora = {}
    for side in SIDES:
        out[side] = {}
        for topic, corpus in getattr(spec, side).items():
            # Topics may share a corpus (retain topics often do), which is then read and held only once.
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
    """Tokenise `corpora`, or what `read_data` reads; `sides` may include some of `INSTEAD`.

    Raises:
        UserError: see `read_data`; nothing is left after tokenising; alternates are needed and there are none; an end
            token is needed and the tokenizer has none.
    """
    spec = DataSpec.from_config(cfg)
    if spec.append_eos and tokenizer.eos_token_id is None:
        raise UserError("data.append_eos=true: the tokenizer has no end token; set it to false")
    corpora = corpora or read_data(cfg)
    instead = [side for side in INSTEAD if side in sides]
    rows, counts = _tokenise(corpora, spec, tokenizer, paired=bool(instead))
    for side in instead:
        rows[side] = {}
        for topic, corpus in corpora["forget"].items():
            count = counts[corpus_key("forget", topic)]
            check_whole(count.spec, count.key)
            versions = [
                Encoder(tokenizer, count.max_length, count.key, end=_ends(corpus, spec)).all_rows(version)
                for version in said_instead(corpus, side)
            ]
            whole = rows["forget"][topic]
            rows["forget"][topic], rows[side][topic] = paired(whole, versions)
            count.unpaired += len(whole) - len(rows["forget"][topic])
    assert tokenizer.pad_token_id is not None
    record = {key: count.record() for key, count in counts.items()}
    return ForgetRetain(
        rows,
        tokenizer.pad_token_id,
        spec.padding_side,
        spec.shuffle,
        seed,
        _digest(spec, corpora),
        record,
        pack=spec.pack == "auto",
    )


def _tokenise(
    corpora: Corpora, spec: DataSpec, tokenizer: PreTrainedTokenizerBase, paired: bool
) -> tuple[dict[str, dict[str, Sequence[Row]]], dict[str, Counts]]:
    """Tokenise the forget and the retain side, each topic by itself; `paired`: forget rows will get partners."""
    rows: dict[str, dict[str, Sequence[Row]]] = {side: {} for side in SIDES}
    counts: dict[str, Counts] = {}
    for side in SIDES:
        for topic, corpus in corpora[side].items():
            own = getattr(spec, side)[topic]
            key = corpus_key(side, topic)
            length = own.max_length or spec.max_length
            encoder = Encoder(tokenizer, length, key, own.long, _ends(corpus, spec))
            # Splitting and pairing need to know every row before the first step.
            lazy = corpus.large and own.long == "cut" and not (paired and side == "forget")
            found = LazyRows(encoder, corpus) if lazy else encoder.all_rows(corpus)
            rows[side][topic] = found
            lost = replace(encoder.lost)  # a copy: rows that are drawn later must not be counted
            counts[key] = Counts(key, own, length, corpus.read, lost, len(found), lazy=lazy)
            if side == "retain":
                counts[key].shared = shared(corpora["forget"][topic], corpus)
    return rows, counts


def _ends(corpus: Corpus, spec: DataSpec) -> bool:
    """Return whether texts get an end token: by default those after a prompt, since an answer ends with its text."""
    return corpus.prompts is not None if spec.append_eos is None else spec.append_eos


def corpus_key(side: str, topic: str) -> str:
    """Return the config key of a corpus."""
    return f"data.{side}" if topic == "all" else f"data.{side}.{topic}"


def _digest(spec: DataSpec, corpora: Corpora) -> str:
    """Return a short hash of all texts, and of settings that change the rows made of them.

    It is the hash of a JSON document, built in parts. The layout is that of the first version, so that records and
    caches of older runs still match; `split` is added only where it is used.
    """
    digest = hashlib.sha256()
    for opening, side in zip(("[[", ", ["), corpora.values(), strict=True):
        digest.update(opening.encode())
        for place, corpus in enumerate(side.values()):
            digest.update(b", " if place else b"")
            for part in corpus.content():
                digest.update(part.encode())
        digest.update(b"]")
    digest.update(b"]")
    split = []
    for name in SIDES:
        split += [
            corpus_key(name, topic) for topic, own in getattr(spec, name).items() if own.long == "split"
        ]
    if split:
        digest.update(f"split {split}".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class ForgetRetain:
    """Tokenised corpora, and the global batches drawn from them.

    Topics take turns, one per step, as in the RMU authors' code. A step's global batch is the same for any number of
    processes and micro-batches; each process cuts its share out of it.
    """

    rows: Mapping[str, Mapping[str, Sequence[Row]]]  # side → topic → rows
    pad_id: int
    padding_side: str
    shuffle: bool
    seed: int
    digest: str
    record: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # corpus → its `Counts.record`
    pack: bool = False  # micro-batches hold rows of similar length

    @property
    def topics(self) -> list[str]:
        """Return the topics in the order in which they take turns."""
        return list(self.rows["forget"])

    def fingerprint(self) -> str:
        """Return a short hash of all texts and of what decides their order."""
        order = f"{self.digest}/{self.seed}/{self.shuffle}/{self.padding_side}"
        return hashlib.sha256(order.encode()).hexdigest()[:16]

    def micro_batches(
        self, step: int, global_batch: int, micro_batch: int, rank: int = 0, world: int = 1
    ) -> list[dict[str, Batch]]:
        """Return this process's contiguous share of global batch `step`, cut into micro-batches.

        Raises:
            UserError: `global_batch` is not a multiple of micro_batch × world.
        """
        check_batch(global_batch, micro_batch, world)
        share = global_batch // world
        # Every rank draws the whole global batch, because losses are divided by its counts.
        chosen = {side: self._global_rows(side, step, global_batch) for side in self.rows}
        mine = {side: rows[rank * share : (rank + 1) * share] for side, rows in chosen.items()}
        if self.pack and micro_batch < share:
            mine = longest_first(mine)
        return [
            {
                side: self._cut(mine[side][start : start + micro_batch], whole, step, side)
                for side, whole in chosen.items()
            }
            for start in range(0, share, micro_batch)
        ]

    def _global_rows(self, side: str, step: int, global_batch: int) -> list[Row]:
        topics = self.topics
        # A topic's position in its endless stream follows from the step, so checkpoints need not hold it.
        turn, place = divmod(step, len(topics))
        topic = topics[place]
        rows = self.rows[side][topic]
        start = turn * global_batch
        if side in INSTEAD:
            # Drawn in the forget side's order, so that partners meet; each pass over it takes the next version.
            count = len(self.rows["forget"][topic])
            order = indices(count, self.seed, f"forget/{topic}", start, global_batch, self.shuffle)
            passes = [(start + position) // count for position in range(global_batch)]
            return [rows[(i + n * count) % len(rows)] for i, n in zip(order, passes, strict=True)]
        order = indices(len(rows), self.seed, f"{side}/{topic}", start, global_batch, self.shuffle)
        return [rows[i] for i in order]

    def _cut(self, rows: list[Row], whole: list[Row], step: int, side: str) -> Batch:
        topic = step % len(self.topics)
        return collate(
            rows,
            self.pad_id,
            self.padding_side,
            tokens=sum(len(r.ids) - r.prompt for r in whole),
            predictions=sum(r.predictions for r in whole),
            sequences=len(whole),
            topic=topic,
            corpus=f"{side}/{self.topics[topic]}",
        )


def longest_first(rows: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Sort the rows of each side by length, so that neighbours need little padding; partners stay together.

    The longest come first: memory that does not suffice shows at once.
    """
    partners = [side for side in rows if side != "retain"]
    groups = [partners, [side for side in rows if side == "retain"]]
    ordered: dict[str, list[Row]] = {}
    for group in groups:
        lengths = [
            sum(len(row.ids) for row in together) for together in zip(*(rows[s] for s in group), strict=True)
        ]
        order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
        ordered |= {side: [rows[side][place] for place in order] for side in group}
    return ordered


def check_batch(global_batch: int, micro_batch: int, world: int) -> None:
    """Refuse a global batch that cannot be split evenly.

    Raises:
        UserError: names the nearest sizes that can.
    """
    unit = micro_batch * world
    if global_batch % unit:
        below, above = global_batch // unit * unit, (global_batch // unit + 1) * unit
        near = f"{below} or {above}" if below else str(above)
        raise UserError(
            f"trainer.global_batch={global_batch}: not a multiple of micro_batch {micro_batch} × {world} "
            f"processes; nearest: {near}"
        )
