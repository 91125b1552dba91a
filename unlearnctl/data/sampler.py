"""Chooses the rows of a global batch, as a pure function of (seed, stream, position).

The number of processes and of micro-batches has no part in it, so neither changes what a run learns from, and a
resumed run needs no sampler state.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np


def indices(n: int, seed: int, stream: str, start: int, count: int, shuffle: bool = True) -> list[int]:
    """Return the rows at positions start … start + count − 1 of an endless stream over n rows.

    Each pass over the corpus has its own permutation; with shuffle=False, the order of the file.
    """
    positions = range(start, start + count)
    if not shuffle:
        return [p % n for p in positions]
    return [int(_permutation(n, seed, stream, p // n)[p % n]) for p in positions]


@lru_cache(maxsize=16)
def _permutation(n: int, seed: int, stream: str, epoch: int) -> np.ndarray:
    # Philox, keyed by a hash: independent streams without drawing from, or saving, a generator's state.
    key = hashlib.sha256(f"{seed}/{stream}/{epoch}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little"))).permutation(n)
