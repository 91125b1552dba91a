"""Every mistake is one line that names the key, exit code 2, before weights load, and leaves no run directory."""

from __future__ import annotations

import json
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from tests.command import QUICK, run
from tests.models.tiny import tiny_model
from tests.models.words import word_tokenizer

LOCAL = ("data=local", "data.forget.path=f.jsonl", "data.retain.path=r.txt", "data.retain.min_chars=1")


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with good and bad files; loading weights fails the test."""
    monkeypatch.chdir(tmp_path)
    Path("f.jsonl").write_text('{"text": "w1 w2 w3 w4", "n": 1}\n' * 8)
    Path("r.txt").write_text("w5 w6 w7 w8 w9\n" * 8)
    Path("empty.jsonl").write_text("")
    Path("cut.jsonl").write_text('{"text": "w1 w2"}\n{"text": "w1')
    Path("typed.jsonl").write_text('{"text": "w1 w2"}\n{"text": 7}\n')
    Path("latin.txt").write_bytes(b"w1 w2\ncaf\xe9\n")
    Path("data.xyz").write_text("w1")
    Path("folder").mkdir()
    Path("taken/train/n/r").mkdir(parents=True)
    Path("taken/train/n/r/config.yaml").write_text("kept: true\n")
    monkeypatch.setattr(
        "transformers.AutoModelForCausalLM.from_pretrained", lambda *a, **k: pytest.fail("loaded")
    )


def pickled(folder: Path) -> str:
    tiny_model("llama").save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.rename(folder / "pytorch_model.bin")
    return str(folder)


def oversized_tokenizer(folder: Path) -> str:
    tiny_model("llama").save_pretrained(folder)
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([f"extra{i}" for i in range(50)])
    tokenizer.save_pretrained(folder)
    return str(folder)


CASES = [
    (["trian"], "verb=trian: unknown (did you mean 'train'?)"),
    (["train", "objective=rmu_cosin"], "objective=rmu_cosin: unknown (did you mean 'rmu_cosine'?)"),
    (["train", "model=llama3_8"], "model=llama3_8: unknown (did you mean 'llama3_8b'?)"),
    (["train", "data=tinyworld_hazrd"], "data=tinyworld_hazrd: unknown (did you mean 'tinyworld_hazard'?)"),
    (["train", "eval=[tinywrld]"], "eval=tinywrld: unknown (did you mean 'tinyworld'?)"),
    (["train", "objective/retain=nl", "objective=npo"], "objective/retain=nl: unknown"),
    (["train", "objective.layr=3"], "objective.layr: unknown key (did you mean 'layer'?)"),
    (["train", "trainer.step=3"], "trainer.step: unknown key (did you mean 'steps'?)"),
    (["train", "no_such=1"], "no_such"),
    (["train", "objective.layer=8"], "objective.layer=8: tinyworld has 8 blocks, so a layer is 0 to 7"),
    (["train", "objective.layer=[3,12]"], "objective.layer=12: tinyworld has 8 blocks"),
    (["train", "objective.alpha=-1"], "objective.alpha=-1: must be 0 or more"),
    (["train", "objective.alpha=high"], "objective.alpha=high: must be a number"),
    (["train", "objective.target=awya"], "objective.target=awya: must be random or away"),
    (["train", "trainer.trainable=[mlp.dwn_proj]"], "trainer.trainable=mlp.dwn_proj: matches no parameter"),
    (["train", "trainer.trainable=['(']"], "trainer.trainable=(: not a regular expression"),
    (["train", "trainer.trainable=['layers.7.mlp']", "objective.layer=3"], "lies above block 3"),
    (["train", "trainer.steps=ten"], "trainer.steps=ten: must be a whole number"),
    (["train", "trainer.steps=0"], "trainer.steps=0: must be a whole number, 1 or more"),
    (["train", "trainer.optimizer.lr=-1"], "trainer.optimizer.lr=-1: must be a positive number"),
    (["train", "trainer.schedule=cosin"], "trainer.schedule=cosin: unknown (did you mean 'cosine'?)"),
    (["train", "trainer.global_batch=6", "trainer.micro_batch=4"], "trainer.global_batch=6: not a multiple"),
    (["train", "trainer.monitor.every=0", "trainer.monitor.keep=best"], "trainer.monitor.every=0"),
    (["train", "trainer.trunk=true", "objective=npo", "trainer.monitor.every=0"], "trainer.trunk=true"),
    (["train", "trainer.device=cuda"], "trainer.device=cuda: no CUDA device"),
    (["train", "trainer.device=tpu"], "trainer.device=tpu: must be null, cpu or cuda"),
    (["train", "model.dtype=float23"], "model.dtype=float23: unknown (did you mean 'float32'?)"),
    (["train", "data.padding_side=middle"], "data.padding_side=middle: unknown"),
    (["train", "data=local"], "required"),
    (["train", *LOCAL, "data.forget.path=g.jsonl"], "data.forget.path=g.jsonl: no such file (did you mean"),
    (["train", *LOCAL, "data.forget.path=folder"], "data.forget.path=folder: a folder without data"),
    (["train", *LOCAL, "data.forget.path=empty.jsonl"], "data.forget.path=empty.jsonl: empty"),
    (["train", *LOCAL, "data.forget.field=txt"], "has no such field (did you mean 'text'?). It has: text, n"),
    (["train", *LOCAL, "data.forget.path=typed.jsonl"], "typed.jsonl: line 2: expected text, got int"),
    (["train", *LOCAL, "data.forget.path=cut.jsonl"], "cut.jsonl: line 2 is not JSON"),
    (["train", *LOCAL, "data.retain.path=latin.txt"], "data.retain.path=latin.txt: line 2 is not UTF-8"),
    (["train", *LOCAL, "data.forget.path=data.xyz"], "unknown suffix '.xyz'"),
    (["train", *LOCAL, "data.forget.format=yaml"], "data.forget.format=yaml: unknown"),
    (["train", "data=wmdp_bio"], "data.forget.path=cais/wmdp-bio-forget-corpus"),
    (["train", "model=llama3_8b"], "model.path=meta-llama/Meta-Llama-3-8B"),
    (["train", "model=local", "model.path=./nowhere"], "model.path=./nowhere: no such folder"),
    (["train", "model=local", "model.path=folder"], "model.path=folder: no config.json there"),
    (["train", "eval.tinyworld.split=test"], "eval.tinyworld.split=test: unknown"),
    (["train", "eval=[toxicity]"], "required"),
    (["train", "output_dir=taken", "name=n", "run=r"], "run=r: taken/train/n/r exists already"),
    (["train", "objective.alpha=[1"], "objective.alpha=[1: cannot be parsed"),
    (["eval", "run_dir=folder"], "run_dir=folder: no run directory there"),
    (["eval", "device=cuda"], "device=cuda: no CUDA device"),
    (["export", "run=folder", "to=x"], "run=folder: no finished run there"),
    (["export", "run=folder"], "to=???: required"),
    (["report", "folder"], "folder"),
    (["ls", "objectiv"], "objectiv"),
    (["tinyworld", "biuld"], "tinyworld=biuld: unknown (did you mean 'build'?)"),
    (["tinyworld", "build"], "to=: required"),
    (["train", "seed=abc"], "seed=abc: must be a whole number"),
    (["train", "seed=-1"], "seed=-1: must be a whole number, 0 to"),
    (["train", "output_dir=null"], "output_dir=None: required"),
    (["train", "name=../x"], "name=../x: must be the name of a folder inside output_dir"),
    (["train", "run="], "run=: must be the name of a folder"),
    (["train", "launch.dry_run=maybe"], "launch.dry_run=maybe: must be true or false"),
    (["train", "model.trust_remote_code=maybe"], "model.trust_remote_code=maybe: must be true or false"),
    (
        ["train", "model.attn_implementation=flash"],
        "model.attn_implementation=flash: unknown. Allowed: eager",
    ),
    (["train", "model.blocks=model.norm"], "model.blocks=model.norm: not a block list"),
    (["train", "objective.layer=x"], "objective.layer=x: must be a whole number or a list of whole numbers"),
    (["train", "objective=rmu", "objective.layer=1.5"], "objective.layer=1.5: must be a whole number"),
    (["train", "objective._target_=no.Such"], "objective._target_=no.Such: no such class"),
    (["train", "++objective.foo=3"], "objective=foo: unknown"),
    (["train", "objective.layer=${nothing}"], "objective.layer: Interpolation key 'nothing' not found"),
    (["train", "model=null"], "a config group takes the name of an option"),
    (["train", "trainer.trainable=[]"], "trainer.trainable=[]: must name something"),
    (["train", "trainer.trainable=[1]"], "trainer.trainable=[1]: must be a list of texts or null"),
    (["train", "trainer.optimizer.lr=nan"], "trainer.optimizer.lr=nan: must be a positive number"),
    (
        ["train", "trainer.optimizer._target_=torch.optim.Adm"],
        "trainer.optimizer._target_=torch.optim.Adm: no such class",
    ),
    (["train", "trainer.optimizer.weight_decay=-1"], "trainer.optimizer: Invalid weight_decay value: -1"),
    (["train", "trainer.checkpoint=null"], "trainer.checkpoint=None: must be a mapping"),
    (["train", "trainer.checkpoint.every=often"], "trainer.checkpoint.every=often: must be a number"),
    (["train", "trainer.checkpoint.keep=0"], "trainer.checkpoint.keep=0: must be a whole number, 1 or more"),
    (["train", "resume=nowhere"], "resume=nowhere: no run directory there"),
    (["train", "trainer.optimizer=null"], "trainer.optimizer=None: must be a mapping"),
    (["train", "trainer.clip_norm=-1"], "trainer.clip_norm=-1: must be positive, or null"),
    (["train", "trainer.warmup_steps=-1"], "trainer.warmup_steps=-1: must be a whole number, 0 or more"),
    (
        ["train", "trainer.gradient_checkpointing=perhaps"],
        "gradient_checkpointing=perhaps: must be true or false",
    ),
    (["train", "trainer.monitor.max_retain_damage=2"], "max_retain_damage=2: must be 0 to 1"),
    (["train", "trainer.monitor=null"], "trainer.monitor=None: must be a mapping"),
    (
        ["train", "trainer.monitor.every=5", "eval=[]"],
        "trainer.monitor.every=5: in-training evaluation needs",
    ),
    (
        ["train", "+trainer.monitor.overrides.tinyworld.limt=3"],
        "eval.tinyworld=limt: unknown (did you mean 'limit'?)",
    ),
    (["train", "data.max_length=ten"], "data.max_length=ten: must be a whole number"),
    (["train", "data.shuffle=maybe"], "data.shuffle=maybe: must be true or false"),
    (["train", "data.forget=null"], "data.forget=None: needs a path"),
    (["train", *LOCAL, "data.forget.field=null"], "data.forget.field=null: must be text"),
    (["train", *LOCAL, "data.forget.limit=0"], "data.forget.limit=0: must be a positive number"),
    (["train", "eval.tinyworld.batch_tokens=0"], "eval.tinyworld.batch_tokens=0: must be a positive number"),
    (["train", "--foo"], "unlearnctl train: unrecognized arguments: --foo"),
    (["train", "--cfg", "jb"], "invalid choice: 'jb'"),
    (["train", "--config-dir", "nowhere"], "--config-dir: Additional config directory"),
    (["train", "objective.layer"], "objective.layer: cannot be parsed as key=value"),
    (["train", "model=local"], "model.path=???: required"),
    (["eval", "eval=[]"], "eval=[]: nothing to measure"),
    (["eval", "device=tpu"], "device=tpu: must be null, cpu or cuda"),
    (["eval", "seed=x"], "seed=x: must be a whole number"),
    (["export", "run=f.jsonl", "to=x"], "run=f.jsonl: no finished run there"),
    (["export", "run=null", "to=x"], "run=None: required"),
    (["export", "run=taken/train/n/r", "to=folder"], "to=folder: exists already"),
    (["tinyworld", "data", "foo"], "takes no argument, got foo"),
    (["tinyworld", "build", "to="], "to=: required"),
    (["completion", "tcsh"], "tcsh"),
]


@pytest.mark.parametrize(("args", "line"), CASES, ids=[" ".join(args) for args, _ in CASES])
def test_one_line(args: list[str], line: str) -> None:
    check(args, line)


def check(args: list[str], line: str) -> None:
    """Exit code 2, one line with the fragment, nothing written."""
    before, started = sorted(Path.cwd().rglob("*")), time.monotonic()
    done = run(*args)
    assert time.monotonic() - started < 5
    assert done.code == 2, done.out + done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1, done.err
    assert line in done.err
    assert "Traceback" not in done.err + done.out
    assert sorted(Path.cwd().rglob("*")) == before


def test_pickle_weights(tmp_path: Path) -> None:
    check(["train", "model=local", f"model.path={pickled(tmp_path / 'm')}"], "only pickle weights")


def test_tokenizer_and_model_disagree(tmp_path: Path) -> None:
    path = oversized_tokenizer(tmp_path / "m")
    check(
        ["train", "model=local", f"model.path={path}", "objective.layer=3"],
        "144 tokens, but the model's vocabulary has 96",
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n", None],
    ids=["empty", "pointer", "cut"],
)
@pytest.mark.parametrize("verb", ["train", "eval"])
def test_damaged_weights(verb: str, content: bytes | None, tmp_path: Path) -> None:
    """Shards are opened, not read, so that a folder that was not fetched whole is known at once."""
    tiny_model("llama").save_pretrained(tmp_path / "m")
    word_tokenizer().save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    layer = ["objective.layer=3"] if verb == "train" else []
    check(
        [verb, "model=local", f"model.path={tmp_path / 'm'}", *layer], "weights damaged, or not fetched whole"
    )


def test_a_shard_that_the_index_names_is_missing(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    check(
        ["train", "model=local", f"model.path={tmp_path / 'm'}", "objective.layer=3"],
        "its index names model-00002-of-00002.safetensors, which is missing",
    )


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("{not json", "config.json"),
        ("{}", "model_type"),
        ('{"model_type": "martian"}', "martian"),
        ('{"model_type": "t5"}', "t5 is not a causal language model"),
    ],
)
def test_a_folder_of_another_kind(config: str, line: str, tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(config)
    check(["train", "model=local", f"model.path={tmp_path / 'm'}", "objective.layer=3"], line)


def test_no_disk_space(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    check(["train"], "not enough disk space: the checkpoint and reports need about 0.05 GB, 0.00 GB are free")


def test_read_only_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    check(["train", "output_dir=file"], "output_dir=")


def test_debug_shows_the_traceback() -> None:
    done = run("train", "objective.layer=8", "--debug")
    assert done.code == 1
    assert done.err.startswith("Traceback (most recent call last):")
    assert "UserError: objective.layer=8: " in done.err.splitlines()[-1]


def test_a_sweep_goes_on_after_a_failing_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("train", *QUICK, "-m", "objective.layer=8,9")
    assert done.code == 2
    assert done.err.count("\n") == 3
    again = "try them again: unlearnctl train --resume outputs/train/sweep/"
    assert f"error: 2 of the sweep's members failed, as said above; {again}" in done.err
