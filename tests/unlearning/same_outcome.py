"""What a finished run must have in common with the same run left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def outcome(folder: Path) -> dict[str, Any]:
    """All of a finished run that must not depend on whether it was cut: bytes and numbers, no times."""
    record = json.loads((folder / "results.json").read_text())
    trained = {k: v for k, v in record["train"].items() if k != "seconds"}
    trained["memory"] = {k: v for k, v in trained["memory"].items() if k != "peak"}
    rows: dict[tuple[str, int], dict] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "system":  # written by the clock
            continue
        assert (row["kind"], row["step"]) not in rows, f"a second row of {row['kind']} {row['step']}"
        rows[row["kind"], row["step"]] = {k: v for k, v in row.items() if k != "seconds"}
    return {
        "status": record["status"], "train": trained, "rows": rows,
        **{key: record[key] for key in ("before", "after", "paired", "flags")},
        **{f: (folder / f).read_bytes() for f in ("checkpoint/delta.safetensors", "items.json")},
    }  # fmt: skip
