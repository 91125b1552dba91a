"""Search before a run trains: short episodes from the original weights."""

from __future__ import annotations

from collections.abc import Callable

from unlearnctl.training.meta.knobs import Log, hypervolume
from unlearnctl.training.meta.policy import Action, Policy
from unlearnctl.training.meta.settings import MetaSettings


def search(
    policy: Policy, settings: MetaSettings, episode: Callable[[Action], tuple[float, float]], log: Log
) -> Action:
    """Try actions in short runs from the original weights; returns the best. The first has the config's own values.

    Args:
        policy: the learner; with mode=random it is never updated, and actions are drawn evenly from the range.
        settings: `trainer.meta`.
        episode: trains with an action and returns (forgotten, retained).
        log: takes one row an episode.
    """
    best, best_volume = policy.centre(), -1.0
    group: list[tuple[Action, float]] = []
    for number in range(settings.episodes):
        draw = policy.evenly if settings.mode == "random" else policy.sample
        action = policy.centre() if number == 0 else draw()
        forgotten, retained = episode(action)
        volume = hypervolume(forgotten, retained, settings.reference_point)
        log_prob = policy.log_prob(action).item()
        group.append((action, volume))
        if len(group) == settings.group and settings.mode == "search":
            policy.update(*zip(*group, strict=True))
            group = []
        row = {
            "kind": "episode",
            "step": number,
            "steps": settings.episode_steps,
            **action.record(),
            "forgotten": forgotten,
            "retained": retained,
            "hypervolume": volume,
            "reward": volume,
            "log_prob": log_prob,
            **policy.record(),
        }
        log(row)
        if volume > best_volume:  # strictly: at equal scores the config's own values, which come first, stay
            best, best_volume = action, volume
    return best
