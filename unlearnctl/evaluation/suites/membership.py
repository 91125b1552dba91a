"""Six membership-inference attacks: can the forget texts be distinguished from similar texts that were never read?"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
from annotated_types import Gt, Le, MinLen
from pydantic import PositiveInt

from unlearnctl.data.corpus import read_corpus
from unlearnctl.data.rows import Row
from unlearnctl.data.spec import CorpusSpec
from unlearnctl.evaluation.items import Tokens
from unlearnctl.evaluation.scoring.answers import Answers
from unlearnctl.evaluation.scoring.references import Reference
from unlearnctl.evaluation.scoring.token_scores import TokenScores, encode_pairs, refuse_infinite, score_rows
from unlearnctl.results.metric import Metric
from unlearnctl.results.statistics import RESAMPLES
from unlearnctl.utils.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Attack = Literal["loss", "zlib", "min_k", "min_k_plus", "reference", "gradnorm"]
ATTACKS: tuple[Attack, ...] = get_args(Attack)
Share = Annotated[float, Gt(0), Le(1)]


class MembershipSuite:
    """`loss_auc`, `zlib_auc`, `min_k_auc`, `min_k_plus_auc`, `reference_auc`, `gradnorm_auc`.

    Each is the chance that a member looks more familiar than a non-member, by that attack. 0.5 is the goal: well
    above, the texts are still known; well below, they are so unlikely that this gives them away (over-unlearning).

    Args:
        members, nonmembers: corpora as in `conf/data/` (path, field, split …). They must differ in nothing but
            having been read, or the attack measures the difference.
        attacks: which of the six; `reference` needs one.
        reference: folder of a model to compare with, e.g. one that read neither.
        k: share of the least likely tokens that min_k and min_k_plus average.
    """

    def __init__(
        self,
        members: Mapping[str, Any],
        nonmembers: Mapping[str, Any],
        attacks: Annotated[Sequence[Attack], MinLen(1)] = ATTACKS,
        reference: str | None = None,
        k: Share = 0.2,
        limit: PositiveInt | None = None,
        max_length: Tokens = 512,
        batch_size: PositiveInt = 16,
        key: str = "eval.membership",
    ) -> None:
        if "reference" in attacks and reference is None:
            raise UserError(f"{key}.reference=null: the attack 'reference' needs a model folder")
        self.attacks, self.k, self.key = tuple(attacks), k, key
        self.reference = None if reference is None else Reference(reference, f"{key}.reference")
        self.max_length, self.batch_size = max_length, batch_size
        self.specs = [
            _spec(cfg, f"{key}.{side}", limit)
            for side, cfg in (("members", members), ("nonmembers", nonmembers))
        ]
        self._texts: list[Sequence[str]] | None = None

    @property
    def texts(self) -> list[Sequence[str]]:
        """The members' and non-members' texts, read once."""
        if self._texts is None:
            sides = zip(self.specs, ("members", "nonmembers"), strict=True)
            self._texts = [read_corpus(spec, f"{self.key}.{side}").texts for spec, side in sides]
        return self._texts

    def validate(self) -> None:
        """Check that there are at least two texts a side and none on both, and that the reference is a model folder.

        Raises:
            UserError: otherwise.
        """
        members, others = self.texts
        if min(len(members), len(others)) < 2:
            raise UserError(
                f"{self.key}: {len(members)} members and {len(others)} non-members; needs 2 of each"
            )
        if both := set(members) & set(others):
            raise UserError(
                f"{self.key}.nonmembers: {len(both)} texts are members too, e.g. {min(both)[:60]!r}"
            )
        if self.reference is not None and "reference" in self.attacks:
            self.reference.validate()

    def run(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Answers
    ) -> dict[str, Metric]:
        """Compute one AUC per attack; n counts texts of both sides."""
        texts = [text for side in self.texts for text in side]
        rows = encode_pairs(tokenizer, [""] * len(texts), texts, self.max_length, self.key)
        scores = score_rows(answers, lambda: model, rows, self.batch_size, self.key)
        split, found = len(self.texts[0]), {}
        for attack in self.attacks:
            if attack == "reference":
                values = self._against_reference(scores, texts, model)
            elif attack == "gradnorm":
                values = [-norm for norm in gradient_norms(answers, model, rows, self.key)]
            else:
                values = [familiarity(attack, s, t, self.k) for s, t in zip(scores, texts, strict=True)]
            found[f"{attack}_auc"] = auc(values[:split], values[split:])
        return found

    def _against_reference(
        self, scores: Sequence[TokenScores], texts: Sequence[str], model: PreTrainedModel
    ) -> list[float]:
        assert self.reference is not None
        theirs = self.reference.scores([""] * len(texts), texts, self.max_length, self.batch_size, model)
        return [r.nll - s.nll for s, r in zip(scores, theirs, strict=True)]


def _spec(cfg: object, key: str, limit: int | None) -> CorpusSpec:
    spec = CorpusSpec.from_config(cfg, key, splits=False)
    return spec if limit is None else replace(spec, limit=limit)


def familiarity(attack: str, scores: TokenScores, text: str, k: float) -> float:
    """Score how much a text looks like one that was read; higher = more.

    `loss`: −mean NLL (Yeom et al. 2018, arXiv 1709.01604). `zlib`: −mean NLL over the bytes of the zlib-compressed text
    (Carlini et al. 2021, arXiv 2012.07805). `min_k`: mean log-probability of the k least likely tokens (Shi et
    al. 2024, arXiv 2310.16789). `min_k_plus`: the same of (log p − mean)/standard deviation over the vocabulary
    (Zhang et al. 2024, arXiv 2404.02936). k is a share, rounded down to at least one token.
    """
    if attack == "loss":
        return -scores.nll
    if attack == "zlib":
        return -scores.nll / len(zlib.compress(text.encode()))
    tokens = scores.logp
    if attack == "min_k_plus":
        parts = zip(scores.logp, scores.mean, scores.std, strict=True)
        tokens = [(logp - mean) / max(std, 1e-3) for logp, mean, std in parts]
    least = sorted(tokens)[: max(1, int(k * len(tokens)))]
    return sum(least) / len(least)


def gradient_norms(answers: Answers, model: PreTrainedModel, rows: Sequence[Row], key: str) -> list[float]:
    """Compute the L2 norm of the gradient of each text's mean NLL over all weights (arXiv 2402.17012), text by text."""
    return answers.each(
        "gradient norm",
        [[r.ids, r.prompt] for r in rows],
        lambda item: _gradient_norm(model, item[0], item[1], key),
    )


def _gradient_norm(model: PreTrainedModel, ids: list[int], prompt: int, key: str) -> float:
    """Free each weight's gradient as soon as it is counted, so that they are never all in memory."""
    import torch

    states = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    # A sum over billions of squares, most of them tiny, needs float64.
    total = torch.zeros((), dtype=torch.float64, device=model.device)

    def count(p: torch.Tensor) -> None:
        assert p.grad is not None
        total.add_(p.grad.double().square().sum().to(total.device))
        p.grad = None

    hooks = []
    try:
        for p, _, _ in states:
            p.grad = None
            p.requires_grad_(p.is_floating_point())
            hooks.append(p.register_post_accumulate_grad_hook(count))
        row = torch.tensor([ids], device=model.device)
        with torch.enable_grad():
            logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
            start = max(prompt, 1)
            torch.nn.functional.cross_entropy(logits[start - 1 :], row[0, start:]).backward()
    finally:
        for hook in hooks:
            hook.remove()
        for p, wanted, grad in states:
            p.requires_grad_(wanted)
            p.grad = grad
    refuse_infinite(total, key)
    return float(total.sqrt())


def auc(members: Sequence[float], others: Sequence[float]) -> Metric:
    """Return the probability that a member's value exceeds a non-member's (ties half); n counts both.

    Error and interval: bootstrap over members and non-members, each drawn by itself. The items are the members' shares
    of non-members below them, whose mean is the AUC.
    """
    a, b = np.asarray(members, dtype=float), np.asarray(others, dtype=float)
    above = (a[:, None] > b).astype(float) + 0.5 * (a[:, None] == b)
    rng = np.random.default_rng(0)
    # how often each text is drawn, so that one product of matrices does all resamples
    times_a, times_b = (rng.multinomial(len(x), [1 / len(x)] * len(x), RESAMPLES) for x in (a, b))
    drawn = ((times_a @ above) * times_b).sum(1) / above.size
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    error, items = float(drawn.std(ddof=1)), tuple(above.mean(1).tolist())
    return Metric(float(above.mean()), error, len(a) + len(b), 0.5, "forget", "chance", (low, high), items)
