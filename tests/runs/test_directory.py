"""A run that nobody named gets a directory of its own, however many start in the same second."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from tests.command import run, succeed
from unlearnctl.runs.directory import _made_alone

SECOND = "20260101-120000"
SHORT = ("trainer.steps=1", "trainer.global_batch=1", "trainer.monitor.every=0", "eval=[smoke]", "name=n")
VERBS = {
    "train": SHORT,
    "eval": ("eval=[smoke]", "name=n"),
    "probe": ("layers=[1]", "name=n", "texts=16"),
}


def test_of_many_at_once_each_gets_its_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: _made_alone(tmp_path / "a/r"), range(64)))
    assert sorted(made) == sorted([tmp_path / "a/r", *(tmp_path / f"a/r-{n}" for n in range(2, 65))])


@pytest.mark.full
@pytest.mark.parametrize("verb", VERBS)
def test_the_second_default_name_of_a_second_has_a_suffix(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with mock.patch("hydra.core.utils.datetime") as clock:
        clock.now.return_value.strftime.return_value = SECOND
        for _ in range(2):
            succeed(verb, *VERBS[verb])
    home = tmp_path / "outputs" / verb / "n"
    assert {p.name for p in home.iterdir()} == {SECOND, f"{SECOND}-2"}
    assert f"run: {SECOND}-2\n" in (home / f"{SECOND}-2/config.yaml").read_text()


@pytest.mark.full
def test_a_name_that_was_typed_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    succeed("eval", *VERBS["eval"], f"run={SECOND}")
    again = run("eval", *VERBS["eval"], f"run={SECOND}")
    assert again.code == 2
    assert again.err == (
        f"error: run={SECOND}: outputs/eval/n/{SECOND} exists already; choose another run=NAME\n"
    )
