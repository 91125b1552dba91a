"""Keys planted wherever a key may be, then every verb run: no file and no output of ours holds one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.command import QUICK, Done, run
from unlearnctl.distributed.start import _keep
from unlearnctl.utils.errors import UserError

CANARY = "canary9f1d4c0b7a2e"
KEYS = {
    name: f"{CANARY}-{name}"
    for name in ("HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY")
}
LOGIN = f"https://me:{CANARY}@host.example/x.git"
QUERY = f"https://host.example/x?a=1&token={CANARY}"
SHAPED = f"sk-{CANARY}-0123456789"
EVERYWHERE = f"cannot reach {LOGIN} or {QUERY} with {SHAPED}; Authorization: Bearer {CANARY}0123456789"


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An own folder and cache; keys in the environment and in the address of git's remote."""
    monkeypatch.chdir(tmp_path)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name, value in (("COUNT", "1"), ("KEY_0", "remote.origin.url"), ("VALUE_0", LOGIN)):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)


def leaks(folder: Path) -> list[str]:
    found = [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    return [str(path.relative_to(folder)) for path in found]


def clean(done: Done) -> Done:
    assert CANARY not in done.out + done.err, done.out + done.err
    return done


@pytest.mark.full
def test_no_verb_lets_a_key_out(tmp_path: Path) -> None:
    args = [*QUICK, "trainer.steps=2", "objective=rmu", "tracker=wandb", "tracker.mode=offline", "run=r"]
    made = clean(run("train", *args))
    assert made.code == 0, made.err
    for verb in (
        ("eval", f"run_dir={made.run_dir}", "eval=[smoke]", "run=e"),
        ("report", made.run_dir),
        ("export", f"run={made.run_dir}", "to=model"),
        ("train", *QUICK, "launch.dry_run=true"),
        ("train", *QUICK, "objective=rmu", "-m", "seed=0,1", "objective.layer=2,9", "run=s"),
        ("train", "objective.layer=99", "--debug"),
        ("train", "objective=nothing"),
        ("report", "nowhere"),
        ("ls",),
    ):
        clean(run(*verb))
    assert list(tmp_path.rglob("*.wandb"))
    assert not leaks(tmp_path)


@pytest.mark.parametrize("key", ["data.forget.path", "model.path", "tracker.project", "output_dir"])
@pytest.mark.parametrize("value", [LOGIN, QUERY, f"/data/{SHAPED}/x", f"/data/{KEYS['HF_TOKEN']}/x"])
def test_a_key_on_the_command_line_is_refused(key: str, value: str, tmp_path: Path) -> None:
    done = clean(run("train", *QUICK, f"{key}={value}"))
    assert done.code == 2
    assert done.err.startswith(
        f"error: {key}: holds a key or a password, which would be written into the run;"
    )
    assert not list(tmp_path.iterdir())


def test_a_key_that_a_config_takes_from_the_environment_is_refused(tmp_path: Path) -> None:
    done = clean(run("train", *QUICK, "objective=rmu", "data.forget.path=${oc.env:HF_TOKEN}"))
    assert done.code == 2
    assert not leaks(tmp_path)


@pytest.mark.parametrize("what", [("--cfg", "job", "--resolve"), ("--cfg", "all"), ("--info", "config")])
def test_what_hydra_prints_of_a_config_holds_no_key(what: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/x.yaml").write_text(f"# @package _global_\nname: {CANARY}-HF_TOKEN\n")
    done = clean(run("train", "--config-dir", "mine", "experiment=x", "run=${oc.env:WANDB_API_KEY}", *what))
    assert done.code == 0, done.err
    assert "name: ***\n" in done.out or what[0] == "--info"  # which says nothing here


def test_a_config_takes_from_the_environment_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHT", "night7")
    assert "run: night7\n" in run("train", "run=${oc.env:NIGHT}", "--cfg", "job", "--resolve").out
    assert "run: dawn\n" in run("train", "run=${oc.env:NO_NIGHT,dawn}", "--cfg", "job", "--resolve").out


def raising(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError(EVERYWHERE)


@pytest.fixture(params=["init", "log", "finish"])
def broken_tracker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    name = {"init": "start", "log": "log", "finish": "finish"}[request.param]
    monkeypatch.setattr(f"unlearnctl.tracking.wandb.Wandb.{name}", raising)


@pytest.mark.first(1)
@pytest.mark.parametrize("way", [("run=r",), ("-m", "run=s"), ("--debug", "run=d")])
@pytest.mark.usefixtures("broken_tracker")
def test_what_a_tracker_says_as_it_fails(way: tuple[str, ...], tmp_path: Path) -> None:
    args = [*QUICK, "trainer.steps=1", "objective=rmu", "tracker=wandb", "tracker.mode=offline"]
    done = clean(run("train", *args, *way))
    assert done.code == 0  # training continues without it
    said = "cannot reach https://***@host.example/x.git or https://host.example/x?a=1&token=*** with ***"
    assert said in done.out
    assert not leaks(tmp_path)


def test_what_the_hub_says_as_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(EVERYWHERE)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", refuse)
    monkeypatch.setattr("datasets.load_dataset", refuse)
    for verb in ("train", "prefetch"):
        done = clean(run(verb, "model=llama3_8b", "data=wmdp_bio", "eval=[smoke]"))
        assert done.code == 2
    assert not leaks(tmp_path)


def test_what_processes_say_as_they_fail(tmp_path: Path) -> None:
    log = tmp_path / "launch.log"
    log.write_text(f"Traceback\nOSError: {EVERYWHERE}\n{KEYS['HF_TOKEN']}\n")
    kept = _keep(log, tmp_path / "run", 0)
    assert kept == tmp_path / "run/launch.log"
    assert kept.read_text().splitlines()[::2] == ["Traceback", "***"]
    assert CANARY not in kept.read_text()


def test_an_error_holds_no_key_whoever_prints_it() -> None:
    assert CANARY not in repr(UserError(EVERYWHERE))
    assert CANARY[:8] not in str(
        UserError("x" * 1990 + KEYS["HF_TOKEN"])
    )  # cut after, not before, it is taken out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://:p@ss:w@host/x?y", "https://***@host/x?y"),
        ("git@host:org/repo https://host:80/a@b", "git@host:org/repo https://host:80/a@b"),
        ("x?X-Amz-Signature=abc;sig=d y#access_token=e", "x?X-Amz-Signature=***;sig=*** y#access_token=***"),
        ("?tokens=5&max_tokens=7&key_field=q", "?tokens=5&max_tokens=7&key_field=q"),
        ("ghp_" + "a" * 36 + " AKIA" + "A" * 16, "*** ***"),
    ],
)
def test_forms_of_keys(text: str, shown: str) -> None:
    assert str(UserError(text)) == shown
