"""New inputs from old ones: bytes flipped, cut, doubled, spliced; in JSON, values exchanged for hostile ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

LARGEST = 1 << 14  # bytes of an input; what is bounded per byte needs no more
TOKENS = (
    b"\x00", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\r", b'"', b"'", b",", b"\t", b"{", b"}",
    b"[", b"]", b":", b"NaN", b"Infinity", b"-1e999", b"1e400", b"null", b"true", b"\\ud83d", b"<script>", b"</script>",
    b"${", b"!!python/object", b"\x1b[31m", b"\xe2\x80\xa8", b"\xff" * 7 + b"\x7f", b"99999999999999999999",
)  # fmt: skip
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), 10**30, 10**400,
    "", " ", "\x00", "\n", "a" * 300, "</script><script>alert(1)</script>", "<!--", "]]>", "{{7*7}}", "${oc.env:HOME}",
    "'\"><img src=http://evil.example/x onerror=alert(1)>", "\x1b[31mred", "\u202egnp", "\ud83d", "$\\frac{", "|`*[]",
    "_", "=1+1", "../../etc", "done", "forget", "lower", "x_ppl", [], {}, [[]], [None], [1, 2], [0.1, "x"],
    {"": None}, {"name": {}}, {"value": 1}, {"a": {"b": {"c": []}}},
)  # fmt: skip


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, changed one to four times, at most `LARGEST` bytes."""
    data = random.choice(seeds)
    for _ in range(random.choice((1, 1, 2, 4))):
        change = _json if random.random() < 0.5 else random.choice(CHANGES)
        data = change(random, data, seeds)[:LARGEST]
    return data


def _flip(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    changed = bytearray(data or b"\x00")
    for _ in range(random.choice((1, 1, 3, 8))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _insert(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    return (
        data[:at] + random.choice((random.choice(TOKENS), random.randbytes(random.randint(1, 8)))) + data[at:]
    )


def _delete(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    a, b = sorted(random.randint(0, len(data)) for _ in range(2))
    return data[:a] + data[b:] if random.random() < 0.3 else data[:a] + data[a + random.randint(1, 4) :]


def _double(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    a, b = sorted(random.randint(0, len(data)) for _ in range(2))
    return data[:b] + data[a:b] * random.choice((1, 2, 50)) + data[b:]


def _splice(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def _nest(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at, depth = random.randint(0, len(data)), random.choice((50, 120, 3000))
    return data[:at] + random.choice((b"[", b'{"a":', b"(", b"- ")) * depth + data[at:]


CHANGES = (_flip, _flip, _insert, _insert, _delete, _double, _splice, _nest)


def _json(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change a value of the JSON in it: in one of its lines, or in all of it behind its first byte."""
    lines = data.splitlines(keepends=True)
    for head, body, tail in ((data[:1], data[1:], b""), (b"", data, b""), *_line(random, lines)):
        try:
            tree = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if isinstance(tree, dict | list):
            for _ in range(random.choice((1, 1, 2, 5))):
                _replace(random, tree)
            return head + json.dumps(tree).encode() + tail
    return _insert(random, data, seeds)


def _line(random: Random, lines: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    if not lines:
        return []
    at = random.randrange(len(lines))
    skip = 1 if at == 0 else 0  # which file, where a target has several
    return [
        (
            b"".join(lines[:at]) + lines[at][:skip],
            lines[at][skip:].rstrip(b"\n"),
            b"\n" + b"".join(lines[at + 1 :]),
        )
    ]


def _replace(random: Random, tree: Any) -> None:
    """Walk down by chance; then exchange, remove, rename or copy what is there."""
    node = tree
    while True:
        places = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not places:
            break
        place = random.choice(places)
        if isinstance(node[place], dict | list) and random.random() < 0.8:
            node = node[place]
            continue
        if isinstance(node, dict) and random.random() < 0.15:
            node[str(random.choice(HOSTILE))[:40]] = node.pop(place)
        elif random.random() < 0.15:
            del node[place]
        else:
            node[place] = json.loads(json.dumps(random.choice(HOSTILE)))
        return
