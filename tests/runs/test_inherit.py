"""What is typed along with a run, above all where its base is now, is used or refused, never ignored."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.command import QUICK, run, succeed
from unlearnctl.runs.inherit import (
    leave_out_tinyworld,
    of_model,
    relearn_corpora,
    suites_of_run,
    texts_of_run,
)
from unlearnctl.tinyworld import model_dir

SMOKE = ("eval=[smoke]", "device=cpu")
CHEAP = ("attack=[quantize]", "attack.quantize.bits=[8]", *SMOKE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model m1 and a quick run of it."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(model_dir("weights"), folder / "m1")
    before = Path.cwd()
    os.chdir(folder)
    try:
        how = (
            "objective.layer=7",
            "trainer.optimizer.lr=5e-5",
        )  # hardly moves, so that scores do not hang on rounding
        succeed(
            "train", *QUICK, *how, "model=local", "model.path=m1", "model.dtype=float32", "name=x", "run=a"
        )
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def moved(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, but that m1 is now m2."""
    shutil.copytree(made, tmp_path / "w")
    (tmp_path / "w" / "m1").rename(tmp_path / "w" / "m2")
    monkeypatch.chdir(tmp_path / "w")
    return Path("outputs/train/x/a")


def refused(*args: str) -> str:
    done = run(*args)
    assert done.code == 2, done.out
    return done.err.removeprefix("error: ").rstrip("\n")


def scores(folder: str) -> dict:
    after = json.loads((Path(folder) / "results.json").read_text())["after"]["smoke"]
    return {name: metric["value"] for name, metric in after.items()}


def test_a_base_that_moved_is_asked_for(moved: Path) -> None:
    said = "model.path=m1: no such folder; {}=outputs/train/x/a was made from it, so add "
    said += "model.path=DIR, where it is now"
    assert refused("export", f"run={moved}", "to=out") == said.format("run")
    for verb in ("eval", "attack", "repair"):
        assert refused(verb, f"run_dir={moved}", *SMOKE) == said.format("run_dir")


@pytest.mark.full
def test_a_base_that_moved_may_be_given_again(moved: Path) -> None:
    own = scores(str(moved))
    for choice in ([], ["model=local"]):
        done = succeed("eval", f"run_dir={moved}", *choice, "model.path=m2", *SMOKE, f"run=e{len(choice)}")
        assert scores(done.run_dir) == own
    assert scores(succeed("attack", f"run_dir={moved}", "model.path=m2", *CHEAP).run_dir) == own
    succeed("export", f"run={moved}", "to=out", "model.path=m2")
    done = succeed("eval", "model=local", "model.path=out", "model.dtype=float32", *SMOKE, "run=o")
    assert scores(done.run_dir) == own


def test_a_path_that_could_be_a_hub_id_is_not_looked_for_there(moved: Path) -> None:
    shutil.copytree("m2", "sub/m3")
    done = succeed(
        "train", *QUICK, "model=local", "model.path=sub/m3", "model.dtype=float32", "name=y", "run=a"
    )
    shutil.rmtree("sub")
    assert refused("export", f"run={done.run_dir}", "to=out").startswith(
        "model.path=sub/m3: no such folder; run="
    )


@pytest.mark.full
def test_from_another_working_directory(moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "model.path=m1: no such folder" in refused("export", "run=w/outputs/train/x/a", "to=out")
    succeed("export", "run=w/outputs/train/x/a", "to=out", "model.path=w/m2")


@pytest.mark.full
def test_copies_and_what_lies_beside_the_weights_make_no_difference(moved: Path) -> None:
    shutil.copytree("m2", "m4", copy_function=shutil.copyfile)
    Path("m4/trainer_state.json").write_text("{}")
    succeed("export", f"run={moved}", "to=out", "model.path=m4")


def test_another_base_is_refused(moved: Path) -> None:
    shutil.copytree(model_dir("twin"), "other")
    for args in (["export", f"run={moved}", "to=out"], ["eval", f"run_dir={moved}", *SMOKE]):
        line = refused(*args, "model.path=other")
        assert f"={moved}: its checkpoint was made from m1@" in line
        assert "but model.path has other@" in line
    assert not Path("out").exists()


def test_another_model_or_dtype_is_refused(moved: Path) -> None:
    assert refused("eval", f"run_dir={moved}", "model=llama3_8b", *SMOKE) == (
        "model=llama3_8b: run_dir=outputs/train/x/a was made with model=local; leave model out, or give its base as "
        "model.path=DIR"
    )
    assert refused("eval", f"run_dir={moved}", "model.path=m2", "model.dtype=bfloat16", *SMOKE) == (
        "model.dtype=bfloat16: run_dir=outputs/train/x/a was made in float32; leave model.dtype out"
    )


@pytest.mark.full
def test_typed_settings_and_names_hold(moved: Path) -> None:
    done = succeed(
        "eval", f"run_dir={moved}", "model.path=m2", "model.attn_implementation=eager", "name=mine", *SMOKE
    )
    config = json.loads((Path(done.run_dir) / "results.json").read_text())["config"]
    assert config["model"]["attn_implementation"] == "eager"
    assert done.run_dir.startswith("outputs/eval/mine/")


@pytest.mark.full
def test_workers_get_the_typed_path(moved: Path) -> None:
    two = ("launch=cpu", "launch.num_processes=2")
    succeed("eval", f"run_dir={moved}", "model.path=m2", *SMOKE, *two, "run=w")
    assert scores("outputs/eval/x/w") == scores(str(moved))


def test_a_record_lets_no_code_run(moved: Path) -> None:
    file = moved / "results.json"
    record = json.loads(file.read_text())
    record["config"]["model"]["trust_remote_code"] = True
    file.write_text(json.dumps(record))
    assert refused("export", f"run={moved}", "to=out", "model.path=m2").startswith(
        "model.trust_remote_code=true: must be typed on the command line"
    )


def test_relearning_reads_conversations_as_the_run_did() -> None:
    cfg = OmegaConf.create(
        {
            "attack": {
                "relearn": {"corpora": {"domain": {"path": "tinyworld:x"}, "own": {"path": "mine.jsonl"}}}
            }
        }
    )
    data = {
        "chat_template": True,
        "retain": {},
        "forget": {"path": "f.jsonl", "field": "messages", "long": "split"},
    }
    with mock.patch("unlearnctl.runs.inherit.typed", return_value=(None, [])):
        relearn_corpora(OmegaConf.create({"data": data}), cfg)
    assert cfg.attack.relearn.corpora == {
        "domain": {"chat_template": True, "path": "f.jsonl", "field": "messages", "long": "cut"},
        "own": {"path": "mine.jsonl"},
    }


def test_a_suite_over_texts_reads_those_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    forget = {"path": "f.jsonl", "field": "body", "long": "split", "limit": 3}
    trained = OmegaConf.create(
        {"data": {"chat_template": True, "forget": forget, "retain": {"a": {}, "b": {}}}}
    )
    missing = {"path": "???", "field": "text", "role": "forget", "limit": 500}
    suites = OmegaConf.create(
        {"lost": missing, "kept": {**missing, "role": "retain"}, "named": {**missing, "path": "mine.txt"}}
    )
    with mock.patch("unlearnctl.runs.inherit.own_config", return_value=trained):
        texts_of_run(suites, tmp_path)
    assert suites.lost == {
        "path": "f.jsonl", "field": "body", "role": "forget", "limit": 500, "long": "cut", "chat_template": True,
    }  # fmt: skip
    assert OmegaConf.is_missing(suites.kept, "path")  # two topics: which one is meant is not known
    assert suites.named.path == "mine.txt"
    assert capsys.readouterr().out == "eval.lost: texts are data.forget of the run\n"


def test_suites_that_are_named_read_the_runs_texts_whatever_the_verb(tmp_path: Path) -> None:
    trained = OmegaConf.create({"data": {"forget": {"path": "f.jsonl"}, "retain": {"path": "r.jsonl"}}})
    cfg = OmegaConf.create({"eval": {"lost": {"path": "???", "role": "forget", "limit": None}}})
    OmegaConf.set_struct(cfg, True)
    with (
        mock.patch("unlearnctl.runs.inherit.own_config", return_value=trained),
        mock.patch("unlearnctl.runs.inherit.typed", return_value=("[lost]", [])),
    ):
        assert suites_of_run(cfg, tmp_path).lost.path == "f.jsonl"
    assert OmegaConf.is_missing(cfg.eval.lost, "path")


def attacks() -> DictConfig:
    world = {"path": "tinyworld:x"}
    return OmegaConf.create(
        {"attack": {"latent": {"train": world}, "prefix": {"texts": ["a"], "search": {"corpus": world}}}}
    )


def test_default_attacks_on_the_tiny_worlds_facts_are_left_out(capsys: pytest.CaptureFixture) -> None:
    cfg = attacks()
    with mock.patch("unlearnctl.runs.inherit.typed", return_value=(None, [])):
        leave_out_tinyworld(cfg)
    assert cfg.attack == {"prefix": {"texts": ["a"], "search": None}}
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["latent", "prefix"]
    with mock.patch("unlearnctl.runs.inherit.typed", return_value=("[latent,prefix]", [])):
        leave_out_tinyworld(named := attacks())
    assert named == attacks()


def test_default_attacks_on_files_of_ones_own_stay() -> None:
    cfg = attacks()
    cfg.attack.latent.train.path = cfg.attack.prefix.search.corpus.path = "mine.jsonl"
    kept = cfg.copy()
    leave_out_tinyworld(cfg)
    assert cfg == kept


@pytest.mark.parametrize(
    "model",
    [
        {"validation": {"smoke": {"limit": 1}}, "relearn": {"steps": [5]}},
        {
            "recipe": {"monitor_overrides": {"smoke": {"limit": 1}}, "relearn": {"steps": [5]}}
        },  # of an older run
    ],
)
def test_a_models_own_settings_for_other_verbs(model: dict) -> None:
    assert of_model(OmegaConf.create(model), "validation") == {"smoke": {"limit": 1}}
    assert of_model(OmegaConf.create(model), "relearn") == {"steps": [5]}
    assert of_model(OmegaConf.create({"path": "x"}), "relearn") is None
