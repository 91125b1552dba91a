"""Choose how many sequences of a global batch are computed at once, where nobody has said."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from unlearnctl.data.batch import Batches

# What a further pass costs, in tokens: it adds a gradient to every weight, which moves 12 bytes, and a token takes 6
# operations for each. By our count a processor loses 16 tokens a pass, and a GPU 300; it fears small batches besides,
# so it gets more (not measured).
PASS = {"cpu": 16, "cuda": 512}
# The most positions of one side in memory. More make nothing faster: a processor multiplies 64 as fast as 1,024.
MOST = {"cpu": 512, "cuda": 16384}


def micro_batch_for(lengths: Sequence[Sequence[int]], share: int, device: str) -> int:
    """Return the number of sequences at once that costs least: small ones have less padding, and take more passes.

    Losses are shares of the global batch's sums, so this changes the time and the memory, and nothing else.

    Args:
        lengths: of the sequences of each side of a global batch, in tokens.
        share: number of sequences of one process.
        device: "cpu" or "cuda".
    """
    longest = max(max(side) for side in lengths)
    most, price = (numbers.get(device, numbers["cuda"]) for numbers in (MOST, PASS))
    sizes = [
        size for size in range(1, share + 1) if share % size == 0 and (size == 1 or size * longest <= most)
    ]

    def cost(size: int) -> int:
        return sum(padded(side, size) for side in lengths) + price * len(lengths) * (share // size)

    return min(sizes, key=cost)


def padded(lengths: Sequence[int], size: int) -> int:
    """Return the positions, padding included, of sequences that are sorted by length and cut into batches of `size`."""
    longest_first = sorted(lengths, reverse=True)
    return size * sum(longest_first[::size])


def first_lengths(data: Batches, sides: Sequence[str], global_batch: int, world: int) -> list[list[int]]:
    """Return the lengths of the first sequences of each side, which are the same on every process."""
    share = global_batch // world
    (first,) = data.micro_batches(0, global_batch, share, 0, world)
    return [_lengths(first[side].attention_mask) for side in sides]


def _lengths(attention_mask: Tensor) -> list[int]:
    return [int(count) for count in attention_mask.sum(1)]
