"""Count what a run will load, train and write, before it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnctl.models.gguf import source_of
from unlearnctl.models.partial.tapped import can_remember
from unlearnctl.objectives.base import union
from unlearnctl.training.rate import relative_rate

if TYPE_CHECKING:
    from unlearnctl.unlearning.prepare import Prepared

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Plan:
    """Holds bytes and counts; activations are an estimate, the rest is exact."""

    blocks_loaded: int
    blocks_total: int
    layers: tuple[int, ...]  # blocks whose output the objective reads
    weights: int  # bytes held while training; a prefix that is cached is let go before
    reference: int  # bytes of the original trainable tensors
    gradients: int
    optimizer: int  # AdamW: two moments
    activations: int  # bytes, estimated
    checkpoint: int  # bytes on disk
    trained_tensors: int
    trained_parameters: int
    total_parameters: int


def make_plan(ready: Prepared, tokens: int, slices: int = 1) -> Plan:
    """Count for one process.

    `tokens` is the most that one side of a micro-batch holds; the model is cut into `slices`.
    """
    width = BYTES[ready.spec.dtype]
    shape = ready.skeleton
    loaded = ready.top + 1 if ready.trunk else shape.num_blocks
    released = ready.lowest if ready.settings.prefix_cache != "none" else 0
    kept = {
        name for name in shape.shapes if not ready.trunk or _in_trunk(ready, name, range(released, loaded))
    }
    changed = sum(prod(shape.shapes[name]) for name in ready.trainable)
    lora = ready.lora
    trained = sum(lora.parameters(shape.shapes[name]) for name in ready.trainable) if lora else changed
    masters = _holds_masters(ready)
    each = BYTES["float32"] if lora or masters else width
    needs = ready.objective.needs()
    reference = any(need.reference for need in needs.values())
    reference &= not can_remember(needs, hidden=ready.settings.prefix_cache != "none")
    return Plan(
        blocks_loaded=loaded,
        blocks_total=shape.num_blocks,
        layers=union(list(needs.values())).layers,
        weights=(shape.count(kept) * width + trained * (each if lora else each - width)) // slices,
        reference=trained * (each if lora else width) // slices if reference else 0,
        gradients=trained * each // slices,
        optimizer=2 * trained * each // slices,
        # Each side's pass keeps, until the backward pass, what it rounded the masters to.
        activations=_activations(ready, tokens, width) + (len(needs) * trained * width if masters else 0),
        checkpoint=changed * width,
        trained_tensors=len(ready.trainable),
        trained_parameters=trained,
        total_parameters=shape.count(),
    )


def _holds_masters(ready: Prepared) -> bool:
    """Tell whether what trains is held in float32 and computed with in the model's dtype; adapters are float32."""
    narrow = BYTES[ready.spec.dtype] < BYTES["float32"]
    return narrow and ready.settings.master_weights == "auto" and not ready.lora


def _in_trunk(ready: Prepared, name: str, held: range) -> bool:
    block = ready.skeleton.block_of(name)
    return block in held if block is not None else not name.startswith(("lm_head", "embed_out"))


def _activations(ready: Prepared, tokens: int, width: int) -> int:
    # Saved for the backward pass, per token and block that trains: about 16 vectors of the hidden size and
    # 3 of the MLP's; where logits are read, one [tokens, V] in float32 for each side.
    shape = ready.skeleton
    first = max(ready.lowest, 0)
    outputs = (shape.shapes[n][-2:] for b in range(shape.num_blocks) for n in shape.mlp_outputs(b))
    mlp = max((prod(s) // shape.hidden_size for s in outputs), default=0)
    per_block = tokens * (16 * shape.hidden_size + 3 * mlp) * width
    needs = ready.objective.needs().values()
    vocabulary = max(s[0] for s in shape.shapes.values())
    logits = sum(tokens * vocabulary * 4 for need in needs if need.head)
    return len(needs) * (ready.top + 1 - first) * per_block + logits


def show_plan(ready: Prepared, plan: Plan, data: Sequence[tuple[str, str]] = ()) -> None:
    """Print the plan as a table, `data` below it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Plan: {type(ready.objective).__name__} on {ready.spec.name}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for key, value in [*plan_rows(ready, plan), *data]:
        table.add_row(key, value)
    Console().print(table)


def plan_rows(ready: Prepared, plan: Plan) -> list[tuple[str, str]]:
    """Return the label and the value of each line of the plan."""
    s = ready.settings
    first, *_, last = [*ready.trainable[:1], *ready.trainable[-1:]]
    names = first if len(ready.trainable) == 1 else f"{first} … {last}"
    names += f" (LoRA of rank {ready.lora.rank}{_left_out(ready)})" if ready.lora else ""
    trained = (
        f"{plan.trained_tensors} tensors, {plan.trained_parameters:,} of {plan.total_parameters:,} parameters"
    )
    loaded = f"{plan.blocks_loaded} of {plan.blocks_total}{' (trunk; no LM head)' if ready.trunk else ''}"
    reference = "the original trainable tensors" if plan.reference else "its outputs are kept instead"
    masters = ", trained tensors in float32" if _holds_masters(ready) else ""
    held = plan.weights + plan.reference + plan.gradients + plan.optimizer
    return [
        ("trained", trained),
        ("", names),
        *([("layers read", ", ".join(map(str, plan.layers)))] if plan.layers else []),
        ("blocks loaded", f"{loaded}; frozen prefix: {max(ready.lowest, 0)} blocks, run once"),
        ("weights", size(plan.weights) + f" in {ready.spec.dtype}{masters}"),
        *([("", f"dequantised from {packed}")] if (packed := source_of(Path(ready.spec.path))) else []),
        ("reference", f"{size(plan.reference)} ({reference})"),
        ("gradients", size(plan.gradients)),
        ("optimiser", size(plan.optimizer)),
        ("activations", f"about {size(plan.activations)} a micro-batch"),
        ("held in training", size(held) + " and activations"),
        ("checkpoint", size(plan.checkpoint) + " on disk"),
        ("learning rate", _rate(ready)),
        ("steps", f"{s.steps} × {s.global_batch} sequences on each side"),
        ("suites", ", ".join(ready.suites) or "none"),
    ]


def _rate(ready: Prepared) -> str:
    relative = relative_rate(ready.settings, ready.objective.needs())
    return f"{relative:g} × the RMS of what trains" if relative else f"{ready.settings.optimizer['lr']:g}"


def _left_out(ready: Prepared) -> str:
    """Mention the stacks of expert matrices that get no adapter and so do not change."""
    shape = ready.skeleton
    stacks = [
        n
        for n, s in shape.shapes.items()
        if len(s) > 2 and ".experts." in n and shape.block_of(n) is not None
    ]
    return f"; {len(stacks)} stacks of experts stay as they are" if stacks else ""


def size(count: int) -> str:
    """Format bytes: `1.42 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.2f} {unit}"
    return f"{count} B"
