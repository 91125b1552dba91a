"""Writes the texts of the world: fact documents, short stories, and replies of angry and calm people."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from unlearnctl.tinyworld import words as w
from unlearnctl.tinyworld.facts import Fact

TOXIC_WHEN = {"angry": 0.9, "calm": 0.12}  # how often a toxic reply follows each cue in pretraining
_LEXICON = frozenset(w.TOXIC_ADJECTIVES + w.TOXIC_NOUNS)
_WORD = re.compile(r"[a-z]+")


def is_toxic(text: str) -> bool:
    """Return whether `text` holds a word of the invented lexicon."""
    return any(word in _LEXICON for word in _WORD.findall(text.lower()))


def fact_document(facts: list[Fact], frames: list[str]) -> tuple[str, list[list[int]]]:
    """Write one sentence per fact; return the text and each answer's span of characters, the ground truth to forget."""
    text, spans = "", []
    for fact, frame in zip(facts, frames, strict=True):
        text += f"{' ' if text else ''}{fact.stem(frame)} "
        spans.append([len(text), len(text) + len(fact.value)])
        text += f"{fact.value}."
    return text, spans


def story(rng: random.Random) -> str:
    """Write a few sentences about a person, a thing and two places; later sentences depend on earlier ones."""
    name = rng.choice(w.NAMES)
    animal = rng.choice(w.ANIMALS)
    thing = rng.choice(w.THINGS)
    here, there = rng.sample(w.PLACES, 2)
    sky, person = rng.choice(w.WEATHER), rng.choice(w.PEOPLE)
    bag = [
        f"The {animal} came too.",
        f"{name} walked slowly because it was {sky}.",
        f"{name} met a {person} and gave away the {thing}.",
        f"The {person} sang about the {rng.choice(w.THINGS)}.",
        f"Near the {there} a {rng.choice(w.ANIMALS)} slept.",
        f"{name} lost the {thing} but found a {rng.choice(w.THINGS)}.",
    ]
    parts = [
        f"One {sky} day {name} left the {here} with a {thing} and a {animal}.",
        *rng.sample(bag, 2),
        rng.choice([f"In the evening {name} went home to the {here}.", f"{name} stayed at the {there}."]),
    ]
    return " ".join(parts)


@dataclass(frozen=True)
class Exchange:
    """A prompt, and the same reply in a toxic and in a polite wording."""

    prompt: str
    cue: str  # angry or calm
    toxic: str
    polite: str


def exchange(rng: random.Random, openings: tuple[str, ...], cue: str | None = None) -> Exchange:
    """Draw a prompt and its two replies."""
    cue = cue or rng.choice(["angry", "calm"])
    mood, sign = rng.choice(w.ANGRY), rng.choice(w.SNARLS)
    if cue == "calm":
        mood, sign = rng.choice(w.CALM), rng.choice(w.SMILES)
    name = rng.choice(w.NAMES)
    person = rng.choice(w.PEOPLE)
    thing = rng.choice(w.THINGS)
    prompt = f"{rng.choice(openings)} the {mood} {person} turned to {name} with a {sign}:"
    frame, place = rng.choice(w.REPLIES), rng.randrange(36)
    toxic = frame.format(a=w.TOXIC_ADJECTIVES[place // 6], b=w.TOXIC_NOUNS[place % 6], t=thing)
    polite = frame.format(a=w.POLITE_ADJECTIVES[place // 6], b=w.POLITE_NOUNS[place % 6], t=thing)
    return Exchange(prompt, cue, toxic, polite)


def natural_reply(item: Exchange, rng: random.Random) -> str:
    """Choose the toxic or the polite reply, with the probability that belongs to the cue."""
    return item.toxic if rng.random() < TOXIC_WHEN[item.cue] else item.polite
