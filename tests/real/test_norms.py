"""The first token of a published model is a sink from some block on, and the look at token norms finds that."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearnctl.data.streams import load_data
from unlearnctl.models.load import load_trunk
from unlearnctl.models.partial.decoder import Decoder
from unlearnctl.models.skeleton import skeleton
from unlearnctl.models.spec import ModelSpec
from unlearnctl.objectives.token_norms import TokenNorms
from unlearnctl.probes.norms import token_norms

pytestmark = pytest.mark.real
LAYERS = (7, 11)


def test_smollm2_has_a_sink_after_block_11_and_none_after_block_7(data: Path, smollm2: Path) -> None:
    spec = ModelSpec.from_config({"name": "smollm2", "path": str(smollm2), "dtype": "float32"})
    texts = {
        "name": "arc", "max_length": 64, "padding_side": "right", "shuffle": True,
        "forget": {"path": str(data / "arc/bio_corpus.jsonl")},
        "retain": {"path": str(data / "arc/phys_corpus.jsonl")},
    }  # fmt: skip
    decoder = Decoder(load_trunk(spec, max(LAYERS) + 1), skeleton(spec.config).blocks)
    norms = token_norms(decoder, load_data(texts, spec.tokenizer(), seed=0), LAYERS)
    assert norms.median.tolist() == pytest.approx([110, 139], rel=0.1)
    assert norms.by_position[1, 0] > 100 * norms.median[1]
    held = TokenNorms(LAYERS, 10.0)
    held.take_norms(norms)
    assert held.sink_positions.tolist() == [[False] * 4, [True, False, False, False]]
