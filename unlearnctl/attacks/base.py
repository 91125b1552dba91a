"""What every attack is: an object that tries variants, each of which is then scored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from unlearnctl.data.batch import Batch
from unlearnctl.data.corpus import Corpus, read_corpus
from unlearnctl.data.encode import Row, collate, encode
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.results.metric import Metric
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Scores = Mapping[str, Mapping[str, Metric]]


@dataclass(frozen=True)
class Variant:
    """One thing that an attack tried. The model is attacked while it is handed out, and is not afterwards."""

    label: str
    settings: Mapping[str, Any]
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # settings of suites that differ
    scores: Scores | None = None  # measured by the attack itself; None: by the suites
    base: Scores | None = None  # the same of the untouched model, where the attack measures itself


@dataclass(frozen=True)
class Target:
    """The unlearned model, and what gives the untouched one back."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    blocks: str  # path of the block list
    seed: int = 0
    base: Mapping[str, Tensor] | None = (
        None  # the untouched model's tensors where it differs; None: not known
    )

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """The base model's weights, for as long as this lasts.

        Raises:
            AssertionError: the base is not known.
        """
        assert self.base is not None
        with kept(self.model, self.base):
            parameters = dict(self.model.named_parameters(remove_duplicate=False))
            with torch.no_grad():
                for name, value in self.base.items():
                    parameters[name].copy_(value)
            yield


class Attack(Protocol):
    """One entry of `conf/attack/`."""

    asks: tuple[str, ...]  # settings that a suite must have, for its variants to mean anything

    def validate(self, tokenizer: PreTrainedTokenizerBase, blocks: int) -> None:
        """Read and check all that the attack reads, before weights load; the model has so many `blocks`.

        Raises:
            UserError: in one line with the config key.
        """
        ...

    def variants(self, target: Target) -> Iterator[Variant]:
        """Try one thing after the other; the weights are those of `target` again at the end."""
        ...


@contextmanager
def kept(model: PreTrainedModel, names: Collection[str]) -> Iterator[None]:
    """These parameters are what they were afterwards, and nothing requires grad or holds one."""
    parameters = {n: p for n, p in model.named_parameters(remove_duplicate=False) if n in names}
    held = {name: p.detach().clone() for name, p in parameters.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(held[name])
        model.requires_grad_(False)
        model.zero_grad(set_to_none=True)


@dataclass(frozen=True)
class Texts:
    """A corpus of an attack, read and tokenised."""

    corpus: Corpus
    rows: list[Row]
    name: str

    @classmethod
    def read(cls, cfg: Any, key: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Texts:
        """From a corpus mapping as in `conf/data/`.

        Raises:
            UserError: see `CorpusSpec.from_config` and `readers.read_corpus`.
        """
        if not isinstance(cfg, Mapping):
            raise UserError(f"{key}={cfg}: must be a corpus: a mapping with a path, as in conf/data/")
        spec = CorpusSpec.from_config(cfg, key, splits=False)
        corpus = read_corpus(spec, key)
        return cls(corpus, encode(corpus, tokenizer, spec.max_length or max_length, key), key)

    def batch(self, rows: list[Row], pad_id: int, device: torch.device) -> Batch:
        """Rows as one padded batch."""
        counts = {
            "tokens": sum(len(r.ids) - r.prompt for r in rows), "predictions": sum(r.predictions for r in rows),
            "sequences": len(rows), "topic": 0,
        }  # fmt: skip
        return collate(rows, pad_id, "right", corpus=self.name, **counts).to(device)


def require(key: str, value: object, kind: type | tuple[type, ...], least: float, what: str) -> None:
    """Refuse a number of the wrong kind or below `least`.

    Raises:
        UserError: `key=value: must be what`.
    """
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:  # type: ignore[operator]
        raise UserError(f"{key}={'null' if value is None else value}: must be {what}")


def require_list(key: str, values: object, kind: type | tuple[type, ...], least: float, what: str) -> None:
    """Refuse anything but a list, not empty, of such numbers.

    Raises:
        UserError: `key=value: must be what`.
    """
    if not isinstance(values, list) or not values:
        raise UserError(f"{key}={values}: must be a list, not empty; each {what}")
    for value in values:
        require(key, value, kind, least, what)
