"""Define what every attack is: an object that tries variants, each of which is then scored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from unlearnctl.data.batch import Batch
from unlearnctl.data.corpus import Corpus, read_corpus
from unlearnctl.data.encode import encode
from unlearnctl.data.rows import Row, collate
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.results.metric import Metric

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Scores = Mapping[str, Mapping[str, Metric]]


@dataclass(frozen=True)
class Variant:
    """One thing that an attack tried; the model stays attacked until the next variant is asked for."""

    label: str
    settings: Mapping[str, Any]
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # settings of suites that differ
    scores: Scores | None = None  # measured by the attack; None: the suites measure it
    base: Scores | None = None  # the same for the untouched model, if the attack measures scores


@dataclass(frozen=True)
class Target:
    """The unlearned model, and what is needed to restore the untouched one."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    blocks: str  # path of the block list
    seed: int = 0
    base: Mapping[str, Tensor] | None = None  # the untouched model's tensors that differ; None: unknown

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Load the base model's weights while the context lasts.

        Raises:
            AssertionError: the base is unknown.
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

    asks: tuple[str, ...]  # settings that a suite needs for the variants to have an effect

    def validate(self, tokenizer: PreTrainedTokenizerBase, blocks: int) -> None:
        """Read and check the attack's files before weights load.

        Args:
            tokenizer: of the model.
            blocks: how many the model has.

        Raises:
            UserError: something is wrong with a setting or a file.
        """
        ...

    def variants(self, target: Target) -> Iterator[Variant]:
        """Yield one variant after another; at the end the weights are those of `target` again."""
        ...


@runtime_checkable
class AltersSuites(Protocol):
    """What an attack has too if its variants change settings of the suites in ways that some tasks do not allow."""

    def alterations(self) -> list[dict[str, Any]]:
        """List the settings of each variant."""
        ...


@contextmanager
def kept(model: PreTrainedModel, names: Collection[str]) -> Iterator[None]:
    """Restore these parameters afterwards, and leave no gradient and nothing that requires one."""
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
    """An attack's corpus, read and tokenised."""

    corpus: Corpus
    rows: list[Row]
    name: str

    @classmethod
    def read(cls, cfg: Any, key: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Texts:
        """Read a corpus mapping as in `conf/data/`.

        Raises:
            UserError: see `CorpusSpec.from_config` and `readers.read_corpus`.
        """
        spec = CorpusSpec.from_config(cfg, key, splits=False)
        corpus = read_corpus(spec, key)
        return cls(corpus, encode(corpus, tokenizer, spec.max_length or max_length, key), key)

    def batch(self, rows: list[Row], pad_id: int, device: torch.device) -> Batch:
        """Collate rows into one padded batch."""
        counts = {
            "tokens": sum(len(r.ids) - r.prompt for r in rows),
            "predictions": sum(r.predictions for r in rows),
            "sequences": len(rows),
            "topic": 0,
        }
        return collate(rows, pad_id, "right", corpus=self.name, **counts).to(device)
