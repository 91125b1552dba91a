"""What a verb takes from a run on a model of one's own, and which models count as the tiny world."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import run, succeed
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer
from unlearnctl.config.tiny_world import is_tinyworld
from unlearnctl.tinyworld import model_dir

OWN = (
    "model=local",
    "model.path=m",
    "data=local",
    "data.max_length=32",
    "data.forget.path=f.jsonl",
    "data.retain.path=r.txt",
)
RUN = "outputs/train/n/r"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that is not the tiny world, and a run on it."""
    folder = tmp_path_factory.mktemp("own")
    tiny_model("llama").save_pretrained(folder / "m")
    word_tokenizer().save_pretrained(folder / "m")
    (folder / "f.jsonl").write_text('{"text": "w1 w2 w3 w4"}\n' * 8)
    (folder / "r.txt").write_text("w5 w6 w7 w8 w9\n" * 8)
    steps = ("trainer.steps=2", "trainer.monitor.every=0", "trainer.global_batch=4")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        succeed(
            "train", "objective=rmu", "objective.layer=3", *OWN, "eval=[smoke]", *steps, "name=n", "run=r"
        )
    return folder


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(place, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")


def config(folder: str) -> dict[str, Any]:
    found = yaml.safe_load((Path(folder) / "config.yaml").read_text())
    assert isinstance(found, dict)
    return found


def test_a_folder_with_its_vocabulary_is_the_tiny_world(tmp_path: Path) -> None:
    shutil.copytree(model_dir(), tmp_path / "export")
    assert is_tinyworld("tinyworld:mistral")
    assert is_tinyworld(str(tmp_path / "export"))
    tokenizer = json.loads((tmp_path / "export" / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"][-1][0] = "another"
    (tmp_path / "export" / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert not is_tinyworld(str(tmp_path / "export"))
    assert not is_tinyworld("org/model")


@pytest.mark.full
@pytest.mark.usefixtures("here")
def test_eval_takes_the_suites_of_the_run_unless_they_are_typed() -> None:
    own = succeed("eval", f"run_dir={RUN}", "run=a").run_dir
    assert config(own)["eval"] == config(RUN)["eval"]
    changed = succeed("eval", f"run_dir={RUN}", "eval.smoke.limit=3", "run=b").run_dir
    assert config(changed)["eval"]["smoke"]["limit"] == 3
    named = succeed(
        "eval",
        f"run_dir={RUN}",
        "eval=[perplexity]",
        "eval.perplexity.path=r.txt",
        "eval.perplexity.min_chars=1",
        "eval.perplexity.max_length=32",
        "run=c",
    ).run_dir
    assert list(config(named)["eval"]) == ["perplexity"]
    for typed, line in (
        (
            "eval=[tinyworld]",
            "eval=[tinyworld]: asks about the embedded tiny world, which model.path=m has never seen",
        ),
        (
            "eval.smke.limit=3",
            f"eval.smke.limit: {RUN} has no suite smke (did you mean 'smoke'?), it has smoke",
        ),
    ):
        assert run("eval", f"run_dir={RUN}", typed).err.startswith(f"error: {line}; ")


@pytest.mark.full
@pytest.mark.usefixtures("here")
def test_repair_takes_data_and_suites_of_the_run() -> None:
    repaired = config(succeed("repair", f"run_dir={RUN}", "strength=1", "sequences=4").run_dir)
    assert repaired["eval"] == config(RUN)["eval"]
    assert repaired["data"] == config(RUN)["data"]


@pytest.mark.full
@pytest.mark.usefixtures("here")
def test_attack_takes_suites_and_texts_of_the_run() -> None:
    quick = ("attack.relearn.steps=[1]", "attack.relearn.lrs=[1e-3]", "attack.relearn.corpora.domain.limit=4")
    done = succeed("attack", f"run_dir={RUN}", "attack=[relearn]", *quick)
    attacked, trained = config(done.run_dir), config(RUN)
    assert attacked["eval"] == trained["eval"]
    whole = {"chat_template": False, "long": "cut"}
    assert attacked["attack"]["relearn"]["corpora"] == {
        "domain": {**trained["data"]["forget"], **whole, "limit": 4},
        "unrelated": {**trained["data"]["retain"], **whole},
    }  # fmt: skip
    assert "relearn: domain texts are data.forget of the run\n" in done.out


@pytest.mark.usefixtures("here")
def test_attacks_that_read_the_tiny_worlds_questions_are_refused() -> None:
    done = run("attack", f"run_dir={RUN}", "attack=[relearn,quantize,fewshot,prefix,latent]")
    assert (done.code, done.err) == (
        2,
        "error: attack.prefix.search.corpus.path=tinyworld:corpora/relearn_domain.jsonl: texts of the embedded tiny "
        "world, which model.path=m has never seen; choose e.g. attack=[relearn,quantize,fewshot,prefix] "
        "attack.prefix.search=null, or attack.prefix.search.corpus.path=FILE attack.latent.train.path=FILE "
        "attack.latent.test.path=FILE\n",
    )
    assert not Path("outputs/attack").exists()
