"""Time an NPO + NLL step on all weights: two models and whole logits, ours, and ours with LoRA.

python benchmarks/loss_level.py --preset tiny|cpu|8b
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks._common import PRESETS, Preset, alternate, apart, needs_gpu, preset, report, row
from benchmarks._ours import Repeated, make_trainer
from unlearnctl.data.batch import Batch
from unlearnctl.models.adapters import Lora
from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import NLL
from unlearnctl.training.loop import Trainer

LR, BETA, ALPHA, CHECKED = 1e-5, 0.1, 1.0, 2


class PlainNPO:
    """NPO (arXiv 2404.05868, equation 3) plus the retain text's NLL, from [B, T, V] log-probabilities."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.frozen = model.requires_grad_(True), copy.deepcopy(model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)

    def logprobs(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """Return the log-probability of each token except the first, [B, T − 1]."""
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        return F.log_softmax(logits[:, :-1].float(), -1).gather(-1, batch.input_ids[:, 1:, None])[..., 0]

    def step(self, forget: Batch, retain: Batch) -> float:
        """Do one update; return the loss."""
        with torch.no_grad():
            reference = self.logprobs(self.frozen, forget).sum(1)
        ratio = self.logprobs(self.model, forget).sum(1) - reference
        erase = -2 / BETA * F.logsigmoid(-BETA * ratio).mean()
        loss = erase - ALPHA * self.logprobs(self.model, retain).mean()
        self.model.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def ours(chosen: Preset, model: PreTrainedModel, lora: bool = False) -> Trainer:
    """Make our trainer, with the reference's log-probabilities already cached."""
    adapters = Lora(rank=16, alpha=32.0) if lora else None
    objective = NPO(BETA, 1.0, ALPHA, NLL())
    return make_trainer(chosen, model, objective, Repeated(chosen), LR, lora=adapters)


WAYS = ("plain: two models, whole logits", "ours", "ours, LoRA of rank 16")


def steps(way: str, name: str) -> None:
    """Run two steps in a separate process, for their peak memory."""
    chosen = PRESETS[name]
    model = chosen.model()
    if way == WAYS[0]:
        plain = PlainNPO(model)
        for _ in range(2):
            plain.step(**Repeated(chosen).sides)
        return
    trainer = ours(chosen, model, lora=way == WAYS[2])
    for _ in range(2):
        trainer.step(0)


def main() -> None:
    """Measure, compare the weights, print, append."""
    chosen = preset(__doc__ or "")
    if needs_gpu(chosen):
        return
    peaks = {way: apart(steps, way, chosen.name)[2] for way in WAYS}
    plain, mine = PlainNPO(chosen.model()), ours(chosen, chosen.model())
    data = Repeated(chosen)
    for _ in range(CHECKED):
        losses = plain.step(**data.sides), mine.step(0)["loss"]
    theirs = dict(plain.model.named_parameters())
    distance = max((p - theirs[n]).abs().max().item() for n, p in mine.tapped.trained().items())
    print(f"loss after {CHECKED} steps: plain {losses[0]:.8g}, ours {losses[1]:.8g}")
    adapted = ours(chosen, chosen.model(), lora=True)
    ways = {
        WAYS[0]: lambda: plain.step(**data.sides),
        WAYS[1]: lambda: mine.step(0),
        WAYS[2]: lambda: adapted.step(0),
    }
    seconds = alternate(ways, max(3, chosen.repeats // 2))
    notes = {WAYS[1]: f"weights after {CHECKED} steps apart by {distance:.1e}"}
    rows = [
        [
            *row(way, seconds[way], seconds[WAYS[0]])[:4],
            f"{peaks[way] / 1e6:.0f}",
            f"{peaks[way] / peaks[WAYS[0]]:.2f}",
            notes.get(way, ""),
        ]
        for way in WAYS
    ]
    report("NPO step", chosen, ["way", "median ms", "least ms", "× plain", "peak MB", "of plain", ""], rows)


if __name__ == "__main__":
    main()
