"""Measure RMU's memory, held and peak: the plain two-model way against ours, each in its own process.

python benchmarks/memory.py --preset tiny|cpu|8b
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


from benchmarks._common import PRESETS, Preset, apart, needs_gpu, preset, report
from benchmarks._ours import Repeated, make_trainer
from benchmarks._plain import PlainRMU
from benchmarks.step import ALPHA, COEFFICIENT, LR, objective
from unlearnctl.models.load import load_model, load_trunk
from unlearnctl.models.spec import ModelSpec
from unlearnctl.unlearning.memory_usage import MemoryUsage
from unlearnctl.utils.quiet import quiet_libraries

STEPS = 3


def plain(chosen: Preset, spec: ModelSpec) -> int:
    """Run three steps with two whole models; return the bytes of weights, gradients and optimiser."""
    model = load_model(spec, chosen.device).requires_grad_(True)
    target = (COEFFICIENT * objective(chosen).control_vector[0]).to(chosen.device)
    names = [f"model.layers.{i}.mlp.down_proj.weight" for i in range(chosen.layer - 2, chosen.layer + 1)]
    way = PlainRMU(model, chosen.layer, names, target, ALPHA, LR)
    for _ in range(STEPS):
        way.step(**Repeated(chosen).sides)
    both = [*model.parameters(), *way.frozen.parameters()]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    state = [v for group in way.optimizer.state.values() for v in group.values()]
    return sum(tensor.nbytes for tensor in [*both, *gradients, *state])


def ours(chosen: Preset, spec: ModelSpec, cache: str) -> int:
    """Run the same three steps as `unlearnctl train` does."""
    trunk = load_trunk(spec, chosen.layer + 1, chosen.device)
    trainer = make_trainer(chosen, trunk, objective(chosen), Repeated(chosen), LR, cache, release=True)
    for _ in range(STEPS):
        trainer.step(0)
    held = MemoryUsage.of(trainer)
    return held.weights + held.reference + held.gradients + held.optimizer


WAYS = {"plain: two models": None, "ours": "none", "ours, prefix cached": "memory"}


def held(way: str, name: str, folder: str) -> int:
    """Return the bytes that one way holds after its steps."""
    chosen = PRESETS[name]
    spec = ModelSpec(name="bench", path=folder, dtype=str(chosen.dtype)[6:])
    cache = WAYS[way]
    return plain(chosen, spec) if cache is None else ours(chosen, spec, cache)


def main() -> None:
    """Measure each way twice, keep the smaller peak, print, append."""
    chosen = preset(__doc__ or "")
    if needs_gpu(chosen):
        return
    quiet_libraries()
    found: dict[str, list[tuple[int, int]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        chosen.model().save_pretrained(folder)
        for _ in range(2):
            for way in WAYS:
                kept, _, peak = apart(held, way, chosen.name, folder)
                found[way].append((kept, peak))
    least = {way: tuple(map(min, zip(*runs, strict=True))) for way, runs in found.items()}
    kept, peak = least["plain: two models"]
    rows = [
        [way, f"{h / 1e6:.0f}", f"{h / kept:.3f}", f"{p / 1e6:.0f}", f"{p / peak:.3f}"]
        for way, (h, p) in least.items()
    ]
    report("RMU memory", chosen, ["way", "held MB", "of plain", "peak MB", "of plain"], rows)


if __name__ == "__main__":
    main()
