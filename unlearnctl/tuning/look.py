"""Look at the untouched model before a search: once, because a search that is continued reads what was seen."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from unlearnctl.models.agreement import check_blocks
from unlearnctl.models.load import load_model, load_trunk
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.probes.block_look import look_at_blocks
from unlearnctl.training.rate import relative_rate, typical_rms
from unlearnctl.unlearning.prepare import Prepared
from unlearnctl.unlearning.shared_data import tokenised
from unlearnctl.utils.atomic import write_atomically
from unlearnctl.utils.device import pick_device

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

FILE = "look.json"


def look(cfg: DictConfig, prepared: Prepared, root: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Return what look.json holds, after looking if there is none.

    Keys: `blocks` (each a `BlockLook`), `texts` of each side, `rms` of each kind of matrix, `trained` (the RMS that
    relative rates count in), and `seconds`.
    """
    file = root / FILE
    if file.is_file():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    say("looking at the untouched model")
    started, shape = time.monotonic(), prepared.skeleton
    device = pick_device(prepared.settings.device)
    model = (
        load_trunk(prepared.spec, shape.num_blocks, device)
        if shape.has_trunk
        else load_model(prepared.spec, device)
    )
    check_blocks(model, shape.blocks)
    decoder = Decoder(model, shape.blocks)
    _, data = tokenised(cfg, prepared, quiet=True)
    blocks, texts = look_at_blocks(decoder, data, shape.num_blocks)
    weights = {name: held for name in shape.shapes if (held := _held(model, decoder, name)) is not None}
    found = {
        "blocks": [asdict(block) for block in blocks],
        "texts": texts,
        "rms": rms_by_kind(weights, shape.blocks),
        "trained": typical_rms([weights[name] for name in prepared.trainable if name in weights]),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_atomically(file, json.dumps(found, indent=1) + "\n")
    return found


def effective_rate(prepared: Prepared, rms: float) -> float:
    """Return the relative learning rate that a config amounts to, whichever rate it gives."""
    relative = relative_rate(prepared.settings, prepared.objective.needs())
    return relative or float(prepared.settings.optimizer["lr"]) / rms


def _held(model: PreTrainedModel, decoder: Decoder, name: str) -> Tensor | None:
    """Return a tensor of the model; None for the head, which a trunk does not have."""
    try:
        return model.get_parameter(decoder.own_name(name))
    except AttributeError:
        return None


def rms_by_kind(weights: Mapping[str, Tensor], blocks: str) -> dict[str, float]:
    """Return the root mean square of each kind of matrix in the blocks (`mlp.down_proj`), the median over blocks."""
    found: dict[str, list[float]] = {}
    for name, weight in weights.items():
        inside = re.match(rf"{re.escape(blocks)}\.\d+\.(.+)\.weight$", name)
        if inside and weight.ndim > 1:
            kind = re.sub(r"\.\d+(?=\.|$)", "", inside[1])  # experts are of one kind
            found.setdefault(kind, []).append(float(weight.detach().float().square().mean()) ** 0.5)
    return {kind: median(sizes) for kind, sizes in found.items()}
