"""Time an NPO + NLL step: two models, one padded batch and whole logits; ours; ours with LoRA, and on the upper third.

python benchmarks/loss_level.py --preset tiny|cpu|real|8b
python benchmarks/loss_level.py --preset tofu --data FOLDER   (TOFU's forget10.json and retain90.json)
"""

from __future__ import annotations

import copy
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks._common import Preset, alternate, apart, needs_gpu, preset, report, row
from benchmarks._ours import Repeated, make_trainer, tofu_rows
from unlearnctl.data.batch import IGNORE, Batch, Batches
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
        """Return the log-probability of each token except the first, 0 where none counts, [B, T − 1]."""
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        found = F.log_softmax(logits[:, :-1].float(), -1).gather(-1, batch.input_ids[:, 1:, None])[..., 0]
        return found * (batch.labels[:, 1:] != IGNORE)

    def step(self, forget: Batch, retain: Batch) -> float:
        """Do one update; return the loss."""
        with torch.no_grad():
            reference = self.logprobs(self.frozen, forget).sum(1)
        ratio = self.logprobs(self.model, forget).sum(1) - reference
        erase = -2 / BETA * F.logsigmoid(-BETA * ratio).mean()
        loss = erase - ALPHA * self.logprobs(self.model, retain).sum() / retain.predictions
        self.model.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


WAYS = (
    "plain: two models, whole logits",
    "ours",
    "ours, LoRA of rank 16",
    "ours, upper third, prefix cached",
)


def data_of(chosen: Preset, pack: bool = True) -> Batches:
    """Return the preset's one global batch, over and over."""
    return tofu_rows(chosen, pack) if chosen.data else Repeated(chosen)


def ours(chosen: Preset, model: PreTrainedModel, way: str = WAYS[1]) -> Trainer:
    """Make our trainer, with the reference's log-probabilities already cached."""
    adapters = Lora(rank=16, alpha=32.0) if way == WAYS[2] else None
    upper = range(chosen.blocks - chosen.blocks // 3, chosen.blocks)
    only = [rf"layers\.({'|'.join(map(str, upper))})\."] if way == WAYS[3] else None
    cache = "memory" if only else "none"
    objective = NPO(BETA, 1.0, ALPHA, NLL())
    data = data_of(chosen)
    return make_trainer(
        chosen, model, objective, data, LR, cache, release=bool(only), lora=adapters, only=only
    )


def plain_sides(chosen: Preset) -> dict[str, Batch]:
    """Return the global batch in one piece, padded to its longest text."""
    (sides,) = data_of(chosen, pack=False).micro_batches(0, chosen.sequences, chosen.sequences)
    return sides


def steps(way: str, chosen: Preset) -> None:
    """Run two steps in a separate process, for their peak memory."""
    model = chosen.model()
    if way == WAYS[0]:
        plain = PlainNPO(model)
        for _ in range(2):
            plain.step(**plain_sides(chosen))
        return
    trainer = ours(chosen, model, way)
    for _ in range(2):
        trainer.step(0)


def main() -> None:
    """Measure, compare the weights, print, append."""
    chosen = preset(__doc__ or "")
    if needs_gpu(chosen):
        return
    peaks = {way: apart(steps, way, chosen)[2] for way in WAYS}
    plain, mine = PlainNPO(chosen.model()), ours(chosen, chosen.model())
    sides = plain_sides(chosen)
    for _ in range(CHECKED):
        losses = plain.step(**sides), mine.step(0)["loss"]
    theirs = dict(plain.model.named_parameters())
    distance = max((p - theirs[n]).abs().max().item() for n, p in mine.tapped.trained().items())
    print(f"loss after {CHECKED} steps: plain {losses[0]:.8g}, ours {losses[1]:.8g}")
    others = {way: ours(chosen, chosen.model(), way) for way in WAYS[2:]}
    ways = {
        WAYS[0]: lambda: plain.step(**sides),
        WAYS[1]: lambda: mine.step(0),
        **{way: lambda way=way: others[way].step(0) for way in others},
    }
    # The processor's time, because the clock shows other load too; a GPU's work does not show in it.
    clock = time.process_time if chosen.device == "cpu" else time.perf_counter
    seconds = alternate(ways, max(3, chosen.repeats // 2), clock)
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
