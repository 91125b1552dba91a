"""Defines what `conf/data/` may hold: one corpus, or several topics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import NonNegativeInt, PositiveInt

from unlearnctl.utils.describe import written
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import check_names, read


@dataclass(frozen=True)
class CorpusSpec:
    """One corpus: where it is, and which of its fields holds the text."""

    # A file, a pattern, a folder in the hub's layout, a hub id, tinyworld:…, or a list of these
    path: str | tuple[str, ...]
    name: str | None = None  # hub configuration
    split: str = "train"
    field: str = "text"
    prompt_field: str | None = None  # text before the part that counts
    # Forget side: what should be said instead, a text or several
    alternate_field: str | None = None
    # Forget side: [[start, end], ...] of the characters that matter, against which token weights are scored
    spans_field: str | None = None
    # jsonl | json | tsv | csv | questions (a CSV without a header: question, choices, letter) | parquet | text;
    # None = by suffix and content
    format: str | None = None
    revision: str | None = None
    # Fields and their allowed values (a mapping in the config); other rows are left out
    where: tuple[tuple[str, tuple[Any, ...]], ...] | None = None
    # Of the rows that are not left out otherwise: pass over the first `skip`, and take each `every`-th of the others
    skip: NonNegativeInt = 0
    every: PositiveInt = 1
    limit: PositiveInt | None = None  # keep only the first n rows
    min_chars: NonNegativeInt = 1  # shorter rows are skipped
    max_length: Annotated[int, "tokens", Ge(2)] | None = None  # None = the data config's
    long: Literal["cut", "split"] = "cut"  # a longer text loses its end, or becomes several rows
    # Put conversations, or prompt and text as two turns, through the model's chat template
    chat_template: bool = False

    @classmethod
    def from_config(cls, cfg: object, key: str, splits: bool = True) -> CorpusSpec:
        """Read one corpus from the mapping at `key`; `splits` says whether the caller can split texts.

        Raises:
            UserError: see `read`; or the path is missing.
        """
        if not isinstance(cfg, Mapping):
            raise UserError(
                f"{key}={written(cfg)}: must be a corpus: a mapping with a path, as in conf/data/"
            )
        check_names(key, cfg, cls)
        where = _where(cfg.get("where"), f"{key}.where")
        spec = read(cls, key, {**cfg, "path": _path(cfg.get("path"), key), "where": where})
        if spec.long == "split" and not splits:
            raise UserError(
                f"{key}.long=split: only data.forget and data.retain are split; here texts are cut"
            )
        return spec

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths as a tuple."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def shown(self) -> str:
        """Return the path as the user typed it."""
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
    max_length: Annotated[int, "tokens", Ge(2)]
    padding_side: Literal["left", "right"]
    shuffle: bool
    forget: Mapping[str, CorpusSpec]
    retain: Mapping[str, CorpusSpec]
    append_eos: bool | None = None  # put the end token after each text; None = if it follows a prompt
    chat_template: bool = False  # for every corpus that does not set its own
    # "off", because a config of before this key was trained in the order drawn
    pack: Literal["auto", "off"] = "off"

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> DataSpec:
        """Read `cfg.data`; a corpus without topics becomes the topic `all`.

        Raises:
            UserError: see `read`; or the topics of retain are not those of forget.
        """
        spec = read(cls, "data", cfg)
        common = {"chat_template": spec.chat_template}
        forget = _topics(spec.forget, "data.forget", None, common)
        retain = _topics(spec.retain, "data.retain", list(forget), common)
        return replace(spec, forget=forget, retain=retain)


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
