"""Rows on the machine: when they are due, and what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.test_trackers import TRAIN, read_rows
from unlearnctl.config.trackers import make_trackers
from unlearnctl.tracking.system import SystemMeter
from unlearnctl.utils.errors import UserError


def test_a_row_only_when_it_is_due() -> None:
    meter = SystemMeter(every=3600)
    assert meter.due() is None
    meter.last -= 3600
    row = meter.due()
    assert row
    assert row["kind"] == "system"
    assert row["memory_gb"] > 0.01
    assert 0 < row["machine_memory_percent"] <= 100
    assert meter.due() is None


def test_rows_go_where_the_others_go(tmp_path: Path) -> None:
    with make_trackers({"name": "none", "system_every": 1e-6}, tmp_path, {}) as trackers:
        trackers.log(TRAIN, 3)
    train, system = read_rows(tmp_path)
    assert (train["kind"], system["kind"], system["step"]) == ("train", "system", 3)


@pytest.mark.parametrize("every", [0, -1, "often", True])
def test_wrong_intervals_are_refused(every: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^tracker\.system_every=.*: must be a (positive )?number"):
        make_trackers({"name": "none", "system_every": every}, tmp_path, {})
