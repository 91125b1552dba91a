"""Time saving a run and merging it: changed tensors patched into copied shards, against whole models in memory.

python benchmarks/checkpoint.py --preset tiny|cpu|8b     (8b needs no GPU, but 35 GB of disk and 20 GB of memory)
"""

from __future__ import annotations

import json
import math
import shutil
import struct
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from safetensors import safe_open

from benchmarks._common import PRESETS, Preset, apart, preset, report
from benchmarks.step import objective
from unlearnctl.models.delta import apply_delta, export, save_delta
from unlearnctl.models.folder import weight_index
from unlearnctl.models.load import load_model
from unlearnctl.models.spec import ModelSpec
from unlearnctl.models.trainable import match
from unlearnctl.utils.quiet import quiet_libraries

SHARD = 4 << 30
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


def write_base(chosen: Preset, folder: Path) -> None:
    """Write a model folder of the preset's shape with all-zero weights, as sparse files."""
    shapes = {name: list(shape) for name, shape in chosen.shape().shapes.items()}
    shards: list[dict[str, list[int]]] = [{}]
    held = 0
    for name, shape in shapes.items():
        size = math.prod(shape) * chosen.dtype.itemsize
        if held + size > SHARD and shards[-1]:
            shards.append({})
            held = 0
        shards[-1][name] = shape
        held += size
    index = {}
    for number, part in enumerate(shards):
        file = f"model-{number:05d}.safetensors"
        index |= dict.fromkeys(part, file)
        _write_zeros(folder / file, part, chosen.dtype)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    chosen.config().save_pretrained(folder)


def _write_zeros(file: Path, shapes: dict[str, list[int]], dtype: torch.dtype) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + end)


def trained(chosen: Preset) -> dict[str, torch.Tensor]:
    """Make random values for the tensors that RMU trains."""
    shape, generator = chosen.shape(), torch.Generator().manual_seed(0)
    names = match(objective(chosen).trainable(shape), shape.shapes)
    return {n: torch.randn(shape.shapes[n], generator=generator).to(chosen.dtype) for n in names}


def ours_save(chosen: Preset, base: Path, to: Path) -> None:
    """Save a delta checkpoint."""
    save_delta(to / "delta", trained(chosen), spec(chosen, base), "bench")


def ours_merge(chosen: Preset, base: Path, to: Path) -> None:
    """Merge it as `unlearnctl export` does."""
    export(base, to / "delta", to / "merged", str(chosen.dtype)[6:])


def plain_both(chosen: Preset, base: Path, to: Path) -> None:
    """Load the whole model, insert the tensors, save the whole model: checkpoint and merge in one."""
    model = load_model(spec(chosen, base))
    apply_delta(model, trained(chosen))
    model.save_pretrained(to / "plain")


def spec(chosen: Preset, base: Path) -> ModelSpec:
    """Return the base model."""
    return ModelSpec(name="bench", path=str(base), dtype=str(chosen.dtype)[6:])


WAYS = {
    "ours: save the delta": (ours_save, "delta"),
    "ours: merge": (ours_merge, "merged"),
    "plain: save the whole model": (plain_both, "plain"),
}


def work(way: str, name: str, base: Path, to: Path) -> None:
    """Measure one way in a separate process."""
    WAYS[way][0](PRESETS[name], base, to)


def equal(to: Path) -> bool:
    """Tell whether the merged folder and the plain one have the same bytes in every tensor."""
    mine, theirs = weight_index(to / "merged"), weight_index(to / "plain")
    if set(mine) != set(theirs):
        return False
    for name in mine:
        with (
            safe_open(to / "merged" / mine[name], framework="pt") as a,
            safe_open(to / "plain" / theirs[name], framework="pt") as b,
        ):
            if not torch.equal(a.get_tensor(name), b.get_tensor(name)):
                return False
    return True


def bytes_of(folder: Path) -> int:
    """Return the size of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


TURNS = 2


def main() -> None:
    """Measure each way in turn, keep the best, compare the merged models, print, append."""
    chosen = preset(__doc__ or "")
    quiet_libraries()
    found: dict[str, list[tuple[float, int, int]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        base, to = Path(name) / "base", Path(name)
        base.mkdir()
        write_base(chosen, base)
        for _ in range(TURNS):
            for way, (_, result) in WAYS.items():
                shutil.rmtree(to / result, ignore_errors=True)
                _, seconds, peak = apart(work, way, chosen.name, base, to)
                found[way].append((seconds, peak, bytes_of(to / result)))
        same = "the same bytes" if equal(to) else "DIFFERENT"
    rows = []
    for way, runs in found.items():
        seconds, peak, size = (min(column) for column in zip(*runs, strict=True))
        note = f"every tensor {same} as plain" if way == "ours: merge" else ""
        rows.append([way, f"{size / 1e6:.1f}", f"{seconds:.2f}", f"{peak / 1e6:.0f}", note])
    report("RMU checkpoint", chosen, ["way", "MB on disk", "seconds", "peak MB", ""], rows)


if __name__ == "__main__":
    main()
