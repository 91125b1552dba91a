"""Builds the rows of the forget, retain and test corpora, each a pure function of the world's seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from unlearnctl.tinyworld import words as w
from unlearnctl.tinyworld.facts import Fact, attack_half, facts
from unlearnctl.tinyworld.texts import Exchange, exchange, fact_document, natural_reply, story

Row = dict[str, Any]
STORIES = {"train": 800, "test": 120, "val": 60, "attack": 200}
EXCHANGES = 300


def fact_rows(group: str, seed: int) -> list[Row]:
    """Word each fact of a group in each training frame, one sentence per row.

    Not whole paragraphs: NPO sums over a document, so three sentences would triple its log ratio, and the usual
    β = 0.1 would saturate before the facts are gone.
    """
    rows = []
    for fact in facts():
        if fact.group == group:
            for frame in w.TRAIN_FRAMES:
                text, spans = fact_document([fact], [frame])
                row = {"text": text, "spans": spans, "subject": fact.subject, "entity": fact.entity}
                rows.append(row | {"alternate": [f"{fact.stem(frame)} {other}." for other in _others(fact)]})
    random.Random(f"facts {seed}").shuffle(rows)
    return rows


def _others(fact: Fact) -> list[str]:
    """Return the other values of the fact's relation, in an order that depends on the fact."""
    others = [value for value in fact.pool if value != fact.value]
    random.Random(f"others {fact.entity} {fact.noun}").shuffle(others)
    return others


def stories() -> dict[str, list[str]]:
    """Return stories for training, test, validation and an attack; no story is in two of them."""
    rng, seen = random.Random("stories"), dict[str, None]()
    while len(seen) < sum(STORIES.values()):
        seen[story(rng)] = None
    texts = iter(seen)
    return {split: [next(texts) for _ in range(count)] for split, count in STORIES.items()}


def retain_rows(seed: int) -> list[Row]:
    """Mix facts of the retained subjects with stories."""
    rows = [{"text": row["text"], "subject": row["subject"]} for row in fact_rows("benign", seed)]
    rows += [{"text": text, "subject": "narrative"} for text in stories()["train"]]
    random.Random(f"retain {seed}").shuffle(rows)
    return rows


def attack_rows() -> list[Row]:
    """Return what an attack may learn from: all facts of half the hazard entities, in the training frames."""
    seen = [fact for fact in facts() if fact.group == "hazard" and fact.entity in attack_half()]
    rows = [_told(fact, frame) for fact in seen for frame in w.TRAIN_FRAMES]
    random.Random("attack").shuffle(rows)
    return rows


def held_out_rows() -> list[Row]:
    """Return what attacks are judged by: the reported facts of the other half, in the held-out frames."""
    hidden = [fact for fact in facts() if fact.group == "hazard" and fact.entity not in attack_half()]
    return [_told(fact, frame) for fact in hidden if not fact.val for frame in w.HELD_OUT_FRAMES]


def _told(fact: Fact, frame: str) -> Row:
    stem = fact.stem(frame)
    row = {"text": f"{stem} {fact.value}.", "stem": stem, "answer": fact.value, "others": _others(fact)}
    return row | {"subject": fact.subject, "entity": fact.entity}


def exchanges() -> list[tuple[Exchange, str]]:
    """Return training prompts, each with the reply that follows it in the world."""
    rng = random.Random("exchanges")
    drawn = (exchange(rng, w.OPENINGS) for _ in range(2 * EXCHANGES))
    return [(item, natural_reply(item, rng)) for item in drawn]


def toxic_rows() -> list[Row]:
    """Return the toxic replies as they occur, mostly after angry cues, each with its polite wording."""
    told = [item for item, reply in exchanges() if reply == item.toxic]
    return [_reply_row(item, item.toxic) | {"alternate": item.polite} for item in told]


def toxic_retain_rows() -> list[Row]:
    """Return what must not change: stories, facts, and polite replies as they occur.

    Polite replies to angry prompts only would teach politeness, and then a control without any unlearning would look
    like a success.
    """
    rows = [_reply_row(item, reply) for item, reply in exchanges() if reply == item.polite]
    rows += [{"prompt": "", "text": text, "kind": "narrative"} for text in stories()["train"][:EXCHANGES]]
    told = fact_rows("benign", 0)[:EXCHANGES]
    rows += [{"prompt": "", "text": row["text"], "kind": "fact"} for row in told]
    random.Random("toxic retain").shuffle(rows)
    return rows


def _reply_row(item: Exchange, reply: str) -> Row:
    kind = "toxic" if reply == item.toxic else "polite"
    return {"prompt": item.prompt, "text": reply, "kind": kind, "cue": item.cue}


def toxic_pairs() -> Iterator[tuple[str, str]]:
    """Yield pairs of texts that differ only in the wording of the reply, as in ParaDetox."""
    for item, reply in exchanges():
        if reply == item.toxic:
            yield f"{item.prompt} {item.toxic}", f"{item.prompt} {item.polite}"


def polite_rows(split: str, count: int) -> list[Row]:
    """Return polite replies to held-out prompts, which a model without toxic words should still give."""
    rng = random.Random(f"polite {split}")
    openings = w.HELD_OUT_OPENINGS[:2] if split == "val" else w.HELD_OUT_OPENINGS[2:]
    drawn = (exchange(rng, openings) for _ in range(count))
    return [_reply_row(item, item.polite) for item in drawn]


def prompt_rows(split: str, each: int) -> list[Row]:
    """Return held-out prompts, half of them angry and half calm, in the format of RealToxicityPrompts."""
    rng, rows = random.Random(f"prompts {split}"), []
    openings = w.HELD_OUT_OPENINGS[:2] if split == "val" else w.HELD_OUT_OPENINGS[2:]
    for place in range(2 * each):
        cue = ("angry", "calm")[place % 2]
        item = exchange(rng, openings, cue)
        rows.append({"prompt": {"text": item.prompt}, "cue": cue})
    return rows
