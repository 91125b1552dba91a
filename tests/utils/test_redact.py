"""No key reaches a file of a run or a printed line: planted in the environment, in a URL, in a config folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import QUICK, run
from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.explain import explain
from unlearnctl.utils.redact import redact

CANARY = "canary-4f1d9c0b7a"


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "HF_TOKEN", "MY_SECRET"):
        monkeypatch.setenv(name, f"{CANARY}-{name}")


def leaks(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"got {CANARY}-HF_TOKEN back", "got *** back"),
        ("https://me:pass@host/x", "https://***@host/x"),
        ("https://host/x?token=abc&y=1", "https://host/x?token=***&y=1"),
        ("hf_" + "a" * 30, "***"),
        ("objective.alpha=10 /a/b:c https://host:8080/x", "objective.alpha=10 /a/b:c https://host:8080/x"),
    ],
)
def test_redact(text: str, clean: str) -> None:
    assert redact(text) == clean
    assert explain(UserError(text)) == clean


@pytest.mark.first(1)
@pytest.mark.parametrize("tracker", ["wandb", "none"])
def test_a_run_with_keys_around_it_keeps_none(tracker: str, tmp_path: Path) -> None:
    args = [*QUICK, "trainer.steps=1", "objective=rmu", f"tracker={tracker}"]
    args += ["tracker.mode=offline"] if tracker == "wandb" else []
    done = run("train", "-m", *args, "seed=0", "run=s")
    assert done.code == 0, done.err
    assert not leaks(tmp_path)
    assert CANARY not in done.out + done.err


@pytest.mark.parametrize("sweep", [(), ("-m",)])
def test_a_key_in_a_url_is_refused_before_anything_is_written(sweep: tuple[str, ...], tmp_path: Path) -> None:
    url = f"data.forget.path=https://me:{CANARY}@host/x.jsonl"
    done = run("train", *sweep, *QUICK, url)
    assert done.code == 2
    assert done.err.startswith("error: data.forget.path: holds a key or a password")
    assert CANARY not in done.out + done.err
    assert not list(tmp_path.iterdir())


def test_a_key_in_a_yaml_of_ones_own_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "mine/tracker").mkdir(parents=True)
    (tmp_path / "mine/tracker/own.yaml").write_text(
        f"name: wandb\nproject: https://host/?api_key={CANARY}\nmode: offline\n"
    )
    done = run("train", "--config-dir", "mine", *QUICK, "objective=rmu", "tracker=own")
    assert done.code == 2
    assert done.err.startswith("error: tracker.project: holds a key or a password")
    assert CANARY not in done.out + done.err
    assert not leaks(tmp_path / "outputs")


@pytest.mark.parametrize("before", range(0, 260, 7))
def test_no_part_of_a_key_is_left_where_a_library_s_message_is_cut(before: int) -> None:
    token = f"hf_{'Zq9' * 12}"
    said = brief(RuntimeError(f"{'x' * before} {token} was refused"))
    assert "hf_" not in said
    assert len(said) <= 200


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "ValueError"),
        ("\n  first \n second", "first"),
        ("Errors were found:\n\n  the first\n  the second", "Errors were found: the first"),
        ("x" * 300, "x" * 200),
    ],
)
def test_the_first_line_that_says_something(message: str, said: str) -> None:
    assert brief(ValueError(message)) == said
