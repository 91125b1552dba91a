"""Relearn: does finetuning on other text bring back what was forgotten?

Hu et al., arXiv 2406.13356; Łucki et al., arXiv 2409.18025; Deeb and Roger, arXiv 2410.08827. The texts must not
state what is asked afterwards, or the attack teaches instead of recovering.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from unlearnctl.attacks.base import Target, Texts, Variant, kept
from unlearnctl.data.batch import IGNORE, Batch
from unlearnctl.data.sampler import indices
from unlearnctl.data.text_store import Progress
from unlearnctl.ops.logprobs import prediction_mask
from unlearnctl.ops.precision import full
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEY = "attack.relearn"


class Relearn:
    """AdamW on the mean next-token NLL of each corpus, at each learning rate, scored at the listed steps.

    Args:
        corpora: name → corpus as in `conf/data/`, such as other facts of the same domain, or unrelated text.
        lrs: learning rates; each starts from the unlearned weights.
        steps: after which the model is scored; training ends after the last.
        batch_size: texts per step.
        max_length: longest text, in tokens.
        frozen_embeddings: keep input and output embeddings frozen; otherwise everything trains.
    """

    asks: tuple[str, ...] = ()

    def __init__(
        self,
        corpora: Annotated[Mapping[str, Any], MinLen(1)],
        lrs: Annotated[list[PositiveFloat], MinLen(1)],
        steps: Annotated[list[PositiveInt], MinLen(1)],
        batch_size: PositiveInt = 16,
        max_length: Annotated[int, "tokens", Ge(2)] = 128,
        frozen_embeddings: bool = False,
    ) -> None:
        if steps != sorted(set(steps)):
            raise UserError(f"{KEY}.steps={steps}: must increase, each step once")
        self.corpora, self.lrs, self.steps = dict(corpora), lrs, steps
        self.batch_size, self.max_length, self.frozen_embeddings = batch_size, max_length, frozen_embeddings

    def validate(self, tokenizer: PreTrainedTokenizerBase, blocks: int) -> None:
        """Read every corpus."""
        self.texts = {
            name: Texts.read(cfg, f"{KEY}.corpora.{name}", tokenizer, self.max_length)
            for name, cfg in self.corpora.items()
        }

    def variants(self, target: Target) -> Iterator[Variant]:
        """Yield one variant per corpus, learning rate and listed step."""
        for name in self.texts:
            for lr in self.lrs:
                parameters = trained(target.model, self.frozen_embeddings)
                with kept(target.model, parameters):
                    yield from self._curve(target, name, lr, parameters)

    def _curve(
        self, target: Target, name: str, lr: float, parameters: Mapping[str, nn.Parameter]
    ) -> Iterator[Variant]:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        # In bfloat16 an update below 1/256 of a weight is lost, and a weak attack would look like a robust model.
        masters = [p if p.dtype == torch.float32 else p.detach().float() for p in parameters.values()]
        progress = Progress(f"relearn: {name}, lr {lr:g}: step {{count}} of {self.steps[-1]}")
        optimizer = torch.optim.AdamW(masters, lr=lr, weight_decay=0.0)
        for step in range(1, self.steps[-1] + 1):
            with torch.enable_grad():
                nll(target.model, self._batch(target, name, step)).backward()
            _step(list(parameters.values()), masters, optimizer)
            progress.at(step)
            if step in self.steps:
                settings = {"corpus": name, "lr": lr, "step": step}
                yield Variant(f"{name}, lr {lr:g}, step {step}", settings)

    def _batch(self, target: Target, name: str, step: int) -> Batch:
        texts, size = self.texts[name], self.batch_size
        chosen = indices(len(texts.rows), target.seed, f"relearn/{name}", (step - 1) * size, size)
        pad = target.tokenizer.pad_token_id
        return texts.batch([texts.rows[i] for i in chosen], 0 if pad is None else pad, target.model.device)


def trained(model: PreTrainedModel, frozen_embeddings: bool) -> dict[str, nn.Parameter]:
    """Return the parameters that relearning trains, by name, with tied tensors once."""
    ends = [model.get_input_embeddings(), model.get_output_embeddings()] if frozen_embeddings else []
    frozen = {id(p) for module in ends if module is not None for p in module.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) not in frozen}


def nll(model: PreTrainedModel, batch: Batch) -> Float[Tensor, ""]:
    """Return the mean −log p, in nats, of the tokens that count."""
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    labels = batch.labels.masked_fill(~prediction_mask(batch.labels, batch.attention_mask), IGNORE)
    return F.cross_entropy(full(logits[:, :-1].flatten(0, 1)), labels[:, 1:].flatten(), ignore_index=IGNORE)


@torch.no_grad()
def _step(parameters: list[nn.Parameter], masters: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Update the float32 masters once, and round them into the model; a float32 parameter is its own master."""
    apart = [(p, master) for p, master in zip(parameters, masters, strict=True) if p is not master]
    for parameter, master in apart:
        master.grad = None if parameter.grad is None else parameter.grad.float()
        parameter.grad = None
    optimizer.step()
    optimizer.zero_grad()
    for parameter, master in apart:
        parameter.copy_(master)
