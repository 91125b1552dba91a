"""The look fits into a terminal however deep the model is, and suggests no more than it saw."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from unlearnctl.reporting.look_table import look_charts, print_look, shown, suggestion


def look(apart: list[float], sink_from: int = 99) -> dict[str, Any]:
    blocks = [
        {"block": k, "median": 100.0 + k, "sinks": 0.01 * sunk, "first": float(sunk), "apart": share}
        for k, share in enumerate(apart)
        for sunk in [k >= sink_from]
    ]  # fmt: skip
    return {
        "blocks": blocks,
        "texts": {"forget": 64, "retain": 64},
        "rms": {"mlp.down_proj": 0.187},
        "trained": 0.187,
    }


@pytest.mark.parametrize(("depth", "last"), [(1, 0), (8, 7), (30, 29), (80, 79)])
def test_any_depth_is_at_most_a_screen_of_rows_and_ends_with_the_last_block(depth: int, last: int) -> None:
    rows = shown(look([0.9] * depth)["blocks"])
    assert len(rows) <= 17
    assert (rows[0]["block"], rows[-1]["block"]) == (0, last)


def test_the_table_has_eighty_columns() -> None:
    out = StringIO()
    print_look(look([0.5 + 0.01 * k for k in range(30)], sink_from=11), Console(file=out, width=80))
    table = out.getvalue().partition("norm: ")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "0.60 ± 0.08" in table
    assert "RMS of matrices: mlp.down_proj 0.187; of what trains here: 0.187." in out.getvalue()


@pytest.mark.parametrize(
    ("apart", "sink_from", "said"),
    [
        ([0.5, 0.7, 0.9, 0.91, 0.9, 0.9], 99, "layers 2 to 5 (of 6 blocks)"),
        ([0.5, 0.7, 0.9, 0.91, 0.9, 0.9], 4, "layers 2 to 3 (of 6 blocks)"),
        ([0.5, 0.7, 0.99, 0.7, 0.99], 99, "layer 2 (of 5 blocks)"),
        ([0.95, 0.96, 0.99], 1, "no layer: texts are told apart in every block, 0.95 of them"),
        ([0.5, 0.7, 0.9], 1, "no layer: where texts are told apart best, first tokens are sinks"),
    ],
)
def test_what_is_suggested(apart: list[float], sink_from: int, said: str) -> None:
    assert suggestion(look(apart, sink_from)).startswith(f"This suggests {said}")


def test_the_page_gets_two_curves() -> None:
    charts = look_charts(look([0.5, 0.7, 0.9]))
    assert [chart.key for chart in charts] == ["apart", "norms"]
    assert [line["name"] for line in charts[0].lines] == ["told apart", "first token is a sink"]
