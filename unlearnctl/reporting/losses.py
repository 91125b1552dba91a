"""Say which part of the data a run did not see, from the `data` part of results.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearnctl.utils import numbers


def losses(results: Mapping[str, Any]) -> list[str]:
    """List a line for each corpus that was left out, cut or split in part."""
    data = results.get("data") or {}
    return [f"{numbers.plain(key)}: {lost}" for key, record in data.items() if (lost := loss(record))]


def loss(record: Mapping[str, Any]) -> str:
    """Say `9 of 10 rows left out (prompt longer than data.max_length=64), 1 of 1 cut to 64 tokens`; empty if whole."""
    out = {numbers.plain(str(reason)): count for reason, count in (record.get("left_out") or {}).items()}
    texts, said = record.get("texts"), []
    if record.get("looked_at"):
        said.append(
            f"{record.get('rows')} texts are tokenised as they are drawn; of {record['looked_at']} looked at"
        )
    if out:
        why = next(iter(out)) if len(out) == 1 else ", ".join(f"{n} {reason}" for reason, n in out.items())
        said.append(f"{sum(out.values())} of {record.get('read')} rows left out ({why})")
    if record.get("cut"):
        said.append(f"{record['cut']} of {texts} cut to {record.get('max_length')} tokens")
    if record.get("split"):
        said.append(f"{record['split']} of {texts} split, which makes {record.get('rows')} rows")
    if record.get("shared"):
        said.append(f"{record['shared']} of {texts} texts are forget texts too")
    return ", ".join(said)
