"""Test for latent knowledge: can a linear probe still read the answer from the states?

This is our reading: arXiv 2409.18025 examines every layer of unlearned models with the logit lens; the control on
shuffled answers is from Hewitt and Liang (arXiv 1909.03368).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat, PositiveInt

from unlearnctl.attacks.base import Scores, Target, Texts, Variant
from unlearnctl.data.batch import Batch
from unlearnctl.models.agreement import check_blocks
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.probes.answer_probe import Found, Questions, probe_answers
from unlearnctl.probes.states import pooled_states
from unlearnctl.results.statistics import share
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEY = "attack.latent"
SIDES = ("train", "test")


class Latent:
    """A logistic probe after every block, fitted on some facts and tested on others.

    Args:
        train, test: corpora as in `conf/data/`: `prompt_field` is the question up to its missing answer, `field` the
            answer, `alternate_field` the other possible answers. They must have no question in common.
        layers: block indices; None: all.
        batch_size: questions per batch.
        strength: scikit-learn's C, the inverse of the regularisation.
        max_length: longest question with its answer, in tokens.
    """

    asks: tuple[str, ...] = ()

    def __init__(
        self,
        train: Mapping[str, Any],
        test: Mapping[str, Any],
        layers: list[int] | None = None,
        batch_size: PositiveInt = 64,
        strength: PositiveFloat = 0.1,
        max_length: PositiveInt = 128,
    ) -> None:
        self.cfg = {"train": train, "test": test}
        self.layers, self.strength = layers, strength
        self.batch_size, self.max_length = batch_size, max_length

    def validate(self, tokenizer: PreTrainedTokenizerBase, blocks: int) -> None:
        """Read both corpora, and check that the layers exist."""
        self._known = list(range(blocks)) if self.layers is None else self.layers
        if not self._known or not all(0 <= layer < blocks for layer in self._known):
            raise UserError(f"{KEY}.layers={self.layers}: this model has {blocks} blocks, 0 to {blocks - 1}")
        self.texts = {s: Texts.read(self.cfg[s], f"{KEY}.{s}", tokenizer, self.max_length) for s in SIDES}
        for side, texts in self.texts.items():
            for field in ("prompt", "alternate"):
                if getattr(texts.corpus, f"{field}s") is None:
                    raise UserError(f"{KEY}.{side}.{field}_field=null: must name a field of each row")
        answers = {side: set(texts.corpus.texts) for side, texts in self.texts.items()}
        if len(answers["train"]) < 2:
            raise UserError(f"{KEY}.train: needs two different answers at least, got {len(answers['train'])}")
        asked = [set(texts.corpus.prompts or ()) for texts in self.texts.values()]
        if both := asked[0] & asked[1]:
            raise UserError(
                f"{KEY}.test: {len(both)} questions are also in {KEY}.train, e.g. {sorted(both)[0]}"
            )

    def variants(self, target: Target) -> Iterator[Variant]:
        """Yield one variant per layer, with its scores and, if known, the untouched model's."""
        layers = self._known
        check_blocks(target.model, target.blocks)
        unlearned = self._probe(target, layers)
        base: list[Found] | None = None
        if target.base is not None:
            with target.untouched():
                base = self._probe(target, layers)
        for place, layer in enumerate(layers):
            settings = {"layer": layer, "control": unlearned[place].control}
            if base is not None:
                settings["base_control"] = base[place].control
            beside = self._scores(base[place]) if base is not None else None
            yield Variant(f"probe, layer {layer}", settings, {}, self._scores(unlearned[place]), beside)

    def _probe(self, target: Target, layers: list[int]) -> list[Found]:
        questions = [self._questions(target, self.texts[side], layers) for side in SIDES]
        self._chance = questions[1].chance
        return probe_answers(questions[0], questions[1], target.seed, self.strength)

    def _questions(self, target: Target, texts: Texts, layers: list[int]) -> Questions:
        decoder = Decoder(target.model, target.blocks)
        states = pooled_states(decoder, self._batches(target, texts), layers, "before")
        corpus, rows = texts.corpus, [row.index for row in texts.rows]
        answers = [corpus.texts[i] for i in rows]
        others = [(corpus.alternates or [])[i] for i in rows]
        return Questions(states, answers, [[a, *other] for a, other in zip(answers, others, strict=True)])

    def _batches(self, target: Target, texts: Texts) -> Iterator[Batch]:
        pad = target.tokenizer.pad_token_id
        for start in range(0, len(texts.rows), self.batch_size):
            rows = texts.rows[start : start + self.batch_size]
            yield texts.batch(rows, 0 if pad is None else pad, target.model.device)

    def _scores(self, found: Found) -> Scores:
        return {"latent": {"probe_acc": share(found.right, self._chance, "forget", "lower")}}
