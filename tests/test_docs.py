"""docs/adding-an-objective.md does what it says: its blocks become files, its test passes, its command runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import ROOMS
from tests.command import succeed
from tests.forks import server
from unlearnctl.utils.paths import conf_dir

DOCS = Path(__file__).parent.parent / "docs"


def blocks(page: str) -> list[tuple[str, str, str]]:
    """(language, name, content) of each named fenced block."""
    text = (DOCS / page).read_text()
    return re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.full
def test_the_worked_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = blocks("adding-an-objective.md")
    assert [language for language, _, _ in found] == ["python", "yaml", "python", "bash"]
    for language, name, content in found:
        if language != "bash":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
    python = [sys.executable, "-W", "error", "-m"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    command = [*python, "pytest", "-q", "-p", "no:cacheprovider", "my_methods"]
    tested = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout
    (command,) = [content.strip() for language, _, content in found if language == "bash"]
    place, program, *arguments = command.split()
    assert (place, program) == ("PYTHONPATH=.", "unlearnctl")
    quick = ["trainer.device=cpu", "trainer.global_batch=4", "trainer.monitor.every=0", "eval=[smoke]"]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "probability_descent" in succeed(*arguments, *quick).run_dir


@pytest.mark.full
def test_getting_started_runs_as_written(tmp_path: Path) -> None:
    """Its files are written and its commands run, in order, each in a process of its own."""
    text = (DOCS / "getting-started.md").read_text()
    here = tmp_path / "here"
    here.mkdir()
    for language, name, content in blocks("getting-started.md"):
        assert language in ("json", "text")
        (here / name).write_text(content)
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    lines = [line for line in script.splitlines() if line]
    assert len(lines) == script.count("unlearnctl ") == 15
    with server(tmp_path) as forks:
        for line in lines:
            done = forks.run(*words(line, here), cwd=here)
            assert done.code == 0, (line, done.err)
    assert (here / "forgotten/model.safetensors").is_file()
    assert (here / "outputs/train/sweep/compare/summary.md").is_file()


def words(line: str, place: Path) -> list[str]:
    """What a shell that knows `unlearnctl` alone gives to it."""
    script = f"PATH=; unlearnctl() {{ printf '%s\\n' \"$@\"; }}; {line}"
    done = subprocess.run(
        ["/bin/bash", "-euc", script], cwd=place, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_objective_has_its_row() -> None:
    methods, papers = ((DOCS / name).read_text() for name in ("methods.md", "paper_index.md"))
    for name in sorted(p.stem for p in (conf_dir() / "objective").glob("*.yaml")):
        assert f"`{name}`" in methods, name
        assert f"{name}.py" in papers or name == "composite", name


def test_the_trees_list_the_rooms_from_top_to_ground() -> None:
    for page in (DOCS / "architecture.md", DOCS.parent / "README.md"):
        tree = page.read_text(encoding="utf-8").split("```text\nunlearnctl/\n")[1].split("```")[0]
        assert tuple(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)) == ROOMS[1:], page.name
