"""The same sweep through other launchers gives the same table; the Optuna script of docs/clusters.md runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import QUICK, run
from tests.extras import RAY
from tests.sweeps.test_sweep import FOLDER, TINY, states, table

ROOT = Path(__file__).parents[2]
ENGINES = {
    "submitit": [
        "hydra/launcher=submitit_local",
        "hydra.launcher.timeout_min=10",
        "hydra.launcher.mem_gb=null",
    ],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "ray": ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"],
}
CODE = "import sys; from unlearnctl.cli import main; main(sys.argv[1:])"


def command(*args: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: the engines start others, and set up warnings and signals of their own."""
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=300)


SWEEP = ("train", "-m", *QUICK, *TINY, "run=s", "objective.alpha=1,10,much")


def checked(code: int, said: str) -> tuple[list[dict[str, str]], list[str]]:
    """Rows and members of the sweep in the working directory, one of which failed."""
    assert code == 2, said
    assert "error: 1 of the sweep's members failed" in said
    assert sorted(status.state for status in states().values()) == ["done", "done", "failed"]
    assert (FOLDER / "summary.md").is_file()
    return table(), sorted(states())


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], list[str]]:
    """The sweep without an engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        done = run(*SWEEP)
        return checked(done.code, done.err)


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_table_and_the_same_failure(
    engine: str,
    here: tuple[list[dict[str, str]], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if engine == "ray":
        if not RAY.is_dir():
            pytest.skip("no Ray here: `make test-rest` installs it")
    else:
        pytest.importorskip(f"hydra_plugins.hydra_{engine}_launcher", exc_type=ImportError)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{RAY}" if engine == "ray" else str(ROOT))
    monkeypatch.chdir(tmp_path)
    done = command("-c", CODE, *SWEEP, *ENGINES[engine])
    assert checked(done.returncode, done.stderr) == here


@pytest.mark.full
def test_the_optuna_script_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/clusters.md").read_text(), re.DOTALL)
    Path("search.py").write_text(blocks[0])
    done = command("search.py", "2", *QUICK, "trainer.steps=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report: outputs/train/optuna/trial") == 2
    assert re.search(r"^forgotten \d\.\d{3}, kept \d\.\d{3} \{'alpha'", done.stdout, re.MULTILINE)
