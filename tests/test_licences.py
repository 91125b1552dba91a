"""docs/licences.md is what the installed packages say of themselves, and none of them asks for more than we give."""

from __future__ import annotations

import re
from pathlib import Path

from tests.licences import HEAD, rows

LISTED = (Path(__file__).parent.parent / "docs/licences.md").read_text(encoding="utf-8")
# Terms that would reach unlearnctl's own source. The LGPL and the MPL reach changes to the package itself alone.
STRONG = re.compile(r"\b(A?GPL|SSPL|BUSL|Affero|General Public License|Commons Clause)", re.IGNORECASE)
WEAK = re.compile(r"Lesser General Public License|LGPL", re.IGNORECASE)


def listed() -> dict[str, tuple[str, str]]:
    found = re.findall(r"^\| ([a-z0-9-]+) \| ([0-9][^ ]*) \| (.+) \|$", LISTED, re.MULTILINE)
    return {name: (version, terms) for name, version, terms in found}


def test_the_list_is_that_of_the_constraints() -> None:
    assert LISTED.startswith(HEAD)
    here = rows()
    assert listed().keys() == here.keys()
    for name, (version, terms) in listed().items():
        assert version == here[name][0], name
        assert here[name][1] in ("?", terms), name  # an extra may not be installed here
        assert terms != "?", f"{name} names no licence"


def test_no_strong_copyleft() -> None:
    assert not {name: terms for name, (_, terms) in listed().items() if STRONG.search(WEAK.sub("", terms))}
