"""One undisturbed run of each verb, which every disturbed one is compared with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.command import succeed
from tests.unlearning.same_outcome import outcome

SHORT = (
    "trainer.device=cpu", "trainer.steps=4", "trainer.global_batch=4", "eval=[smoke]", "eval.smoke.limit=2",
    "trainer.monitor.every=0", "trainer.checkpoint.every=1e-9", "name=n",
)  # fmt: skip
MEASURE = ("eval=[smoke]", "eval.smoke.limit=2", "device=cpu", "name=n")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a train run that nothing disturbed."""
    here, folder = Path.cwd(), tmp_path_factory.mktemp("whole")
    os.chdir(folder)
    try:
        return folder / succeed("train", *SHORT, "run=whole").run_dir
    finally:
        os.chdir(here)


@pytest.fixture(scope="session")
def undisturbed(whole: Path) -> dict[str, Any]:
    """Bytes and numbers of that run."""
    return outcome(whole)


@pytest.fixture
def pictures() -> None:
    """Plots are drawn, which takes most of the time of a run as small as these."""


@pytest.fixture(autouse=True)
def _workplace(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("unlearnctl.reporting.plots.write_plots", lambda run: [])
