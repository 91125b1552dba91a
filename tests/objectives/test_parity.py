"""Where a method differs from its authors' code or from the closest peer's (point E5; docs/methods.md says why).

Each test writes the other definition out as a loop over single numbers in float64, and says by how much ours differs
from it: by nothing where the sets of tokens are the same, and by those tokens alone where they are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.models.tiny import tiny_model
from unlearnctl.config.compose import composed
from unlearnctl.config.instantiate import build_objective
from unlearnctl.data.batch import Batch
from unlearnctl.data.rows import Row, collate
from unlearnctl.objectives.base import Outputs, View
from unlearnctl.objectives.pdu import PDU
from unlearnctl.objectives.retain import KL, NLL
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_adaptive import RMUAdaptive
from unlearnctl.objectives.simnpo import SimNPO
from unlearnctl.objectives.token_weights import Learned
from unlearnctl.objectives.undial import UNDIAL

V, D, CLOSE = 11, 6, 2e-5
RAGGED, EVEN = ((7, 3, 5), 9), ((6, 6, 6), 6)  # lengths, and the width that they are padded to


def batch(lengths: tuple[int, ...], prompt: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    rows = [
        Row(torch.randint(0, V, (n,), generator=generator).tolist(), prompt, i) for i, n in enumerate(lengths)
    ]
    counts = sum(n - prompt for n in lengths), sum(row.predictions for row in rows), len(rows)
    return collate(rows, 0, "right", *counts, 0)


def made(shape: tuple[tuple[int, ...], int], prompt: int = 0) -> tuple[View, Tensor, Tensor]:
    """A view whose padding holds numbers too, as a model's does; and both models' logits in float64."""
    lengths, _ = shape
    b = batch(lengths, prompt)
    generator = torch.Generator().manual_seed(1)
    size = (*b.input_ids.shape, V)
    z, z0 = (2 * torch.randn(size, generator=generator) for _ in range(2))
    return View(b, Outputs(logits=z), Outputs(logits=z0)), z.double(), z0.double()


def places(b: Batch, first: int = 1) -> list[tuple[int, int]]:
    """(row, t) of every token that counts, from t = `first` on."""
    return [
        (r, t)
        for r in range(len(b.input_ids))
        for t in range(first, b.input_ids.shape[1])
        if b.labels[r, t] >= 0
    ]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def kl(z: Tensor, z0: Tensor) -> float:
    p, q = z0.softmax(-1), z.softmax(-1)
    return sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q, strict=True))


def test_kl_is_over_predictions_and_the_peers_over_every_position() -> None:
    for shape, prompt in ((RAGGED, 2), (EVEN, 0)):
        view, z, z0 = made(shape, prompt)
        b = view.batch
        ours = mean([kl(z[r, t - 1], z0[r, t - 1]) for r, t in places(b)])
        assert KL()(view).item() == pytest.approx(ours, rel=CLOSE)
    # without padding and prompt, what is left is the last position, which predicts nothing
    every = [kl(z[r, t], z0[r, t]) for r in range(3) for t in range(6)]
    last = [kl(z[r, 5], z0[r, 5]) for r in range(3)]
    assert KL()(view).item() == pytest.approx((sum(every) - sum(last)) / 15, rel=CLOSE)


def undial(z: Tensor, z0: Tensor, token: int, beta: float) -> float:
    lowered = z0.clone()
    lowered[token] -= beta
    return -float((lowered.softmax(-1) * z.log_softmax(-1)).sum())


def test_undial_is_over_predictions_and_the_peers_over_every_position() -> None:
    for shape, prompt in ((RAGGED, 2), (EVEN, 0)):
        view, z, z0 = made(shape, prompt)
        ids = view.batch.input_ids
        ours = mean([undial(z[r, t - 1], z0[r, t - 1], int(ids[r, t]), 3.0) for r, t in places(view.batch)])
        term = UNDIAL(3.0, 1.0, 0.0, NLL()).forget_term(view).item()
        assert term == pytest.approx(ours, rel=CLOSE)
    every = [undial(z[r, t - 1], z0[r, t - 1], int(ids[r, t]), 3.0) for r in range(3) for t in range(1, 6)]
    assert term == pytest.approx(mean(every), rel=CLOSE)  # no padding, no prompt: the same


def test_pdu_reads_the_logits_that_predict_a_token_and_the_peer_those_after_it() -> None:
    view, z, _ = made(RAGGED, 2)
    flat = [[float((z[r, t].max() - z[r, t].mean()) ** 2) for t in range(z.shape[1])] for r in range(3)]
    ours = mean([flat[r][t - 1] for r, t in places(view.batch)])
    term = PDU(0.5, 1.0, 1.0, 1.0, NLL()).forget_term(view).item()
    assert term == pytest.approx(ours, rel=CLOSE)
    theirs = mean([flat[r][t] for r, t in places(view.batch, first=0)])
    assert abs(term - theirs) > 1e-3


def test_pdus_weight_waits_for_its_warm_up() -> None:
    """η = 2, ε = ½, warm-up of two steps: λ = 1, 1, then 1 + 2 · (¾ − ½) = 1.5 and 2."""
    objective = PDU(0.5, 2.0, 1.0, 1.0, NLL(), dual_warmup=2)
    seen = []
    for _ in range(4):
        objective.after_step({"retain": 0.75})
        seen.append(objective.multiplier.item())
    assert seen == pytest.approx([1.0, 1.0, 1.5, 2.0])


@pytest.mark.parametrize("prompt", [2, 0])
def test_simnpos_length_is_the_number_of_predictions(prompt: int) -> None:
    """The peer's is that of labels, which is one more where a text without prompt has a label on its first token; its
    δ per token is our γ: γ = βδ."""
    view, z, _ = made(RAGGED, prompt)
    b, beta, delta = view.batch, 4.5, 0.3
    logp = torch.zeros(b.labels.shape)
    for r, t in places(b):
        logp[r, t] = float(z[r, t - 1].log_softmax(-1)[b.input_ids[r, t]])
    view = View(b, Outputs(logprobs=logp))

    def loss(extra: int) -> float:
        total = 0.0
        for r in range(3):
            own = [float(logp[r, t]) for row, t in places(b) if row == r]
            x = beta * (-sum(own) / (len(own) + extra) - delta)
            total += 2 / beta * math.log1p(math.exp(-x))
        return total / 3

    term = SimNPO(beta, beta * delta, 0.125, 1.0, NLL()).forget_term(view).item()
    assert term == pytest.approx(loss(0), rel=CLOSE)
    labelled = int((b.labels[:, 0] >= 0).sum()) // 3
    assert labelled == (prompt == 0)
    assert (abs(term - loss(labelled)) > 1e-3) == (prompt == 0)


def hidden_view() -> tuple[View, Tensor, Tensor]:
    b = batch(RAGGED[0], 2)
    generator = torch.Generator().manual_seed(2)
    h, h0 = (torch.randn(*b.input_ids.shape, D, generator=generator) for _ in range(2))
    return View(b, Outputs({4: h}), Outputs({4: h0})), h.double(), h0.double()


@pytest.mark.parametrize("reduction", ["masked", "sequence", "all"])
def test_rmus_three_means(reduction: str) -> None:
    """A mean of tokens (ours), of sequence means (OpenUnlearning), of every position (the RMU authors)."""
    view, h, h0 = hidden_view()
    objective = RMU(4, 3.0, 10.0, reduction)
    objective.setup(D, 1, torch.Generator().manual_seed(7))
    target = 3.0 * objective.control_vector[0].double()
    rows, width = range(3), h.shape[1]
    chosen = {r: [t for row, t in places(view.batch, 0) if row == r] for r in rows}

    def reduce(value: Callable[[int, int], float]) -> float:
        if reduction == "all":
            return mean([value(r, t) for r in rows for t in range(width)])
        if reduction == "sequence":
            return mean([mean([value(r, t) for t in chosen[r]]) for r in rows])
        return mean([value(r, t) for r in rows for t in chosen[r]])

    def squares(x: Tensor) -> float:
        return sum(float(v) ** 2 for v in x) / D

    terms = objective(view, view).terms
    assert terms["forget"].item() == pytest.approx(reduce(lambda r, t: squares(h[r, t] - target)), rel=CLOSE)
    assert terms["retain"].item() == pytest.approx(
        reduce(lambda r, t: squares(h[r, t] - h0[r, t])), rel=CLOSE
    )
    adaptive = RMUAdaptive(4, 5.0, 10.0, "per_topic", reduction)
    adaptive.setup(D, 1, torch.Generator().manual_seed(7))
    adaptive.calibrate(view)
    norm = reduce(lambda r, t: math.sqrt(D * squares(h0[r, t])))
    assert adaptive.scale.item() == pytest.approx(norm, rel=CLOSE)


SCORER = {
    "every": 1, "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0, "clip": 1e9, "entropy": 0.0, "population": 3.0,
    "share": 0.2, "l2": 0.1, "shift": "own", "loss": "raw",
}  # fmt: skip


def test_atwus_scorer_takes_the_share_over_the_whole_batch_and_leaves_its_bias_free() -> None:
    """One step from w, b: −η times the gradient of `⟨(1 − g)ℓ⟩ + λ_pop(⟨1[g > ½]⟩ − b)² + λ_l2‖w‖²`, by hand."""
    b = batch(RAGGED[0], 2)
    generator = torch.Generator().manual_seed(3)
    final = torch.randn(*b.input_ids.shape, D, generator=generator)
    logp = torch.where(b.labels >= 0, -torch.rand(b.labels.shape, generator=generator), 0.0)
    view = View(b, Outputs(logprobs=logp, final=final))
    weights = Learned(**SCORER, decay_steps=None)  # type: ignore[arg-type]
    weights.setup(D)
    w, bias = torch.randn(D, generator=generator).double(), 0.3
    with torch.no_grad():
        weights.scorer.weight.copy_(w[None])
        weights.scorer.bias.fill_(bias)
    weights.observe(view)
    weights.after_step()
    found = []
    for r, t in places(b):
        h = final[r, t].double()  # as it stands: not divided by its root mean square
        g = 1 / (1 + math.exp(-float(h @ w) - bias))
        found.append((h, g, -float(logp[r, t])))
    n, share = len(found), mean([float(g > 0.5) for _, g, _ in found])
    slopes = [(h, g * (1 - g) * (-ell + 2 * 3.0 * (share - 0.2)) / n) for h, g, ell in found]
    step_w = sum((slope * h for h, slope in slopes), torch.zeros(D, dtype=torch.float64)) + 2 * 0.1 * w
    step_b = sum(slope for _, slope in slopes)
    assert weights.scorer.weight[0].tolist() == pytest.approx((w - 0.05 * step_w).tolist(), rel=CLOSE)
    assert weights.scorer.bias.item() == pytest.approx(bias - 0.05 * step_b, rel=CLOSE)


def test_atwus_rate_is_constant_where_it_does_not_decay() -> None:
    weights = Learned(**SCORER, decay_steps=None)  # type: ignore[arg-type]
    weights.setup(D)
    b = batch(RAGGED[0], 2)
    view = View(b, Outputs(logprobs=torch.zeros(b.labels.shape), final=torch.ones(*b.labels.shape, D)))
    for _ in range(3):
        weights.observe(view)
        weights.after_step()
    assert weights.optimizer.param_groups[0]["lr"] == 0.05


def test_circuit_breaking_reads_blocks_9_and_19_which_are_hidden_states_10_and_20() -> None:
    (cfg,) = composed(["model=zephyr_7b", "data=wmdp_bio", "objective=circuit_breaking"])
    assert build_objective(cfg.objective, blocks=32).layers == (9, 19)
    model, outs = tiny_model("llama").eval(), []
    handle = model.model.layers[2].register_forward_hook(
        lambda module, args, out: outs.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        states = model(torch.tensor([[3, 4, 5]]), output_hidden_states=True).hidden_states
    handle.remove()
    assert torch.equal(states[3], outs[0])
