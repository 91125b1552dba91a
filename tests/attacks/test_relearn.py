"""Relearning is plain finetuning on the corpora alone, ends where it began, and never sees what is asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.attacks.conftest import BLOCKS, make_target, weights
from tests.built import built
from tests.models.tiny import make_batch
from unlearnctl.attacks.base import Target
from unlearnctl.attacks.relearn import Relearn, nll, trained
from unlearnctl.data import text_store
from unlearnctl.tinyworld import corpora, mcq
from unlearnctl.tinyworld.facts import attack_half, facts
from unlearnctl.utils.errors import UserError


def make(path: str, **more: Any) -> Relearn:
    return Relearn({"a": {"path": path}}, **{"lrs": [1e-2], "steps": [1, 3], "batch_size": 4, **more})


def curve(attack: Relearn, target: Target) -> list[tuple[dict, dict]]:
    attack.validate(target.tokenizer, BLOCKS)
    return [(dict(v.settings), weights(target)) for v in attack.variants(target)]


def test_everything_trains_and_comes_back(target: Target, questions: str) -> None:
    before = weights(target)
    found = curve(make(questions, lrs=[1e-3, 1e-2]), target)
    assert [s for s, _ in found] == [
        {"corpus": "a", "lr": lr, "step": step} for lr in (1e-3, 1e-2) for step in (1, 3)
    ]
    for _, during in found:
        assert all(not torch.equal(during[n], before[n]) for n in before)
    assert all(torch.equal(p, before[n]) for n, p in target.model.named_parameters())


def test_embeddings_stay_frozen_if_asked(questions: str) -> None:
    for architecture in ("llama", "qwen2"):  # qwen2's are tied
        target = make_target(architecture)
        before = weights(target)
        ((_, during),) = curve(make(questions, steps=[1], frozen_embeddings=True), target)
        same = {n for n in before if torch.equal(during[n], before[n])}
        assert same == {n for n in before if "embed_tokens" in n or "lm_head" in n}
        assert same.isdisjoint(trained(target.model, True))


def test_it_is_adamw_on_the_mean_nll_of_hugging_face(target: Target, questions: str) -> None:
    attack = make(questions, steps=[2])
    attack.validate(target.tokenizer, BLOCKS)
    batches = [attack._batch(target, "a", step) for step in (1, 2)]
    ((_, during),) = curve(attack, target)
    model = make_target("llama").model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for batch in batches:
        model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(during[name], parameter.detach(), atol=1e-5, rtol=1e-4)


def test_loss_falls_and_padding_does_not_count(target: Target) -> None:
    batch = make_batch()
    model = target.model
    naive = torch.cat(
        [
            -model(row[mask.bool()][None])
            .logits[0, :-1]
            .log_softmax(-1)
            .gather(1, row[mask.bool()][1:, None])
            for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
        ]
    ).mean()
    assert nll(model, batch).item() == pytest.approx(naive.item(), rel=1e-5)


def test_the_same_seed_gives_the_same_weights(target: Target, questions: str) -> None:
    runs = [curve(make(questions), target)[-1][1] for _ in range(2)]
    assert all(torch.equal(runs[0][n], runs[1][n]) for n in runs[0])


def test_small_steps_are_not_lost_in_bfloat16(questions: str) -> None:
    """Without float32 masters an update below 1/256 of a weight rounds to nothing at every single step."""
    target = make_target("llama")
    target.model.to(torch.bfloat16)
    before = weights(target)
    ((_, during),) = curve(make(questions, lrs=[2e-5], steps=[40]), target)
    name = "model.layers.0.mlp.up_proj.weight"
    large = before[name].abs() > 0.05  # one bfloat16 step is above 1e-4 here, five updates of 2e-5
    assert (during[name] != before[name])[large].float().mean() > 0.3
    assert during[name].dtype == torch.bfloat16


def test_long_training_says_where_it_is(
    target: Target, questions: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(text_store, "EVERY", 0.0)
    curve(make(questions), target)
    assert "relearn: a, lr 0.01: step 2 of 3\n" in capsys.readouterr().out


def test_no_entity_is_both_in_the_attack_and_in_the_questions() -> None:
    told = {row["entity"] for row in corpora.attack_rows()}
    assert told == attack_half()
    texts = " ".join([*(r["text"] for r in corpora.attack_rows()), *corpora.stories()["attack"]])
    asked = mcq.half_questions(attacked=False) + mcq.questions("hazard_unseen", False)
    names = {f.entity for f in facts() if any(f.entity in row["question"] for row in asked)}
    reported = {f.entity for f in facts() if f.group in ("hazard", "hazard_unseen") and not f.val}
    assert names == reported - told
    assert not any(name in texts for name in names)
    assert not names & told
    assert not told & {row["entity"] for row in corpora.held_out_rows()}
    stems = {row["stem"] for row in corpora.attack_rows()} | {q["question"] for q in mcq.half_questions(True)}
    assert not stems & {row["question"] for row in asked}


def test_either_half_has_every_value() -> None:
    """Otherwise the values alone would say something about the other half."""
    for half in (True, False):
        mine = {f.value for f in facts() if f.group == "hazard" and (f.entity in attack_half()) == half}
        assert len(mine) == 45


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lrs": []}, r"^attack\.relearn\.lrs=\[\]: must be a list of numbers, each above 0, not empty"),
        ({"lrs": [0]}, r"^attack\.relearn\.lrs=\[0\]: must be a list of numbers, each above 0"),
        ({"lrs": [float("nan")]}, r"^attack\.relearn\.lrs=\[nan\]: must be a finite number"),
        ({"steps": [5, 3]}, r"^attack\.relearn\.steps=\[5, 3\]: must increase"),
        (
            {"steps": [1.5]},
            r"^attack\.relearn\.steps=\[1\.5\]: must be a list of whole numbers, each 1 or more",
        ),
        ({"max_length": 1}, r"^attack\.relearn\.max_length=1: must be a whole number of tokens"),
    ],
)
def test_mistakes(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        built("attack.relearn", Relearn, **{"corpora": {"a": {}}, "lrs": [1e-3], "steps": [1], **change})


def test_no_corpus() -> None:
    with pytest.raises(UserError, match=r"^attack\.relearn\.corpora=\{\}: must be a mapping, not empty"):
        built("attack.relearn", Relearn, corpora={}, lrs=[1e-3], steps=[1])
    attack = Relearn({"a": None}, [1e-3], [1])
    with pytest.raises(UserError, match=r"^attack\.relearn\.corpora\.a=null: must be a corpus"):
        attack.validate(make_target("llama").tokenizer, BLOCKS)
