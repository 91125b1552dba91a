"""The files around the code agree with each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from unlearnctl import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and line[0] != "#"
]


def test_constraints_are_exact_and_fit_every_machine() -> None:
    for pin in PINS:  # no +cpu, no URL, no path
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin), pin
    names = [pin.partition("==")[0] for pin in PINS]
    assert len(names) == len(set(names))


def test_every_direct_dependency_is_pinned_within_its_bound() -> None:
    pins = dict(pin.split("==") for pin in PINS)
    extras = PROJECT["optional-dependencies"].values()
    for text in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        wanted = Requirement(text)
        if wanted.name != "unlearnctl":
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


def test_what_is_installed_needs_nothing_that_is_not_pinned() -> None:
    from importlib.metadata import requires

    pinned = {pin.partition("==")[0] for pin in PINS}
    for name in sorted(pinned):
        try:
            lines = requires(name) or []
        except ModuleNotFoundError:  # of another platform, or torch's CUDA libraries
            continue
        for wanted in map(Requirement, lines):
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                assert canonicalize_name(wanted.name) in pinned, f"{name} needs {wanted.name}"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_alone_names_every_target() -> None:
    done = subprocess.run(
        ["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    listed = re.findall(r"^  make ([\w-]+) +\S", done.stdout, re.MULTILINE)
    assert listed == "help setup demo test test-rest test-all test-real lint type bench".split()


def test_changelog_has_the_form_that_it_names() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert __version__ in headings


def test_citation_names_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__


def test_the_workflow_tests_every_python_that_is_promised() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    promised = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert yaml.safe_load(text)["jobs"]["test"]["strategy"]["matrix"]["python"] == promised
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in re.findall(r"run: make (.+)", text):
        assert {word for word in line.split() if "=" not in word} <= set(targets)


@pytest.mark.parametrize(
    "file", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name
)
def test_issue_templates_are_yaml(file: Path) -> None:
    assert yaml.safe_load(file.read_text(encoding="utf-8"))
