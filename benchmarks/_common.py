"""Share model shapes, alternating timing and the tables of RESULTS.md among all benchmarks."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unlearnctl.data.batch import Batch
from unlearnctl.models.skeleton import Skeleton, skeleton
from unlearnctl.results.provenance import hardware, provenance
from unlearnctl.utils.quiet import quiet_libraries

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True)
class Preset:
    """A Llama shape, the layer that is steered, and the batch of each side."""

    name: str
    hidden: int
    mlp: int
    blocks: int
    heads: int
    kv_heads: int
    vocabulary: int
    layer: int
    sequences: int
    tokens: int
    dtype: torch.dtype
    repeats: int
    results: Path = RESULTS
    data: Path | None = None  # of preset tofu: forget10.json and retain90.json

    @property
    def device(self) -> str:
        """Return the device: the large preset needs a GPU."""
        return "cuda" if self.name == "8b" else "cpu"

    def config(self) -> object:
        """Return the Hugging Face config."""
        return AutoConfig.for_model(
            "llama", hidden_size=self.hidden, intermediate_size=self.mlp, num_hidden_layers=self.blocks,
            num_attention_heads=self.heads, num_key_value_heads=self.kv_heads, vocab_size=self.vocabulary,
            max_position_embeddings=8192, rope_theta=5e5, tie_word_embeddings=False,
        )  # fmt: skip

    def model(self) -> PreTrainedModel:
        """Make a model with random weights that are the same every time."""
        torch.manual_seed(0)
        with torch.device(self.device):
            model = AutoModelForCausalLM.from_config(self.config(), dtype=self.dtype)
        return model.eval()

    def shape(self) -> Skeleton:
        """Return the names and shapes of the weights."""
        return skeleton(self.config())

    def batch(self, seed: int, corpus: str) -> Batch:
        """Make a batch of random full-length sequences."""
        ids = torch.randint(
            3,
            self.vocabulary,
            (self.sequences, self.tokens),
            generator=torch.Generator().manual_seed(seed),
        )
        ones = torch.ones_like(ids)
        count = ids.numel()
        whole = Batch(
            ids, ones, ids.clone(), ones.bool(), torch.arange(self.sequences),
            tokens=count, predictions=count - self.sequences, sequences=self.sequences, corpus=f"{corpus}/{seed}",
        )  # fmt: skip
        return whole.to(self.device)


PRESETS = {
    "tiny": Preset("tiny", 64, 224, 8, 4, 2, 512, 3, 4, 64, torch.float32, 5),
    "cpu": Preset("cpu", 512, 1792, 32, 8, 2, 32000, 7, 4, 256, torch.float32, 5),
    # SmolLM2-135M's shape; tofu has one global batch of real lengths
    "real": Preset("real", 576, 1536, 30, 9, 3, 49152, 7, 4, 256, torch.float32, 3),
    "tofu": Preset("tofu", 576, 1536, 30, 9, 3, 49152, 7, 32, 256, torch.float32, 2),
    "8b": Preset("8b", 4096, 14336, 32, 32, 8, 128256, 7, 4, 512, torch.bfloat16, 20),
}


def preset(description: str) -> Preset:
    """Read the preset from the command line; `--results` says where to append the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="cpu", help="shape and batch (default: cpu)")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="file to append to (default: RESULTS.md)"
    )
    parser.add_argument("--blocks", type=int, help="fewer blocks than the preset has, for a slow machine")
    parser.add_argument(
        "--data", type=Path, help="preset tofu: the folder of forget10.json and retain90.json"
    )
    args = parser.parse_args()
    chosen = PRESETS[args.preset]
    if chosen.name == "tofu" and not args.data:
        parser.error("--preset tofu needs --data FOLDER, with TOFU's forget10.json and retain90.json")
    return replace(chosen, results=args.results, data=args.data, blocks=args.blocks or chosen.blocks)


def apart(work: Callable[..., object], *args: object) -> tuple[object, float, int]:
    """Run `work` in a separate process; return its result, seconds, and peak memory above the start."""
    receive, send = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_send, args=(send, work, args))
    child.start()
    send.close()
    found = receive.recv()
    child.join()
    return found


def _send(send: Connection, work: Callable[..., object], args: tuple) -> None:
    quiet_libraries()
    PRESETS["tiny"].shape()  # imports for building a model do not count as work
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    start = time.perf_counter()
    result = work(*args)
    seconds = time.perf_counter() - start
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        # not getrusage: a child's figure starts at what its parent held
        status = Path("/proc/self/status").read_text()
        peak = 1024 * int(status.split("VmHWM:")[1].split()[0]) - pages * resource.getpagesize()
    send.send((result, seconds, peak))


def needs_gpu(chosen: Preset) -> bool:
    """Tell whether this machine cannot run the preset, and print why."""
    missing = chosen.device == "cuda" and not torch.cuda.is_available()
    if missing:
        print("preset 8b: needs a CUDA GPU; benchmarks/floor.py computes what it must cost at least")
    return missing


def alternate(
    ways: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Time each way, taking turns, after one unmeasured turn each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            _synchronise()
            start = clock()
            way()
            _synchronise()
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def row(name: str, seconds: Sequence[float], plain: Sequence[float], note: str = "") -> list[str]:
    """Return the median, the minimum and the speed-up over the plain way."""
    median, least = statistics.median(seconds), min(seconds)
    ratio = statistics.median(plain) / median
    return [name, f"{1000 * median:.1f}", f"{1000 * least:.1f}", f"{ratio:.2f}", note]


def report(title: str, chosen: Preset, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of a preset and append it to RESULTS.md."""
    detail = (
        f"{setting()}; "
        f"{chosen.blocks} blocks, hidden {chosen.hidden}, vocabulary {chosen.vocabulary}, layer {chosen.layer}, "
        f"batch {chosen.sequences} × {chosen.tokens}, {str(chosen.dtype).removeprefix('torch.')}"
    )
    append(chosen.results, f"{title}, preset {chosen.name}", detail, header, rows)


def setting() -> str:
    """Name machine, threads, versions and commit."""
    where = hardware()
    came = provenance("", 0)
    machine = ", ".join(where["gpus"]) or where["cpu"]
    versions = ", ".join(f"{name} {came['versions'][name]}" for name in ("torch", "transformers"))
    state = " with uncommitted changes" if came["dirty"] else ""
    return f"{machine}, {torch.get_num_threads()} threads, {versions}, commit {came['commit'][:10]}{state}"


def append(
    results: Path, title: str, detail: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Print a table and append it to a file of results."""
    lines = [
        f"### {title}",
        "",
        detail,
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(cells) + " |" for cells in rows),
        "",
    ]
    print("\n".join(lines))
    if not results.is_file():
        results.write_text(
            "# Measurements\n\nThe benchmarks append to this file, newest entries last.\n\n", encoding="utf-8"
        )
    with results.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
