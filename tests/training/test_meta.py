"""The policy against torch's own distributions and on a bandit; online, search and replay on scripted scores.

By hand: one knob from 40 with factor 10 and z = 0.5 is 40·10^0.5; for z ~ N(0, 0.5²) log π(0) = −log(0.5 √(2π)).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.pdu import PDU
from unlearnctl.objectives.retain import NLL
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.rmu_cosine import RMUCosine
from unlearnctl.training.meta.knobs import hypervolume, knob_values, make_policy, turn
from unlearnctl.training.meta.online import Online
from unlearnctl.training.meta.policy import Action, Policy
from unlearnctl.training.meta.replay import Replay, read_schedule
from unlearnctl.training.meta.search import search
from unlearnctl.training.meta.settings import MetaSettings
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.validate import read


def policy(choices: int = 0, lr: float = 0.1, entropy: float = 0.0, seed: int = 0) -> Policy:
    return Policy({"alpha": 40.0}, 10.0, choices, lr, 0.5, entropy, 0.8, seed)


def cosine() -> RMUCosine:
    return RMUCosine([3, 4], "away", alpha=40.0, norm_anchor=0.0)


def test_the_centre_is_the_config_and_the_range_is_kept() -> None:
    p = policy()
    assert p.centre().knobs == {"alpha": 40.0}
    assert p.log_prob(p.centre()).item() == pytest.approx(-math.log(0.5 * math.sqrt(2 * math.pi)))
    values = [p.sample().knobs["alpha"] for _ in range(500)]
    assert min(values) >= 4.0 - 1e-9
    assert max(values) <= 400.0 + 1e-9
    assert p._action([0.5], None).knobs["alpha"] == pytest.approx(40 * math.sqrt(10))


def test_draws_are_the_seeds_and_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (policy(3, seed=s) for s in (0, 0, 1))
    drawn = [[p.sample() for _ in range(5)] for p in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_random_search_fills_the_range_evenly() -> None:
    p = policy(2)
    drawn = [p.evenly() for _ in range(2000)]
    z = torch.tensor([a.drawn["alpha"] for a in drawn])
    assert abs(z.mean().item()) < 0.05
    assert z.var().item() == pytest.approx(1 / 3, abs=0.03)
    assert sum(a.choice == 0 for a in drawn) == pytest.approx(1000, abs=100)


def test_update_is_reinforce_with_a_baseline() -> None:
    """⟨(r − b) ∇ log π⟩, with ∇_mean log N = (z − mean)/σ², times σ²: the natural gradient."""
    p = policy()
    p.baseline = 0.25
    actions = [Action({}, None, {"alpha": z}) for z in (0.5, -1.0)]
    p.update(actions, [1.0, 0.0])
    expected = -((1.0 - 0.25) * 0.5 + (0.0 - 0.25) * -1.0) / 2
    assert p.mean.grad is not None
    assert p.mean.grad.item() == pytest.approx(expected, rel=1e-5)
    assert p.baseline == pytest.approx(0.8 * 0.25 + 0.2 * 0.5)


def test_the_first_update_has_nothing_to_compare_a_single_reward_with() -> None:
    p = policy()
    p.update([p.sample()], [0.7])
    assert p.mean.item() == 0.0


def test_it_learns_a_bandit() -> None:
    """Reward peaks at alpha = 40·10^0.6 and at the second of three choices."""
    p = policy(3, lr=0.2)
    for _ in range(150):
        actions = [p.sample() for _ in range(8)]
        p.update(actions, [-abs(a.drawn["alpha"] - 0.6) + (a.choice == 1) for a in actions])
    assert p.mean.item() == pytest.approx(0.6, abs=0.15)
    assert p.record()["choices"][1] > 0.9
    assert p.record()["spread"]["alpha"] < 0.5


def test_entropy_keeps_the_spread() -> None:
    p = policy(entropy=1.0)
    for _ in range(5):
        p.update([p.centre()], [0.0])
    assert p.record()["spread"]["alpha"] > 0.5


def test_hypervolume_counts_from_the_reference_point() -> None:
    assert hypervolume(0.9, 0.8, (0.0, 0.0)) == pytest.approx(0.72)
    assert hypervolume(0.9, 0.8, (0.5, 0.6)) == pytest.approx(0.4 * 0.2)
    assert hypervolume(0.4, 0.8, (0.5, 0.0)) == 0.0


def test_online_rewards_add_up_to_the_final_hypervolume() -> None:
    objective, settings = cosine(), MetaSettings(knobs=["alpha"], layers=[3, [3, 4]])
    rows: list[dict] = []
    online = Online(objective, make_policy(objective, settings, 0), settings, rows.append)
    assert objective.alpha == 40.0
    assert objective.active == (3,)
    turned = []
    for step, scores in ((10, (0.1, 1.0)), (20, (0.8, 0.9)), (30, (0.9, 0.7))):
        turned.append((objective.alpha, objective.active))
        online.scored(step, *scores)
    assert sum(row["reward"] for row in rows) == pytest.approx(0.63)
    assert [(row["step"], row["until"]) for row in rows] == [(0, 10), (10, 20), (20, 30)]
    assert [row["knobs"]["alpha"] for row in rows] == [alpha for alpha, _ in turned]
    assert len({alpha for alpha, _ in turned}) == 3


def test_search_returns_the_best_and_begins_with_the_config() -> None:
    objective, settings = cosine(), MetaSettings(mode="search", knobs=["alpha"], episodes=20, group=4)
    rows: list[dict] = []
    seen: list[Action] = []

    def episode(action: Action) -> tuple[float, float]:
        seen.append(action)
        return 1 - abs(action.drawn["alpha"] - 0.4), 1.0

    best = search(make_policy(objective, settings, 0), settings, episode, rows.append)
    assert seen[0].knobs == {"alpha": 40.0}
    assert len(rows) == 20
    assert best == min(seen, key=lambda a: abs(a.drawn["alpha"] - 0.4))
    assert objective.alpha == 40.0


def test_random_search_never_learns() -> None:
    objective, settings = cosine(), MetaSettings(mode="random", knobs=["alpha"], episodes=9)
    learner = make_policy(objective, settings, 0)
    search(learner, settings, lambda a: (a.knobs["alpha"] / 400, 1.0), lambda row: None)
    assert learner.mean.item() == 0.0


def test_knobs_are_numbers_of_the_objective() -> None:
    npo = NPO(0.1, 1.0, 0.3, NLL())
    assert knob_values(npo, ["beta", "alpha"]) == {"beta": 0.1, "alpha": 0.3}
    turn(npo, Action({"beta": 0.2, "alpha": 1.0}), [])
    assert (npo.beta, npo.alpha) == (0.2, 1.0)
    with pytest.raises(UserError, match=r"^trainer\.meta\.knobs=alfa: unknown \(did you mean 'alpha'\?\)"):
        knob_values(npo, ["alfa"])
    with pytest.raises(UserError, match=r"^trainer\.meta\.knobs=norm_anchor: must be a positive number"):
        knob_values(cosine(), ["norm_anchor"])
    with pytest.raises(UserError, match=r"^trainer\.meta\.layers: this objective reads fixed layers"):
        turn(RMU(3, 1.0, 1.0), Action({}, 0), [(3,)])
    with pytest.raises(UserError, match=r"^objective\.layer=\[5\]: must be among \[3, 4\]"):
        cosine().read_at([5])


def test_a_knob_that_would_turn_nothing_is_refused() -> None:
    """PDU's alpha is only where its multiplier starts."""
    with pytest.raises(UserError, match=r"^trainer\.meta\.knobs"):
        knob_values(PDU(1.5, 1.0, 1.0, 1.0, NLL()), ["alpha"])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"mode": "onlin"}, r"trainer\.meta\.mode=onlin: unknown \(did you mean 'online'"),
        ({"knbs": {}}, r"trainer\.meta\.knbs: unknown key"),
        ({"factor": 1.0}, r"trainer\.meta\.factor=1\.0: must be a number, above 1"),
        ({"knobs": []}, r"trainer\.meta\.knobs=\[\]: must name numbers"),
        ({"episodes": 0}, r"trainer\.meta\.episodes=0"),
        ({"decay": 1.0}, r"trainer\.meta\.decay=1\.0"),
        ({"spread": 0.0}, r"trainer\.meta\.spread=0\.0"),
        ({"reference_point": [0.5]}, r"trainer\.meta\.reference_point=\[0\.5\]"),
        ({"mode": "replay"}, r"trainer\.meta\.replay=null: must be a run directory"),
        ({"replay": "x"}, r"trainer\.meta\.replay=x: must be a run directory with mode=replay, else null"),
    ],
)
def test_wrong_settings(change: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        read(MetaSettings, "trainer.meta", {"knobs": ["alpha"], **change})


def test_replay_turns_at_the_recorded_steps(tmp_path: Path) -> None:
    rows = [
        {"kind": "train", "step": 1},
        {"kind": "meta", "step": 0, "knobs": {"alpha": 1.5}, "choice": None},
        {"kind": "meta", "step": 4, "knobs": {"alpha": 7.0}, "choice": None},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    objective = cosine()
    settings = MetaSettings(mode="replay", replay=str(tmp_path))
    replay = Replay(objective, settings, read_schedule(tmp_path))
    seen = [objective.alpha]
    for step in range(1, 6):
        replay.after_step(step)
        seen.append(objective.alpha)
    assert seen == [1.5] * 4 + [7.0] * 2


def test_a_run_without_a_schedule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^trainer\.meta\.replay=.*: no readable metrics\.jsonl"):
        read_schedule(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n')
    with pytest.raises(UserError, match=r"^trainer\.meta\.replay=.*: that run has no learned schedule"):
        read_schedule(tmp_path)
