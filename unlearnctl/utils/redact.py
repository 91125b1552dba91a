"""Keys and passwords: never in a file of a run, never in a line that is printed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# Each takes time in proportion to the text: no two neighbouring repeats can match the same characters.
SECRET = re.compile(  # names of environment variables
    r"(API_?KEY|ACCESS_KEY|PRIVATE_KEY|TOKEN|SECRET|PASSWORD|PASSWD|(^|_)PAT|CREDENTIALS?)$", re.IGNORECASE
)
LOGIN = re.compile(r"(?<=://)[^/\s:'\"]*:[^/\s'\"]+(?=@)")  # user:password@ of a URL
QUERY = re.compile(
    r"(?<=[?&#;])((?:key|sig|[\w-]*(?:api_?key|token|secret|password|signature))=)[^&;\s'\"]+", re.IGNORECASE
)
BEARER = re.compile(r"(?<=bearer )[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)  # of an Authorization header
SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16})"
)
SHORTEST = 8  # a shorter value of such a variable is no key, and would be found everywhere


def redact(text: str) -> str:
    """`text` with every key in it as `***`: values of secret environment variables, logins of URLs, tokens."""
    for value in _values():
        text = text.replace(value, "***")
    text = LOGIN.sub("***", text)
    text = QUERY.sub(r"\1***", text)
    text = BEARER.sub("***", text)
    return SHAPES.sub("***", text)


def _values() -> Iterable[str]:
    found = {v for name, v in os.environ.items() if SECRET.search(name) and len(v) >= SHORTEST}
    return sorted(found, key=len, reverse=True)
