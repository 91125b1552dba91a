"""Models whose tensors have other names on the disk than in memory: every verb, and each gives the run's own scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.command import QUICK, succeed
from unlearnctl.tinyworld import model_dir

KINDS = {
    "gpt_neox": {},
    "qwen2_moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "num_key_value_heads": 2,
        "shared_expert_intermediate_size": 16,
    },
}  # fmt: skip
SMOKE = ("eval=[smoke]", "device=cpu")
REPAIR = ("repair=task_arithmetic", "strength=0", "select=null", "sequences=4", "batch_size=2", *SMOKE)


def build(kind: str, folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_dir("weights"))
    config = AutoConfig.for_model(
        kind, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=len(tokenizer), max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **KINDS[kind],
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def scores(folder: str) -> dict[str, float]:
    after = json.loads((Path(folder) / "results.json").read_text())["after"]["smoke"]
    return {name: metric["value"] for name, metric in after.items()}


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_every_verb_means_the_same_tensors(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build(kind, Path("base"))
    base = ("model=local", "model.path=base", "model.dtype=float32")
    trained = succeed("train", *QUICK, *base, "objective=npo", "trainer.optimizer.lr=1e-2", "name=x", "run=a")
    own = scores(trained.run_dir)
    succeed("export", f"run={trained.run_dir}", "to=out")
    out = succeed("eval", "model=local", "model.path=out", "model.dtype=float32", *SMOKE, "run=e")
    assert scores(out.run_dir) == own
    attack = ("attack", f"run_dir={trained.run_dir}", "attack=[quantize]", "attack.quantize.bits=[8]", *SMOKE)
    assert scores(succeed(*attack, "run=t").run_dir) == own
    repaired = succeed("repair", f"run_dir={trained.run_dir}", *REPAIR, "run=r")
    assert scores(repaired.run_dir) == own
    pair = ("repair", *base, "unlearned=out", "data=tinyworld_hazard", *REPAIR, "run=p")
    assert scores(succeed(*pair).run_dir) == own
    succeed("export", f"run={repaired.run_dir}", "to=again")
    again = succeed("eval", "model=local", "model.path=again", "model.dtype=float32", *SMOKE, "run=g")
    assert scores(again.run_dir) == own
