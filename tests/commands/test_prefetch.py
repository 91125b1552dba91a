"""`unlearnctl prefetch` against a hub that is played by a folder; and what a run without a network says."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub import constants

from tests.command import run
from unlearnctl.models.hub_cache import missing_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Fakes of the three functions that are called, with the signatures of the real ones."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.asked = home / "hub", []
        self.files = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "weights"}
        real = {"snapshot_download": inspect.signature(huggingface_hub.snapshot_download)}
        real["load_dataset"] = inspect.signature(datasets.load_dataset)
        real["repo_info"] = inspect.signature(huggingface_hub.HfApi.repo_info)
        self.load = datasets.load_dataset

        def snapshot_download(*args: Any, **kwargs: Any) -> str:
            given = real["snapshot_download"].bind(*args, **kwargs).arguments
            self.asked.append(given)
            if given["repo_id"].startswith("gated/"):
                raise OSError("401 Client Error: gated repo")
            kind = given.get("repo_type") or "model"
            return str(self.put(kind, given["repo_id"], {} if given.get("local_files_only") else self.files))

        def load_dataset(*args: Any, **kwargs: Any) -> Any:
            given = real["load_dataset"].bind(*args, **kwargs).arguments
            if Path(given["path"]).exists() or "/" not in given["path"]:
                return self.load(*args, **kwargs)
            self.put("dataset", given["path"], {"train.parquet": "rows"})
            return [
                {"text": "a text of more than fifty characters, so that it is not left out of the corpus"}
            ]

        def repo_info(*args: Any, **kwargs: Any) -> Any:
            real["repo_info"].bind(*args, **kwargs)
            return SimpleNamespace(sha=COMMIT)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        monkeypatch.setattr(constants, "HF_HOME", str(home))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(self.cache))

    def put(self, kind: str, repo: str, files: dict[str, str]) -> Path:
        top = self.cache / f"{kind}s--{repo.replace('/', '--')}"
        folder = top / "snapshots" / COMMIT
        (top / "refs").mkdir(parents=True, exist_ok=True)
        (top / "refs/main").write_text(COMMIT)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # conftest's: nothing else may go online
    return Hub(tmp_path / "home", monkeypatch)


def test_what_is_local_is_said_to_be(hub: Hub) -> None:
    done = run("prefetch", "eval=[smoke,tinyworld]")
    assert done.code == 0, done.err
    assert "model: tinyworld:weights: local" in done.out
    assert "data: tinyworld_hazard: local" in done.out
    assert "eval: smoke: local" in done.out
    assert not hub.asked
    assert not (Path("home") / "unlearnctl-manifest.json").exists()


def test_fetches_model_and_data_once_and_writes_a_manifest(hub: Hub) -> None:
    args = ("model=llama3_8b", "data=wmdp_bio", "eval=[smoke]")
    first = run("prefetch", "-m", *args, "objective.alpha=1,10")
    assert first.code == 0, first.err
    assert f"model: meta-llama/Meta-Llama-3-8B@{COMMIT[:8]}: 3 files, 0.00 GB, 3 fetched" in first.out
    assert f"data wmdp_bio: Salesforce/wikitext@{COMMIT[:8]}: 1 files, 0.00 GB, 1 fetched" in first.out
    assert first.out.count("Meta-Llama-3-8B@") == 1
    assert hub.asked[0]["revision"] == "8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920"
    assert "*.bin" not in hub.asked[0]["allow_patterns"]
    found = json.loads(Path("home/unlearnctl-manifest.json").read_text())["repositories"]
    assert {entry["repo"] for entry in found} == {
        "meta-llama/Meta-Llama-3-8B", "cais/wmdp-bio-forget-corpus", "Salesforce/wikitext"
    }  # fmt: skip
    (weights,) = (f for f in found[0]["files"] if f["path"] == "model.safetensors")
    assert weights == {
        "path": "model.safetensors", "bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()
    }  # fmt: skip
    again = run("prefetch", *args)
    assert again.out.count("all there already") == 3


def test_one_failure_does_not_stop_the_others(hub: Hub) -> None:
    done = run("prefetch", "model=local", "model.path=gated/model", "data=wmdp_bio", "eval=[smoke]")
    assert done.code == 2
    assert "failed: model gated/model None: gated or private repository: run `hf auth login`" in done.out
    assert "Salesforce/wikitext@" in done.out
    assert done.err == "error: 1 things could not be fetched, as reported above\n"


def test_a_classifier_is_fetched(hub: Hub) -> None:
    prompts = Path("p.jsonl")
    prompts.write_text('{"prompt": "x"}\n')
    args = ("eval=[toxicity]", f"eval.toxicity.path={prompts}", "eval.toxicity.scorer=org/clf")
    done = run("prefetch", *args, "eval.toxicity.scorer_revision=abc")
    assert done.code == 0, done.err
    assert "classifier: org/clf@" in done.out
    assert hub.asked[0]["revision"] == "abc"


def test_with_the_hub_off_it_says_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = run("prefetch", "model=llama3_8b", "eval=[smoke]")
    assert done.code == 2
    assert (
        "HF_HUB_OFFLINE=1: the hub is switched off, so meta-llama/Meta-Llama-3-8B cannot be fetched"
        in done.out
    )
    assert not hub.asked


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--resume", "x"), "unlearnctl prefetch: --resume: takes what `unlearnctl train` takes"),
        (("model=llama3_8x",), "model=llama3_8x: unknown (did you mean 'llama3_8b'?)"),
        (("model=local",), "model.path=???: required"),
    ],
)
def test_wrong_arguments_are_one_line(args: tuple[str, ...], message: str) -> None:
    done = run("prefetch", *args)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) == 1


def test_a_run_without_a_network_names_the_file_and_the_command(hub: Hub) -> None:
    args = ("model=local", "model.path=org/model", "data=wmdp_bio", "eval=[smoke]")
    done = run("train", *args)
    assert done.code == 2
    assert done.err == (
        "error: model.path=org/model: config.json is not in the hub's cache, and the hub is switched off; "
        "fetch it where there is a network: unlearnctl prefetch model=local model.path=org/model data=wmdp_bio "
        "'eval=[smoke]'\n"
    )


def test_a_shard_that_is_missing_is_named(hub: Hub) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    files = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": json.dumps(index)}
    hub.put("model", "org/model", files)
    assert missing_file("org/model", None) == "model-1.safetensors"
    hub.put("model", "org/model", {"model-1.safetensors": "w"})
    assert missing_file("org/model", None) == "model-2.safetensors"
    hub.put("model", "org/model", {"model-2.safetensors": "w"})
    assert missing_file("org/model", None) is None
