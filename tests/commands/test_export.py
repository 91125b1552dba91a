"""Export and eval of a run: a whole folder, the run's own scores, and every refusal in one line."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.command import QUICK, run, succeed
from unlearnctl.tinyworld import model_dir


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One quick run, shared; tests copy it before they damage it."""
    folder = tmp_path_factory.mktemp("trained")
    return Path(succeed("train", *QUICK, f"output_dir={folder}", "run=r").run_dir)


@pytest.fixture
def copy(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, "r"))


def refused(*args: str) -> str:
    done = run(*args)
    assert done.code == 2, done.out
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1, done.err
    return done.err


def test_an_export_is_a_model_folder_with_a_card(copy: Path) -> None:
    out = succeed("export", "run=r", "to=m").out
    assert {"config.json", "tokenizer.json", "model.safetensors", "README.md"} <= {
        p.name for p in Path("m").iterdir()
    }
    assert "model.path=m" in out
    assert not Path("m.partial").exists()


def test_existing_target(copy: Path) -> None:
    Path("m").mkdir()
    assert "to=m: exists already" in refused("export", "run=r", "to=m")
    assert not list(Path("m").iterdir())


@pytest.mark.parametrize("damage", [b"", b"cut"])
def test_damaged_checkpoint(damage: bytes, copy: Path) -> None:
    (copy / "checkpoint" / "delta.safetensors").write_bytes(damage)
    assert "damaged or cut short" in refused("export", "run=r", "to=m")
    assert "damaged or cut short" in refused("eval", "run_dir=r", "eval=[smoke]")
    assert sorted(p.name for p in Path().iterdir()) == ["r"]


def test_missing_checkpoint(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoint")
    assert "no delta checkpoint here" in refused("export", "run=r", "to=m")
    assert "no delta checkpoint here" in refused("eval", "run_dir=r", "eval=[smoke]")


@pytest.mark.parametrize("content", ["", "[]", '{"config": {}}'])
def test_damaged_results(content: str, copy: Path) -> None:
    (copy / "results.json").write_text(content)
    assert "results.json is damaged" in refused("export", "run=r", "to=m")


def test_a_checkpoint_of_another_base(copy: Path) -> None:
    manifest = copy / "checkpoint" / "delta.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**data, "identity": "other@0:float32", "content": "0"}))
    assert "its checkpoint was made from other@0:float32" in refused("export", "run=r", "to=m")
    assert "its checkpoint was made from other@0:float32" in refused("eval", "run_dir=r", "eval=[smoke]")


def test_no_disk_space_for_the_whole_model(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    assert "to=m: not enough disk space: the whole model needs" in refused("export", "run=r", "to=m")
    assert not Path("m").exists()


@pytest.mark.full
def test_a_run_of_another_verb_is_no_base_for_eval(copy: Path) -> None:
    measured = succeed("eval", "eval=[smoke]", "device=cpu", "run=e").run_dir
    assert "not a run of `unlearnctl train`" in refused("eval", f"run_dir={measured}", "eval=[smoke]")


@pytest.fixture
def littered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with old weights in many formats and a stale index, and the run `a` that trained it."""
    monkeypatch.chdir(tmp_path)
    base = Path(shutil.copytree(model_dir("weights"), "base"))
    for name in ("model_old.safetensors", "consolidated.safetensors", "a.gguf", "onnx/model.onnx", "x.py"):
        (base / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(base / "model.safetensors", base / name)
    (base / "model.safetensors.index.json").write_text(
        '{"weight_map": {"lm_head.weight": "gone.safetensors"}}'
    )
    mine = ("model=local", "model.path=base", "model.dtype=float32", "name=x", "run=a")
    return Path(succeed("train", *QUICK, *mine).run_dir)


def scores(folder: str | Path) -> dict:
    after = json.loads((Path(folder) / "results.json").read_text())["after"]["smoke"]
    return {name: metric["value"] for name, metric in after.items()}


@pytest.mark.full
def test_what_is_published_is_what_was_trained(littered: Path) -> None:
    out = succeed("export", f"run={littered}", "to=out").out
    assert out.splitlines()[0] == (
        "left out, because transformers does not load them: 7 (a.gguf, consolidated.safetensors, metrics.json, "
        "model.safetensors.index.json, model_old.safetensors, onnx/, x.py)"
    )
    assert {p.name for p in Path("out").iterdir()} - {"generation_config.json", "special_tokens_map.json"} == {
        "README.md", "config.json", "lineage.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    done = succeed("eval", "model=local", "model.path=out", "model.dtype=float32", "eval=[smoke]", "run=e")
    assert scores(done.run_dir) == scores(littered)
    assert 'base_model: "local"' not in Path("out/README.md").read_text()


def test_a_link_out_of_the_base_is_refused(littered: Path) -> None:
    Path("secret").write_text("secret")
    Path("base/notes.json").symlink_to("../secret")
    assert refused("export", f"run={littered}", "to=out") == (
        "error: model.path=base: notes.json is a link that leads out of the folder; copy the file into it, "
        "or remove the link\n"
    )
    assert not Path("out").exists()
    assert not Path("out.partial").exists()


@pytest.mark.full
def test_an_export_of_an_export(littered: Path) -> None:
    succeed("export", f"run={littered}", "to=out")
    again = succeed(
        "train", *QUICK, "model=local", "model.path=out", "model.dtype=float32", "name=y", "run=b"
    )
    succeed("export", f"run={again.run_dir}", "to=twice")
    card = Path("twice/README.md").read_text()
    assert "## Chain\n\n1. a local model whose name on the hub is not known, weights `base@" in card
    assert card.count("rmu_cosine on `tinyworld_hazard` (checkpoint `") == 2
