"""The list of dependencies with their licences: `python -m tests.licences > docs/licences.md`.

Read from what each installed package says of itself, so that the list can be checked (tests/test_licences.py).
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
# What these packages' metadata leaves out; each from the licence file in the package.
UNSAID = {"atheris": "Apache-2.0"}
CUDA = "not on CPU machines: the package's own terms"
HEAD = """# Licences of dependencies

Every package of `constraints.txt`, direct or not, with the licence that its own metadata names. unlearnctl itself is
MIT ([LICENSE](../LICENSE)) and ships none of them. Made by `python -m tests.licences > docs/licences.md`; a test
compares it with what is installed. Packages that only torch's CUDA build on Linux asks for are not read here.

| package | version | licence |
|---|---|---|
"""


def pins() -> dict[str, tuple[str, bool]]:
    """Package → version, and whether only torch's CUDA build asks for it."""
    text = CONSTRAINTS.read_text(encoding="utf-8")
    found, cuda = {}, False
    for line in text.splitlines():
        cuda = cuda or line.startswith("# Only torch's CUDA build")
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            found[name] = (version, cuda)
    return found


def licence(name: str) -> str | None:
    """As the installed package says: its SPDX expression, else its classifiers, else its first line of text."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return None
    kinds = [c.split(" :: ")[-1] for c in said.get_all("Classifier", []) if c.startswith("License :: ")]
    short = (said.get("License") or "").strip().split("\n")[0]
    named = said.get("License-Expression") or ", ".join(kinds) or short
    return re.sub(r"\s+", " ", named) or UNSAID.get(name)


def rows() -> dict[str, tuple[str, str]]:
    """Package → version, licence; `?` for one that is not installed here."""
    return {
        name: (version, CUDA if cuda else licence(name) or "?") for name, (version, cuda) in pins().items()
    }


def page() -> str:
    """The whole list."""
    return HEAD + "".join(f"| {name} | {version} | {terms} |\n" for name, (version, terms) in rows().items())


if __name__ == "__main__":
    print(page(), end="")
