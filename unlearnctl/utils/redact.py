"""Removes keys and passwords from whatever is printed or written to a run's files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# Each pattern runs in linear time, because no two neighbouring repeats can match the same characters: error messages
# may quote megabytes of somebody else's file.
SECRET = re.compile(  # names of environment variables
    r"(API_?KEY|ACCESS_KEY|PRIVATE_KEY|TOKEN|SECRET|PASSWORD|PASSWD|(^|_)PAT|CREDENTIALS?)$", re.IGNORECASE
)
LOGIN = re.compile(r"(?<=://)[^/\s:'\"]*:[^/\s'\"]+(?=@)")  # user:password@ in a URL
QUERY = re.compile(
    r"(?<=[?&#;])((?:key|sig|[\w-]*(?:api_?key|token|secret|password|signature))=)[^&;\s'\"]+", re.IGNORECASE
)
BEARER = re.compile(r"(?<=bearer )[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)  # an Authorization header
SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16})"
)
SHORTEST = 8  # a shorter value of such a variable is not a secret, and would be replaced in ordinary words


def redact(text: str) -> str:
    """Replace every secret in a text by `***`: values of secret environment variables, logins in URLs, tokens."""
    for value in _values():
        text = text.replace(value, "***")
    text = LOGIN.sub("***", text)
    text = QUERY.sub(r"\1***", text)
    text = BEARER.sub("***", text)
    return SHAPES.sub("***", text)


def _values() -> Iterable[str]:
    found = {v for name, v in os.environ.items() if SECRET.search(name) and len(v) >= SHORTEST}
    return sorted(found, key=len, reverse=True)
