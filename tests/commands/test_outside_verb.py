"""An installed package adds a verb with one file; ours cannot be replaced, and `--help` does not import it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unlearnctl.commands import GROUP

MODULE = '''"""Count words.

usage: unlearnctl count WORD ...
"""

print("imported")


def count(args):
    print(f"{len(args)} words")
    return 3
'''


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder as pip leaves it: a module, and the metadata of its distribution."""
    folder = tmp_path / "site"
    metadata = folder / "counting-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "counting.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    entries = ("count = counting:count", "doctor = counting:count", "broken = counting:missing")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n" + "\n".join(entries) + "\n")
    return folder


def call(*args: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    places = [str(place) for place in (Path(__file__).parents[2], path) if place]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", "unlearnctl", *args]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_it_runs_with_its_arguments_and_exit_code(installed: Path, tmp_path: Path) -> None:
    done = call("count", "a", "b", cwd=tmp_path, path=installed)
    assert (done.returncode, done.stdout) == (3, "imported\n2 words\n")


def test_help_names_it_without_importing_it(installed: Path, tmp_path: Path) -> None:
    overview = call("--help", cwd=tmp_path, path=installed).stdout
    assert "  count       A verb of the package counting\n" in overview
    assert "imported" not in overview
    assert "Check Python" in overview.partition("  doctor ")[2].partition("\n")[0]  # ours
    assert "usage: unlearnctl count WORD" in call("count", "--help", cwd=tmp_path, path=installed).stdout
    assert "count" in call("__complete", "cou", cwd=tmp_path, path=installed).stdout


def test_one_that_cannot_be_imported_is_one_line(installed: Path, tmp_path: Path) -> None:
    done = call("broken", cwd=tmp_path, path=installed)
    assert done.returncode == 2
    assert done.stderr.startswith("error: broken: counting:missing cannot be imported (")
    assert done.stderr.count("\n") == 1


def test_the_working_directory_is_no_installed_package(installed: Path) -> None:
    done = call("count", cwd=installed)
    assert done.returncode == 2
    assert done.stderr.startswith("error: verb=count: unknown")
