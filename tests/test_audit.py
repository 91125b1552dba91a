"""The audit step: a fault ends the build, silence does not, and what was not asked about is not called clean."""

from __future__ import annotations

import json

import pytest

from tests.audit import verdict

SOUND = {"name": "a", "version": "1", "vulns": []}
FAULTY = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("entries", "code", "line"),
    [
        ([SOUND, SKIPPED], 0, "1 of 2 packages could be asked about; none of them has a known fault"),
        ([SKIPPED], 0, "0 of 1 packages could be asked about; none of them has a known fault"),
        ([SOUND, FAULTY, SKIPPED], 1, "b 2: CVE-1; b 2: CVE-2"),
    ],
)
def test_verdict(entries: list[dict[str, object]], code: int, line: str) -> None:
    assert verdict(json.dumps({"dependencies": entries}), "") == (code, line)


@pytest.mark.parametrize("complaint", ["No module named pip_audit", "Traceback\nProxyError: no network"])
def test_no_answer(complaint: str) -> None:
    assert verdict("", complaint) == (0, f"could not be asked: {complaint.splitlines()[-1]}")
