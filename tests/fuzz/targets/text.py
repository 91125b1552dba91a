"""`redact`: a planted key never comes through, whatever is around it, in time that grows with the text alone."""

from __future__ import annotations

import os
from unittest import mock

from tests.fuzz.target import Target
from unlearnctl.utils.redact import redact

KEY = "hf_Canary0123456789abcdefghij"
VALUE = "canary-4f1d9c0b7a"
FORMS = (
    "{key}",
    "https://me:{value}@host/x",
    "https://host/x?a=b&token={value}",
    "sk-{value}-0123456789",
    "{value}",
)


def planted(data: bytes) -> None:
    """A key in the middle of the text, in one of the forms in which keys come."""
    text = data[2:].decode("utf-8", "replace")
    place = data[0] if data else 0
    form = FORMS[(data[1] if len(data) > 1 else 0) % len(FORMS)].format(key=KEY, value=VALUE)
    at = place % (len(text) + 1)
    with mock.patch.dict(os.environ, {"HF_TOKEN": KEY, "MY_SECRET": VALUE}, clear=True):
        clean = redact(f"{text[:at]} {form} {text[at:]}")
        assert VALUE not in clean
        assert KEY not in clean
        assert redact(clean) == clean  # what is clean stays as it is


SEEDS = (
    b"\x05\x00see https://host:8080/a/b?x=1&y=2 and /a/b:c objective.alpha=10 hf_abc sk-abc",
    b"\x08\x01://" + b"a" * 300 + b"@",
    b"\x08\x02" + b"http://" * 40,
    b"\x08\x03?" + b"key=" * 60,
    b"\x08\x01://" + b":" * 8000,
    b"\x08\x01" + b"?" + b"-" * 8000 + b"&" + b"token" * 1000,
    b"\x08\x01" + b"bearer " * 1000,
)
TARGETS = [Target("redact", planted, lambda: SEEDS, 0.3)]
