"""Time an RMU step: the plain two-model way, ours, ours with the prefix cached, four sweep members side by side.

python benchmarks/step.py --preset tiny|cpu|8b
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks._common import Preset, alternate, needs_gpu, preset, report, row
from benchmarks._ours import Repeated, make_trainer, share, trunk
from benchmarks._plain import PlainRMU
from unlearnctl.models.load import compile_blocks
from unlearnctl.models.shared_models import sharing_copy
from unlearnctl.objectives.rmu import RMU
from unlearnctl.training.loop import Trainer

LR, ALPHA, COEFFICIENT, MEMBERS, CHECKED = 5e-5, 1200.0, 6.5, 4, 5


def objective(chosen: Preset) -> RMU:
    """Make the objective with the shape of the published settings."""
    made = RMU(layer=chosen.layer, steering_coeff=COEFFICIENT, alpha=ALPHA)
    made.setup(chosen.hidden, 1, torch.Generator().manual_seed(0))
    return made


def step_all(trainers: list[Trainer], memo: dict) -> None:
    """Run one round of a side-by-side sweep."""
    for trainer in trainers:
        trainer.step(0)
    memo.clear()


def main() -> None:
    """Measure, compare the weights, print, append."""
    chosen = preset(__doc__ or "")
    if needs_gpu(chosen):
        return
    model, data = chosen.model(), Repeated(chosen)
    ours = make_trainer(chosen, trunk(chosen, model), objective(chosen), data, LR)
    cached = make_trainer(chosen, trunk(chosen, model), objective(chosen), data, LR, "memory")
    compiled = make_trainer(chosen, trunk(chosen, model), objective(chosen), data, LR)
    compile_blocks(compiled.tapped)
    base = trunk(chosen, model)
    names = ours.tapped.trainable
    groups = {
        kind: [
            make_trainer(chosen, sharing_copy(base, names), objective(chosen), data, LR, kind)
            for _ in range(MEMBERS)
        ]
        for kind in ("none", "memory")
    }
    target = (COEFFICIENT * objective(chosen).control_vector[0]).to(chosen.device)
    plain = PlainRMU(model, chosen.layer, names, target, ALPHA, LR)

    for _ in range(CHECKED):
        theirs = plain.step(**data.sides)
        losses = {"ours": ours.step(0)["loss"], "cached": cached.step(0)["loss"]}
    apart = {
        name: max((p - plain.trained[n]).abs().max().item() for n, p in trainer.tapped.trained().items())
        for name, trainer in (("ours", ours), ("cached", cached))
    }
    print(
        f"loss after {CHECKED} steps: plain {theirs:.8g}, "
        + ", ".join(f"{k} {v:.8g}" for k, v in losses.items())
    )

    memos = {kind: share(trainers) for kind, trainers in groups.items()}
    ways = {
        "plain": lambda: plain.step(**data.sides),
        "ours": lambda: ours.step(0),
        "cached": lambda: cached.step(0),
        "compiled": lambda: compiled.step(0),
        "side": lambda: step_all(groups["none"], memos["none"]),
        "side cached": lambda: step_all(groups["memory"], memos["memory"]),
    }
    seconds = alternate(ways, chosen.repeats)
    each = {k: [s / MEMBERS for s in v] if k.startswith("side") else v for k, v in seconds.items()}
    rows = [
        row("plain: two models, all blocks, grad on everything", each["plain"], each["plain"]),
        row(
            "ours", each["ours"], each["plain"], f"weights after {CHECKED} steps apart by {apart['ours']:.1e}"
        ),
        row("ours, prefix cached", each["cached"], each["plain"], f"apart by {apart['cached']:.1e}"),
        row("ours, blocks compiled", each["compiled"], each["plain"]),
        row(f"a member of {MEMBERS} side by side", each["side"], each["plain"]),
        row(f"a member of {MEMBERS} side by side, cached", each["side cached"], each["plain"]),
    ]
    report("RMU step", chosen, ["way", "median ms", "least ms", "× plain", ""], rows)


if __name__ == "__main__":
    main()
