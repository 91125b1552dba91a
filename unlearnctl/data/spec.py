"""What `conf/data/` may hold: one corpus, or several topics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from unlearnctl.utils.errors import UserError, unknown, unknown_key

LONG = ("cut", "split")


@dataclass(frozen=True)
class CorpusSpec:
    """One corpus: where it lies and which field holds the text."""

    path: (
        str | tuple[str, ...]
    )  # file, pattern, folder in hub layout, hub id, tinyworld:…, or several of them
    name: str | None = None  # hub configuration
    split: str = "train"
    field: str = "text"
    prompt_field: str | None = None  # text before the part that counts
    alternate_field: str | None = None  # forget side: what should be said instead, a text or several
    spans_field: str | None = (
        None  # forget side: [[start, end], ...] of what matters, to score token weights by
    )
    format: str | None = None  # jsonl | json | tsv | csv | parquet | text; None = by suffix
    revision: str | None = None
    where: tuple[tuple[str, tuple[Any, ...]], ...] | None = (
        None  # field -> the values of which a row must have one; others are left out. A mapping in the config
    )
    limit: int | None = None  # first n rows that are kept
    min_chars: int = 1  # shorter rows are skipped
    max_length: int | None = None  # tokens; None = the data config's
    long: str = "cut"  # what becomes of a longer text: cut (the rest is lost) or split (into pieces)
    chat_template: bool = (
        False  # conversations, or prompt and text as two turns, through the model's template
    )

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any], key: str, splits: bool = True) -> CorpusSpec:
        """Take one corpus mapping; `splits` is False for who reads each text as one.

        Raises:
            UserError: an unknown key, a path that is missing.
        """
        known = {f.name for f in fields(cls)}
        for name in cfg:
            if name not in known:
                raise unknown_key(key, name, known)
        path = _path(cfg.get("path"), key)
        if cfg.get("long", "cut") not in LONG:
            raise unknown(f"{key}.long", cfg["long"], LONG)
        if cfg.get("long") == "split" and not splits:
            raise UserError(
                f"{key}.long=split: only data.forget and data.retain are split; here texts are cut"
            )
        return cls(**{**cfg, "path": path, "where": _where(cfg.get("where"), f"{key}.where")})

    @property
    def paths(self) -> tuple[str, ...]:
        """Each of the paths."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def shown(self) -> str:
        """The path as it was typed."""
        return self.path if isinstance(self.path, str) else f"[{', '.join(self.path)}]"


def _path(value: Any, key: str) -> str | tuple[str, ...]:
    if not value or (isinstance(value, list) and not all(value)):
        raise UserError(f"{key}.path=: required; a file, a folder or a hub dataset id")
    return tuple(map(str, value)) if isinstance(value, list) else str(value)


def _where(cfg: Any, key: str) -> tuple[tuple[str, tuple[Any, ...]], ...] | None:
    if cfg is None:
        return None
    if not isinstance(cfg, Mapping) or not all(isinstance(v, list) and v for v in cfg.values()):
        raise UserError(
            f"{key}={cfg}: must be null, or lists of allowed values by field, e.g. {{subject: [bird]}}"
        )
    return tuple((str(name), tuple(values)) for name, values in cfg.items())


@dataclass(frozen=True)
class DataSpec:
    """`cfg.data`: topics, each with a forget and a retain corpus."""

    name: str
    max_length: int
    padding_side: str
    shuffle: bool
    forget: Mapping[str, CorpusSpec]
    retain: Mapping[str, CorpusSpec]
    append_eos: bool | None = None  # close each text with the end token; None = where it follows a prompt
    chat_template: bool = False  # of every corpus that does not say otherwise

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> DataSpec:
        """Take `cfg.data`; a corpus without topics is the topic `all`.

        Raises:
            UserError: an unknown key, topics of retain that are not those of forget, a value out of range.
        """
        known = {f.name for f in fields(cls)}
        for name in cfg:
            if name not in known:
                raise unknown_key("data", name, known)
        if cfg["padding_side"] not in ("left", "right"):
            raise unknown("data.padding_side", cfg["padding_side"], ("left", "right"))
        if not isinstance(cfg["max_length"], int) or cfg["max_length"] < 2:
            raise UserError(
                f"data.max_length={cfg['max_length']}: must be a whole number of tokens, 2 or more"
            )
        common = {"chat_template": cfg.get("chat_template", False)}
        forget = _topics(cfg["forget"], "data.forget", None, common)
        retain = _topics(cfg["retain"], "data.retain", list(forget), common)
        return cls(**{**cfg, "forget": forget, "retain": retain})


def _topics(
    cfg: Mapping[str, Any], key: str, topics: list[str] | None, common: Mapping[str, Any]
) -> dict[str, CorpusSpec]:
    if "path" in cfg:
        corpus = CorpusSpec.from_config({**common, **cfg}, key)
        return dict.fromkeys(topics or ["all"], corpus)
    if not cfg or not all(isinstance(value, Mapping) for value in cfg.values()):
        raise UserError(f"{key}: needs a path, or topics that each have one")
    if topics is not None and list(cfg) != topics:
        raise UserError(f"{key}: its topics {list(cfg)} are not those of data.forget, {topics}")
    return {name: CorpusSpec.from_config({**common, **own}, f"{key}.{name}") for name, own in cfg.items()}
