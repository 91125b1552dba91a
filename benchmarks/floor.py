"""Compute the least an RMU step can cost, in multiplications and bytes, from the shape. Nothing is measured here.

python benchmarks/floor.py --preset tiny|cpu|8b
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._common import Preset, preset, report

RATE = 790e12  # dense bf16 matrix rate of an H100 or H200 that long runs reach, FLOP/s
TRAINED = 3  # blocks whose MLP output matrix trains


def matrices(chosen: Preset) -> tuple[float, float]:
    """Return the FLOP of one block's forward pass on one side, and those of its MLP output matrix."""
    tokens = chosen.sequences * chosen.tokens
    kv = chosen.hidden * chosen.kv_heads // chosen.heads
    out = 2.0 * tokens * chosen.hidden * chosen.mlp
    attention = 2.0 * tokens * chosen.hidden * (2 * chosen.hidden + 2 * kv)
    scores = 4.0 * tokens * chosen.tokens / 2 * chosen.hidden  # causal: half of each row
    return attention + scores + 3 * out, out


def plain(chosen: Preset) -> float:
    """Count three whole forward passes with the head, and all gradients in every block up to the layer."""
    block, _ = matrices(chosen)
    head = 2.0 * chosen.sequences * chosen.tokens * chosen.hidden * chosen.vocabulary
    return 3 * (chosen.blocks * block + head) + 2 * (chosen.layer + 1) * 2 * block


def ours(chosen: Preset, cached: bool) -> float:
    """Count one prefix per side up to the first trained matrix, policy twice, reference once unless cached."""
    block, out = matrices(chosen)
    below = chosen.layer + 1 - TRAINED
    prefix = 0.0 if cached else 2 * (below * block + block - out)
    passes = 2 if cached else 3
    forward = passes * (out + (TRAINED - 1) * block)
    backward = 2 * ((TRAINED - 1) * block + TRAINED * out)
    return prefix + forward + backward


def main() -> None:
    """Print and append."""
    chosen = preset(__doc__ or "")
    ways = {"plain": plain(chosen), "ours": ours(chosen, False), "ours, prefix cached": ours(chosen, True)}
    rows = [
        [way, f"{flop / 1e12:.3g}", f"{1000 * flop / RATE:.3g}", f"{ways['plain'] / flop:.1f}"]
        for way, flop in ways.items()
    ]
    header = ["way", "TFLOP a step", f"ms at {RATE / 1e12:.0f} TFLOP/s", "× plain"]
    report("Floor of an RMU step (computed, not measured)", chosen, header, rows)


if __name__ == "__main__":
    main()
