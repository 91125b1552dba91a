"""Tiny models of every supported architecture, made on the spot; nothing is downloaded."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TQDM_DISABLE"] = "1"  # as the command sets it, before the libraries are imported
os.environ["OMP_WAIT_POLICY"] = "passive"

from contextlib import redirect_stderr
from io import StringIO

import pytest
import torch

import tests.typecheck  # noqa: F401  the hook of --jaxtyping-packages looks it up by attribute
from tests.models.tiny import ARCHITECTURES, USUAL

with redirect_stderr(StringIO()):  # else it closes pytest's own stderr when logging is set up again
    import absl.logging  # noqa: F401  of rouge-score

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # the models are so small that a second thread only waits
gc.freeze()  # each run collects garbage; it need not walk through every imported library


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The user's cache is neither read nor written."""
    os.environ["UNLEARNCTL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`first(n)` marks all but the first n parameter sets of a test as `full`."""
    seen: Counter[tuple[str, str]] = Counter()
    for item in items:
        marker = item.get_closest_marker("first")
        if marker:
            test = (item.nodeid.partition("::")[0], item.originalname)  # type: ignore[attr-defined]
            seen[test] += 1
            if seen[test] > marker.args[0]:
                item.add_marker("full")


@pytest.fixture(
    params=[name if name in USUAL else pytest.param(name, marks=pytest.mark.full) for name in ARCHITECTURES]
)
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param
