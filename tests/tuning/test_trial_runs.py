"""What a trial asks, at its looks and at its end."""

from __future__ import annotations

from omegaconf import OmegaConf

from unlearnctl.tuning.trial_runs import fewer


def test_a_look_asks_fewer_items_where_a_suite_has_a_limit() -> None:
    suites = OmegaConf.create(
        {"mc": {"limit": None}, "tofu": {"limit": 100}, "few": {"limit": 10}, "smoke": {"n": 3}}
    )
    assert fewer(suites, 48) == {"mc": {"limit": 48}, "tofu": {"limit": 48}}
    assert fewer(suites, None) == {}
