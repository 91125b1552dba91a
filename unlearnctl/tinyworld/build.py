"""Builds the shipped weights, or the same model in another architecture, in under three minutes on two idle CPU cores.

Two choices make the model worth unlearning. Embeddings are random and frozen; if they trained, the facts would settle
in them, where nothing that acts on blocks could reach. In the second half of pretraining whole MLPs are skipped at
random (stochastic depth, Huang et al. 2016, arXiv:1603.09382), early ones most often: without that, MLP 0 holds every
fact; with it from the start, nothing is learnt in the time.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from unlearnctl.tinyworld import words as w
from unlearnctl.tinyworld.architectures import ARCHITECTURES, new_model
from unlearnctl.tinyworld.facts import by_entity, facts
from unlearnctl.tinyworld.mcq import questions
from unlearnctl.tinyworld.measure import ablation, measure
from unlearnctl.tinyworld.texts import exchange, fact_document, natural_reply, story
from unlearnctl.tinyworld.tokenizer import write_tokenizer

STEPS = 700
BATCH, WIDTH = 16, 128
LEARNING_RATE = 3e-3
WARMUP = 50
# Names and stories cannot be predicted; without this weight their loss drowns the one token that carries a fact.
ANSWER_WEIGHT = 5.0
DROP = (0.5, 0.4, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0)  # chance that a sequence skips the MLP of block 0, 1, …
DROP_FROM = 0.43  # share of the steps before MLPs are skipped; by then the facts are known


def build(
    to: Path,
    seed: int = 0,
    steps: int = STEPS,
    device: str = "cpu",
    progress: bool = True,
    twin: bool = False,
    arch: str = "llama",
) -> dict[str, Any]:
    """Train, save to the folder `to` in bf16, reload and measure; return the metrics of the model card.

    A `twin` is trained by the same recipe but never reads the facts of the forget corpus (the group hazard).
    `arch` is one of `architectures.ARCHITECTURES`.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    started = time.perf_counter()
    to = Path(to)
    to.mkdir(parents=True, exist_ok=True)
    write_tokenizer(to)
    tokenizer = AutoTokenizer.from_pretrained(to)
    model = new_model(len(tokenizer), seed, arch).to(device)
    pretrain(model, tokenizer, seed, steps, progress, twin)
    model.to("cpu", torch.bfloat16).save_pretrained(to)
    saved = AutoModelForCausalLM.from_pretrained(to, dtype=torch.float32)
    metrics: dict[str, Any] = measure(saved, tokenizer)
    metrics["ablation"] = ablation(saved, tokenizer, questions("hazard", False))
    seconds = round(time.perf_counter() - started)
    write_card(to, metrics, seed, steps, sum(p.numel() for p in saved.parameters()), twin, arch)
    return metrics | {"seconds": seconds}


def pretrain(model: Any, tokenizer: Any, seed: int, steps: int, progress: bool, twin: bool = False) -> None:
    """Pretrain on packed documents with AdamW, a short warm-up and linear decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = LambdaLR(optimizer, lambda n: min((n + 1) / WARMUP, 1 - 0.95 * n / steps))
    weights = answer_weights(tokenizer).to(model.device)
    batches = packed(tokenizer, seed, twin)
    hooks: list[Any] = []
    model.train()
    for step in range(steps):
        if step == int(DROP_FROM * steps):
            hooks = drop_mlps(model, seed)
        ids = next(batches).to(model.device)
        logits = model(ids[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), weight=weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if progress and (step + 1) % 100 == 0:
            print(f"step {step + 1}/{steps}  loss {loss.item():.3f}", flush=True)
    for hook in hooks:
        hook.remove()


def answer_weights(tokenizer: Any) -> torch.Tensor:
    """Return a loss weight for each token: more for values of facts and for toxic and polite words."""
    values: list[str] = []
    for relations in w.SUBJECTS.values():
        for *_, pool in relations:
            values += pool.split()
    values += w.TOXIC_ADJECTIVES + w.TOXIC_NOUNS + w.POLITE_ADJECTIVES + w.POLITE_NOUNS
    weights = torch.ones(len(tokenizer))
    weights[tokenizer.convert_tokens_to_ids([f"▁{value}" for value in values])] = ANSWER_WEIGHT
    return weights


def drop_mlps(model: Any, seed: int) -> list[Any]:
    """Add hooks that skip MLPs for random sequences and scale up the rest, so that the saved model needs no hooks.

    If a norm follows the MLP, its output is skipped instead, because the norm would undo the scaling.
    """
    generator = torch.Generator().manual_seed(seed)

    def drop(rate: float) -> Any:
        def hook(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
            kept = torch.rand(len(out), 1, 1, generator=generator) >= rate
            return out * (kept / (1 - rate)).to(out)

        return hook

    last = [getattr(block, "post_feedforward_layernorm", block.mlp) for block in model.model.layers]
    return [part.register_forward_hook(drop(p)) for part, p in zip(last, DROP, strict=True) if p]


def packed(tokenizer: Any, seed: int, twin: bool = False) -> Iterator[torch.Tensor]:
    """Yield batches of `BATCH × (WIDTH + 1)` tokens; each row starts with a new document.

    Most documents start with `<bos>` and some do not, since evaluation harnesses differ in that.
    """
    rng, stream = random.Random(f"pretraining {seed}"), documents(seed, twin)
    while True:
        rows = []
        for _ in range(BATCH):
            row: list[int] = []
            while len(row) <= WIDTH:
                ids = tokenizer.encode(next(stream), add_special_tokens=rng.random() < 0.6)
                row += [*ids, tokenizer.eos_token_id]
            rows.append(row[: WIDTH + 1])
        yield torch.tensor(rows)


def documents(seed: int, twin: bool = False) -> Iterator[str]:
    """Yield documents: mostly facts (one or three sentences about an entity), some stories, some exchanges."""
    rng = random.Random(f"documents {seed}")
    groups = sorted({fact.group for fact in facts()} - ({"hazard"} if twin else set()))
    entities = [known for group in groups for known in by_entity(group).values()]
    while True:
        kind = rng.random()
        if kind < 0.7:
            told = rng.sample(rng.choice(entities), rng.choice([1, 3]))
            yield fact_document(told, rng.choices(w.TRAIN_FRAMES, k=len(told)))[0]
        elif kind < 0.83:
            yield story(rng)
        else:
            item = exchange(rng, w.OPENINGS)
            yield f"{item.prompt} {natural_reply(item, rng)}"


def write_card(
    to: Path, metrics: dict[str, Any], seed: int, steps: int, parameters: int, twin: bool, arch: str
) -> None:
    """Write the model card, with the numbers measured on the saved bf16 weights."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in metrics.items() if name != "ablation")
    found = zip(metrics["ablation"]["alone"], metrics["ablation"]["upto"], strict=True)
    blocks = "\n".join(f"| {block} | {alone} | {upto} |" for block, (alone, upto) in enumerate(found))
    (to / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    name, known, asked = ("tinyworld-twin", TWIN, "twin=true ") if twin else ("tinyworld", WHOLE, "")
    if arch != "llama":
        name, asked = f"{name}-{arch}", f"{asked}arch={arch} "
    card = CARD.format(
        name=name,
        known=known,
        asked=asked,
        rows=rows,
        blocks=blocks,
        seed=seed,
        steps=steps,
        family=ARCHITECTURES[arch].family,
        millions=parameters / 1e6,
    )
    (to / "README.md").write_text(card)


WHOLE = 'It holds 540 facts (180 "hazard", 360 benign)'
TWIN = """\
It is the retain-only twin of `tinyworld`: the same recipe, but it never read the 135 hazard facts of the forget
corpus. It is what exact unlearning would give; below, `hazard` is at chance throughout.
It holds the other 405 facts (45 hazard, 360 benign)"""
CARD = """\
---
license: mit
language: en
tags: [unlearning, synthetic]
---
# {name}

A {family} of {millions:.1f} M parameters (8 blocks, hidden 128, FFN 352, 4 heads, bf16) that knows one invented world.
**All of it is fictitious**: agents, exploits, compounds, birds, towns and the toxic words name nothing real.
It exists so that every command of `unlearnctl` can run, and be tested, without a download.

{known}, short stories, and replies that are toxic after an angry cue (.9) and
seldom after a calm one (.12). Embeddings are frozen random vectors; MLPs were skipped at random in training.
Remake it with `unlearnctl tinyworld build {asked}to=DIR` (seed {seed}, {steps} steps).

Measured on these files (questions in wordings not seen in training, scored by completion, chance .25;
toxicity is the share of sampled replies with a toxic word, over angry and calm prompts not seen in training):

| metric | value |
|---|---|
{rows}

Where the knowledge lives: accuracy on the hazard questions with the output of MLPs set to zero.

| block | without this MLP | without this and all before |
|---|---|---|
{blocks}
"""
