"""The same sweep through other launchers gives the same table; the Optuna script of docs/clusters.md runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import QUICK
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


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_table_and_the_same_failure(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "ray":
        if not RAY.is_dir():
            pytest.skip("no Ray here: `make test-rest` installs it")
    else:
        pytest.importorskip(f"hydra_plugins.hydra_{engine}_launcher", exc_type=ImportError)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{RAY}" if engine == "ray" else str(ROOT))
    sweep = ["train", "-m", *QUICK, *TINY, "run=s", "objective.alpha=1,10,much"]
    found = []
    for name, how in (("here", []), ("there", ENGINES[engine])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        done = command("-c", CODE, *sweep, *how)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "error: 1 of the sweep's members failed" in done.stderr
        assert sorted(status.state for status in states().values()) == ["done", "done", "failed"]
        found.append((table(), sorted(states())))
    assert found[0] == found[1]
    assert (FOLDER / "summary.md").is_file()


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
