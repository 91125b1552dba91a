"""A published model, from its file to an export that plain transformers opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import succeed

pytestmark = pytest.mark.real


def test_a_gguf_file_is_trained_and_exported(data: Path, smollm2: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    succeed(
        "train", "objective=rmu", "objective.layer=7", "model=local", f"model.path={smollm2}", "model.dtype=float32",
        "data=local", f"data.forget.path={data}/arc/bio_corpus.jsonl", f"data.retain.path={data}/arc/phys_corpus.jsonl",
        "data.max_length=64", "trainer.steps=2", "trainer.global_batch=2", "trainer.monitor.every=0",
        "trainer.optimizer.lr=1e-2", "eval=[]", f"output_dir={tmp_path}", "name=smol", "run=a",
    )  # fmt: skip
    run, folder = tmp_path / "train/smol/a", tmp_path / "exported"
    assert json.loads((run / "results.json").read_text())["status"] == "completed"
    succeed("export", str(run), f"to={folder}")
    kwargs = {"dtype": torch.float32}
    before = AutoModelForCausalLM.from_pretrained(smollm2.parent, gguf_file=smollm2.name, **kwargs)
    after = AutoModelForCausalLM.from_pretrained(folder, **kwargs)
    moved = {
        name
        for (name, a), (_, b) in zip(before.named_parameters(), after.named_parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert moved == {f"model.layers.{block}.mlp.down_proj.weight" for block in (5, 6, 7)}
    text = "A real sentence."
    assert AutoTokenizer.from_pretrained(folder)(text).input_ids


@pytest.mark.full
def test_the_shipped_recipe_forgets_school_biology_and_keeps_physics(
    data: Path, smollm2: Path, tmp_path: Path
) -> None:
    """The command of docs/real-models.md, scored by plain transformers on 16 questions of each subject.

    Measured with this seed on all test questions: biology -19.2 to -40.3 nats, physics -18.4 to -18.5.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from benchmarks.real_scores import score_questions

    succeed(
        "train", "objective=rmu_cosine", "model=smollm2_135m", "data=arc_biology", f"model.path={smollm2.parent}",
        f"data.forget.path={data}/arc/bio_corpus.jsonl", f"data.retain.path={data}/arc/phys_corpus.jsonl",
        "eval=[]", f"output_dir={tmp_path}", "name=arc", "run=a",
    )  # fmt: skip
    succeed("export", str(tmp_path / "train/arc/a"), f"to={tmp_path / 'forgot'}")
    folders = {"before": (smollm2.parent, {"gguf_file": smollm2.name}), "after": (tmp_path / "forgot", {})}
    answer = {}  # of the right choices, mean log-likelihood in nats
    for when, (folder, kwargs) in folders.items():
        tokenizer = AutoTokenizer.from_pretrained(folder, **kwargs)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **kwargs).eval()
        for topic in ("bio", "phys"):
            file = data / f"arc/arc_{topic}_dev.jsonl"
            answer[topic, when] = score_questions(model, tokenizer, file, 16)["gold_logprob"]
    assert answer["bio", "after"] < answer["bio", "before"] - 5
    assert answer["phys", "after"] > answer["phys", "before"] - 2
