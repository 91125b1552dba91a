"""Search for a prefix of tokens that makes the right answers likelier.

This follows greedy coordinate gradient (Zou et al., arXiv 2307.15043): the gradient proposes substitutions, and forward
passes decide which of them is best.

Axes: N facts, T positions, P prefix tokens, V vocabulary, D hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unlearnctl.attacks.base import Target, Texts
from unlearnctl.data.batch import IGNORE, Batch
from unlearnctl.ops.precision import full
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def search(
    target: Target, texts: Texts, length: int, rounds: int, candidates: int, top_k: int
) -> tuple[str, list[float]]:
    """Return the prefix as text, and its loss at the start and after each round.

    The text encodes to exactly the tokens found, because the suites are given text. The loss never rises: a
    substitution is kept only if the facts' NLL falls.

    Raises:
        UserError: no token of this tokenizer survives decoding and re-encoding.
    """
    model, tokenizer = target.model, target.tokenizer
    allowed = plain_ids(tokenizer).to(model.device)
    if not len(allowed):
        raise UserError(
            "attack.prefix.search: no token of this tokenizer encodes to itself; use fixed texts only"
        )
    generator = torch.Generator().manual_seed(target.seed)
    pad = tokenizer.pad_token_id
    facts = Facts.of(texts.batch(texts.rows, 0 if pad is None else pad, model.device), tokenizer.bos_token_id)
    prefix = _start(allowed, length, tokenizer, generator)
    losses = [float(facts.loss(model, prefix))]
    for _ in range(rounds):
        # The gradient is taken at the present prefix, so it ranks single substitutions, not combinations of them.
        promising = (-facts.gradient(model, prefix))[:, allowed].topk(min(top_k, len(allowed))).indices
        best, lowest = prefix, losses[-1]
        for _ in range(candidates):
            place = int(torch.randint(length, (), generator=generator))
            choice = int(torch.randint(promising.shape[1], (), generator=generator))
            changed = prefix.clone()
            changed[place] = allowed[promising[place, choice]]
            if not survives(changed, tokenizer):
                continue
            loss = float(facts.loss(model, changed))
            if loss < lowest:
                best, lowest = changed, loss
        prefix = best
        losses.append(lowest)
    return str(tokenizer.decode(prefix.tolist())), losses


@dataclass(frozen=True)
class Facts:
    """Questions with their right answers, and where a prefix goes: after bos if every text starts with it."""

    batch: Batch
    start: int

    @classmethod
    def of(cls, batch: Batch, bos: int | None) -> Facts:
        """Take right-padded rows."""
        return cls(batch, int(bos is not None and bool((batch.input_ids[:, 0] == bos).all())))

    @torch.no_grad()
    def loss(self, model: PreTrainedModel, prefix: Int[Tensor, " P"]) -> Float[Tensor, ""]:
        """Return the mean NLL of the answers' tokens after this prefix."""
        return self._loss(model, model.get_input_embeddings()(prefix))

    def gradient(self, model: PreTrainedModel, prefix: Int[Tensor, " P"]) -> Float[Tensor, "P V"]:
        """Return the gradient of the loss with respect to the one-hot rows that select the prefix's tokens."""
        table = model.get_input_embeddings().get_parameter("weight").detach()
        with torch.enable_grad():
            one_hot = torch.nn.functional.one_hot(prefix, len(table)).to(table.dtype).requires_grad_(True)
            (found,) = torch.autograd.grad(self._loss(model, one_hot @ table), one_hot)
        return found.float()

    def _loss(self, model: PreTrainedModel, prefix: Float[Tensor, "P D"]) -> Float[Tensor, ""]:
        ids, start, count = self.batch.input_ids, self.start, len(self.batch.input_ids)
        embedded = model.get_input_embeddings()(ids)
        inserted = prefix.expand(count, -1, -1)
        inputs = torch.cat([embedded[:, :start], inserted, embedded[:, start:]], 1)
        mask = self.batch.attention_mask
        mask = torch.cat([mask.new_ones(count, len(prefix)), mask], 1)  # padding is on the right
        labels = self.batch.labels
        labels = torch.cat([labels.new_full((count, len(prefix)), IGNORE), labels], 1)
        logits = model(inputs_embeds=inputs, attention_mask=mask, use_cache=False).logits
        return torch.nn.functional.cross_entropy(
            full(logits[:, :-1].flatten(0, 1)), labels[:, 1:].flatten(), ignore_index=IGNORE
        )


def plain_ids(tokenizer: PreTrainedTokenizerBase) -> Int[Tensor, " V"]:
    """Return the printable tokens that are unchanged by decoding and re-encoding."""
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    texts = tokenizer.batch_decode([[i] for i in ids])
    good = [
        (i, t) for i, t in zip(ids, texts, strict=True) if t.strip() and t.isprintable() and "\ufffd" not in t
    ]
    if not good:
        return torch.tensor([], dtype=torch.long)
    again = tokenizer([text for _, text in good], add_special_tokens=False)["input_ids"]
    return torch.tensor(
        [i for (i, _), back in zip(good, again, strict=True) if back == [i]], dtype=torch.long
    )


def survives(ids: Int[Tensor, " P"], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the text of these tokens encodes to them again."""
    return tokenizer(tokenizer.decode(ids.tolist()), add_special_tokens=False)["input_ids"] == ids.tolist()


def _start(
    allowed: Int[Tensor, " V"], length: int, tokenizer: PreTrainedTokenizerBase, generator: torch.Generator
) -> Int[Tensor, " P"]:
    # Tokens that survive alone may merge with a neighbour. A repeated token is the way out if all draws do.
    for _ in range(100):
        drawn = allowed[torch.randint(len(allowed), (length,), generator=generator)]
        if survives(drawn, tokenizer):
            return drawn
    return allowed[:1].repeat(length)
