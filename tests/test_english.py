"""Idioms of translated prose stay out of code, configs and docs, and every path that the docs name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("unlearnctl", "conf", "hydra_plugins", "benchmarks", "docs", "tests")
SUFFIXES = (".py", ".yaml", ".md", ".js", ".css", ".html", ".j2")
PHRASES = {  # what a translator writes: what a native editor makes of it
    r"(is|are) others now": "changed since ...",
    r"is but (a|an|one)\b|there is but": "only; requires more than one ...",
    r"(no|a) sound (\w+ )?checkpoint|without a sound one": "no valid checkpoint",
    r"(\b|_)anew(\b|_)": "again, or from the start",
    r"for want of": "out of memory; without a ...",
    r"link to nothing": "broken symlink",
    r"\b(cannot be|is|not) told from\b": "indistinguishable from; not significant",
    r"\b(go|goes|going|gone|went) on (with|from)\b|(go|goes|going)_on(_|\b)": "resumes; continues",
    r"\b(files|runs|versions|a record|records) of before\b": "older files",
    r"\bin vain\b": "to no effect, or leave it out",
    r"\b(and|of) its kin\b": "and related methods",
    r", for (it|they|we|there) (is|are|was|were|has|have|cannot|can|may|lets?|need)\b": "because",
}


def texts() -> Iterator[tuple[str, str]]:
    """Every source, config and page, by its path from the root. Rendered tables quote their runs and are left out."""
    pages = [*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*"))]
    for path in sorted(pages):
        name = path.relative_to(ROOT).as_posix()
        if path == Path(__file__):  # it quotes the phrases
            continue
        if path.suffix in SUFFIXES and not re.fullmatch(r"docs/tables/.*-(tiny|small)\.\w+", name):
            yield name, path.read_text(encoding="utf-8")


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_translated_idioms(phrase: str) -> None:
    found = [
        f"{name}: {match[0]!r}"
        for name, text in texts()
        for match in re.finditer(phrase, text, re.IGNORECASE)
    ]
    assert not found, f"{phrase}: {PHRASES[phrase]}"


FILE = re.compile(r"(?<![\w./])((?:[\w-]+/)+[\w-]+\.(?:py|yaml|md|js))\b")


def test_every_file_in_the_docs_exists() -> None:
    lost = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        places = (ROOT, ROOT / "unlearnctl", ROOT / "unlearnctl/reporting", page.parent)
        for name in FILE.findall(page.read_text(encoding="utf-8")):
            made_up = re.search(r"[A-Z]{4}|^my_|^outputs/", name)
            if not made_up and not any((place / name).exists() for place in places):
                lost.append(f"{page.name}: {name}")
    assert not lost


def test_every_module_in_the_docs_exists() -> None:
    lost = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for name in re.findall(r"python -m (tests[\w.]*\w)", page.read_text(encoding="utf-8")):
            path = ROOT / name.replace(".", "/")
            if not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file():
                lost.append(f"{page.name}: {name}")
    assert not lost
