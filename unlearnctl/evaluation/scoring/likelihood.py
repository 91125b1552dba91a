"""Log-likelihoods of continuations: one pass a question, a shared beginning once, logits where they are asked for.

Axes: B rows, T their width, P tokens of the shared prefix, N predictions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from unlearnctl.evaluation.scoring.questions import Group, Question, Row, batches, group

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# For each continuation: log-likelihood in nats, whether greedy decoding would give it.
Answer = list[list[Any]]
LOGITS = 2**28  # elements held at once: 1 GiB in float32
# What a pass costs beside its tokens (reading the weights, starting the kernels), counted in tokens. Measured on a CPU:
# 17 with SmolLM2-135M and about 100 with the tiny world's model. A GPU's is hundreds to thousands.
ONE_PASS = {"cpu": 32}
ON_GPU = 512


def score(
    model: PreTrainedModel, questions: Sequence[Question], places: Sequence[int], tokens: int
) -> Iterator[tuple[int, Answer]]:
    """Yield (place, answer) of the questions at `places`, each as soon as it is known.

    Args:
        tokens: read in one pass, padding included; halved where a GPU runs out of memory.
    """
    one_pass = ONE_PASS.get(model.device.type, ON_GPU)
    for one in group(questions, places, one_pass):
        yield from _score_group(model, questions, one, tokens, one_pass)


def _score_group(
    model: PreTrainedModel, questions: Sequence[Question], one: Group, tokens: int, one_pass: int
) -> Iterator[tuple[int, Answer]]:
    prefix = read_prefix(model, one.prefix) if one.prefix else None
    rows = one.rows(questions)
    left = {place: len(questions[place].continuations) for place in one.questions}
    answers: dict[int, Answer] = {place: [[] for _ in range(n)] for place, n in left.items()}
    predictions = max(1, LOGITS // model.config.get_text_config().vocab_size)
    for batch in batches(rows, tokens, predictions, one_pass):
        for row, found in zip(batch, _spread(model, batch, prefix), strict=True):
            for pick, answer in zip(row.picked, found, strict=True):
                answers[row.question][pick] = answer
            left[row.question] -= len(row.picked)
            if not left[row.question]:
                yield row.question, answers.pop(row.question)


def _spread(model: PreTrainedModel, rows: Sequence[Row], prefix: Cache | None) -> list[Answer]:
    """Score all rows in one pass, or halve them when memory runs out."""
    try:
        return score_rows(model, rows, prefix)
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    torch.cuda.empty_cache()
    half = len(rows) // 2
    return _spread(model, rows[:half], prefix) + _spread(model, rows[half:], prefix)


@torch.no_grad()
def read_prefix(model: PreTrainedModel, ids: Sequence[int]) -> Cache:
    """Compute keys and values of a shared beginning, in every block whole (no sliding window)."""
    # Made without the config, which would give sliding blocks a cache that drops what lies beyond their window; the
    # masks below need it.
    cache = DynamicCache()
    model.base_model(
        input_ids=torch.tensor([list(ids)], device=model.device), past_key_values=cache, use_cache=True
    )
    return cache


class _After(DynamicLayer):
    """A block's keys and values after those of a prefix; nothing is kept, so the prefix serves every batch."""

    def __init__(self, prefix: Any) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = prefix.keys, prefix.values, True
        self.held: tuple[Tensor, Tensor] = (prefix.keys, prefix.values)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Join the prefix's and the new keys and values, [B heads P+T d] each."""
        pairs = zip(self.held, (key_states, value_states), strict=True)
        keys, values = (torch.cat([held.expand(len(new), -1, -1, -1), new], dim=-2) for held, new in pairs)
        return keys, values


@torch.no_grad()
def score_rows(model: PreTrainedModel, rows: Sequence[Row], prefix: Cache | None) -> list[Answer]:
    """Answer each row's continuations, in one pass over all rows."""
    past = prefix.get_seq_length() if prefix is not None else 0
    layout = Layout.of(rows, past)
    device = model.device
    arguments: dict[str, Any] = {"use_cache": False}
    if past or layout.branches:
        arguments["attention_mask"] = masks(model, layout, past)
        arguments["position_ids"] = layout.positions.to(device)
    if prefix is not None:
        arguments |= {
            "past_key_values": Cache(layers=[_After(layer) for layer in prefix.layers]),
            "use_cache": True,
        }
    with _only(model, layout.needed.to(device)):
        logits = model(input_ids=layout.ids.to(device), **arguments).logits[0].float()
    targets = layout.targets.to(device)
    # Not a whole log_softmax: that would be a second tensor of the logits' size.
    likelihoods = (logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)).cpu()
    return layout.answers(likelihoods, (logits.argmax(-1) == targets).cpu())


@dataclass(frozen=True)
class Layout:
    """Where each token of some rows lies in a right-padded batch."""

    ids: Int[Tensor, "B T"]
    positions: Int[Tensor, "B T"]  # in the text that the token continues
    branch: Int[Tensor, "B T"]  # 0 context, k the k-th continuation, -1 padding
    needed: Int[Tensor, " N"]  # flat places whose outputs are asked for
    targets: Int[Tensor, " N"]  # the tokens that should follow there
    lengths: list[list[int]]  # by row and continuation: predictions
    branches: bool  # whether any continuation is read

    @classmethod
    def of(cls, rows: Sequence[Row], past: int) -> Layout:
        """Lay out rows after a prefix of `past` tokens."""
        width = max(row.width for row in rows)
        ids, positions, branch, needed, targets = [], [], [], [], []
        for place, row in enumerate(rows):
            end, flat = len(row.context), place * width
            at, spot, owner = list(row.context), list(range(past, past + end)), [0] * end
            # Each continuation is placed as if it alone followed the context. Its first token is predicted at the
            # context's last place; its last token is predicted, but never read.
            for k, continuation in enumerate(row.continuations, 1):
                start = len(at)
                needed += [flat + end - 1, *range(flat + start, flat + start + len(continuation) - 1)]
                targets += continuation
                at += continuation[:-1]
                spot += range(past + end, past + end + len(continuation) - 1)
                owner += [k] * (len(continuation) - 1)
            rest = width - len(at)
            ids.append(at + [0] * rest)
            positions.append(spot + [0] * rest)
            branch.append(owner + [-1] * rest)
        lengths = [[len(c) for c in row.continuations] for row in rows]
        return cls(
            torch.tensor(ids),
            torch.tensor(positions),
            torch.tensor(branch),
            torch.tensor(needed),
            torch.tensor(targets),
            lengths,
            any(row.width > len(row.context) for row in rows),
        )

    def allowed(self, past: int) -> Bool[Tensor, "b T P+T"]:
        """Return which token may attend to which: prefix, earlier context, own continuation; one row if all agree."""
        width = self.ids.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool).tril()[None]
        if self.branches:
            mine = self.branch[:, :, None] == self.branch[:, None, :]
            causal = causal & (mine | (self.branch == 0)[:, None, :])
        return torch.cat([torch.ones(len(causal), width, past, dtype=torch.bool), causal], dim=-1)

    def answers(self, likelihoods: Float[Tensor, " N"], greedy: Bool[Tensor, " N"]) -> list[Answer]:
        """Sum over each continuation."""
        values, hits = likelihoods.double().tolist(), greedy.tolist()
        found, start = [], 0
        for row in self.lengths:
            answer: Answer = []
            for length in row:
                answer.append([sum(values[start : start + length]), all(hits[start : start + length])])
                start += length
            found.append(answer)
        return found


def masks(model: PreTrainedModel, layout: Layout, past: int) -> Tensor | Mapping[str, Tensor]:
    """Build the additive mask [b 1 T P+T] for every block, or for each kind of block where a model has several."""
    config, allowed = model.config.get_text_config(), layout.allowed(past)
    kinds = getattr(config, "layer_types", None)
    slides = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None) if slides else None
    whole = _additive(model, allowed)
    if window is None:
        return whole
    before = torch.arange(past).expand(len(layout.positions), -1)
    gaps = layout.positions[:, :, None] - torch.cat([before, layout.positions], dim=1)[:, None, :]
    near = _additive(model, allowed & (gaps < window))
    return {"full_attention": whole, "sliding_attention": near} if kinds else near


def _additive(model: PreTrainedModel, allowed: Bool[Tensor, "b T S"]) -> Float[Tensor, "b 1 T S"]:
    # The lowest number, as in transformers, not −∞: softmax over a row of −∞ alone is NaN.
    zero = torch.zeros((), dtype=model.dtype)
    return torch.where(allowed, zero, torch.finfo(model.dtype).min)[:, None].to(model.device)


@contextmanager
def _only(model: PreTrainedModel, needed: Int[Tensor, " N"]) -> Iterator[None]:
    """Let the head see these positions alone, [1 N D], with all that the model itself does around it."""

    def pick(module: Any, args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.flatten(0, 1)[needed][None]
        return output

    handle = model.base_model.register_forward_hook(pick)
    try:
        yield
    finally:
        handle.remove()
