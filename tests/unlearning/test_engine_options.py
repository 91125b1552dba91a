"""The engine's options from the command line: prefix cache, LoRA, sharding, and their refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import QUICK, run, succeed
from unlearnctl.models.delta import read_delta
from unlearnctl.training import fill
from unlearnctl.utils.paths import cache_dir

RMU = ("train", *QUICK, "objective=rmu")


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))
    fill._kept.clear()  # as in a process of its own


def checkpoint(folder: str) -> bytes:
    return (Path(folder) / "checkpoint/delta.safetensors").read_bytes()


@pytest.mark.full
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_cached_run_leaves_the_same_checkpoint(kind: str) -> None:
    plain = succeed(*RMU, "run=plain").run_dir
    cached = succeed(*RMU, "run=cached", f"trainer.prefix_cache={kind}")
    assert "prefix cache: at most " in cached.out
    assert "prefix cache: filled in " in cached.out
    assert checkpoint(plain) == checkpoint(cached.run_dir)


@pytest.mark.full
def test_the_stated_size_holds_and_another_seed_or_model_has_a_cache_of_its_own() -> None:
    done = succeed(*RMU, "run=a", "trainer.prefix_cache=disk")
    stated = float(done.out.split("at most ")[1].split(" kB")[0]) * 1e3
    folders = list((cache_dir() / "prefix").iterdir())
    assert len(folders) == 1
    held = sum(f.stat().st_size for f in folders[0].glob("*.safetensors"))
    assert 0.8 * stated < held < 1.2 * stated  # short rows: the files' headers count
    fill._kept.clear()
    assert "filled in" not in succeed(*RMU, "run=b", "trainer.prefix_cache=disk", "objective.alpha=3").out
    succeed(*RMU, "run=c", "trainer.prefix_cache=disk", "seed=1")
    succeed(*RMU, "run=d", "trainer.prefix_cache=disk", "model.dtype=bfloat16")
    assert len(list((cache_dir() / "prefix").iterdir())) == 3


@pytest.mark.full
def test_a_damaged_cache_is_computed_again() -> None:
    first = succeed(*RMU, "run=a", "trainer.prefix_cache=disk").run_dir
    (shard,) = (cache_dir() / "prefix").glob("*/*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-5] ^= 255
    shard.write_bytes(data)
    fill._kept.clear()
    second = succeed(*RMU, "run=b", "trainer.prefix_cache=disk")
    assert "damaged or stale; computing it again" in second.out
    assert checkpoint(first) == checkpoint(second.run_dir)


@pytest.mark.full
@pytest.mark.parametrize("objective", ["rmu_cosine", "npo"])
def test_lora_leaves_a_delta_like_any_other(objective: str) -> None:
    done = succeed(
        "train", *QUICK, f"objective={objective}", "trainer.lora={rank: 2, alpha: 4}", "trainer.steps=4"
    )
    tensors, _ = read_delta(Path(done.run_dir) / "checkpoint")
    assert tensors
    assert all("lora" not in name and tensor.ndim == 2 for name, tensor in tensors.items())
    record = json.loads((Path(done.run_dir) / "results.json").read_text())
    assert record["train"]["memory"]["gradients"] == 4 * record["train"]["trained"]["parameters"]
    succeed("export", f"run={done.run_dir}", "to=merged")
    again = succeed("eval", "model=local", "model.path=merged", "model.dtype=float32", "eval=[smoke]").run_dir
    assert json.loads((Path(again) / "results.json").read_text())["after"] == record["after"]


@pytest.mark.full
def test_memory_held_is_what_was_planned() -> None:
    for args in (("objective=npo",), ("objective=rmu", "trainer.prefix_cache=memory")):
        done = succeed("train", *QUICK, *args, f"name={len(args)}{args[0][-3:]}")
        line = next(x for x in done.out.splitlines() if x.startswith("held in training: "))
        assert "planned" not in line.replace("optimizer (planned", ""), (
            line
        )  # AdamW's step counters are not planned


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("trainer.prefix_cache=ram",), "trainer.prefix_cache=ram: unknown"),
        (("trainer.prefix_cache=disk", "trainer.prefix_cache_gb=0"), "trainer.prefix_cache_gb=0: must be"),
        (("trainer.prefix_cache=disk", "trainer.prefix_cache_gb=1e-6"), "trainer.prefix_cache_gb=1e-06: the cache"),
        (("trainer.prefix_cache=memory", "objective.reduction=all"), "trainer.prefix_cache=memory: objective"),
        (("trainer.prefix_cache=memory", "objective=rmu_adaptive", "objective.reduction=all"),
         "trainer.prefix_cache=memory: objective.reduction=all reads padding, which is not kept; use reduction=masked"),
        (("trainer.prefix_cache=disk", "objective=rmu_adaptive", "objective.reduction=all",
          "objective.granularity=per_token"), "trainer.prefix_cache=disk: objective.reduction=all reads padding"),
        (("trainer.lora={rank: 0, alpha: 1}",), "trainer.lora.rank=0: must be a whole number"),
        (("trainer.lora={rank: 1, alpha: 1}", "trainer.trainable=[norm]"), "trainer.lora: "),
        (("trainer.sharding=fsdp",), "trainer.sharding=fsdp: requires more than one process"),
        (("trainer.sharding=fsdp", "trainer.monitor.every=1"), "trainer.sharding=fsdp: no in-training evaluation"),
        (("trainer.sharding=fsdp", "objective=grad_diff", "objective/retain=kl"), "trainer.sharding=fsdp: model."),
        (("trainer.compile=yes please",), "trainer.compile=yes please: must be true or false"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_weights_load(args: tuple[str, ...], message: str) -> None:
    done = run(*RMU, *args)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}"), done.err
    assert not Path("outputs").exists()
