"""A digest inside results.json, so that a report can say that the file is not what the run wrote.

It finds an edit or damage, not a forger: whoever edits the file may compute the digest anew. Against that a
signature would need keys, their distribution and their loss; a digest needs nothing, and a copy of it elsewhere
(a paper, a commit) does prove the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "sha256"


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as plain JSON data, with its digest as the last key."""
    data = json.loads(json.dumps({k: v for k, v in record.items() if k != KEY}, default=str))
    return {**data, KEY: digest(data)}


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no spaces, ASCII) of all but the digest itself, as hex."""
    content = {key: value for key, value in record.items() if key != KEY}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def broken(record: Mapping[str, Any]) -> bool:
    """True if there is a digest and it is not that of the content; a record of before digests has none."""
    return KEY in record and record[KEY] != digest(record)
