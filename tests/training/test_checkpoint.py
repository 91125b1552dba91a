"""Checkpoints come back as they were written, or not at all; what is damaged is never used."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.synthetic import make_trainer
from tests.training.test_loop import OBJECTIVES
from unlearnctl.objectives.rmu import RMU
from unlearnctl.training import checkpoint
from unlearnctl.training.checkpoint import Damaged, latest, numbered, read, write
from unlearnctl.training.loop import Trainer
from unlearnctl.training.snapshot import load_random, random_state
from unlearnctl.training.state import load_trainer, trainer_state
from unlearnctl.utils.errors import UserError

STATE = {
    "bf16": torch.tensor([1.0, 2.5], dtype=torch.bfloat16),
    "numbers": {0: 0.1 + 0.2, 7: float("inf"), "a/b": None, "np": np.float32(0.5)},
    "list": [True, (1, "x"), torch.tensor(3), torch.zeros(0)],
    "bytes": torch.arange(6, dtype=torch.uint8)[::2],
}
ABOUT = {"config": "abc"}


def said(folder: Path) -> tuple[int | None, list[str]]:
    """The number in the state that is found, and what was said on the way."""
    lines: list[str] = []
    found = latest(folder, lines.append)
    return (None if found is None else found[0]["n"]), lines


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    state, about = read(write(tmp_path / "training", STATE, ABOUT, keep=2))
    assert about == ABOUT
    assert torch.equal(state["bf16"], STATE["bf16"])
    assert state["bf16"].dtype == torch.bfloat16
    assert state["numbers"] == {0: 0.1 + 0.2, 7: float("inf"), "a/b": None, "np": 0.5}
    assert state["list"][:2] == [True, (1, "x")]
    assert (state["list"][2].item(), state["list"][3].numel()) == (3, 0)
    assert state["bytes"].tolist() == [0, 2, 4]


def test_memory_that_is_shared_is_written_twice(tmp_path: Path) -> None:
    row = torch.arange(4.0)
    state, _ = read(write(tmp_path, {"a": row, "b": row, "c": row[1:]}, {}, keep=1))
    assert [state[k].tolist() for k in "abc"] == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3]]


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="/f: a function cannot be kept"):
        write(tmp_path, {"f": said}, {}, keep=1)
    assert not list(tmp_path.iterdir())


def test_the_last_n_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".000001.tmp").mkdir()
    for n in range(5):
        write(tmp_path, {"n": n}, {}, keep=2)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["000004", "000005"]
    assert said(tmp_path) == (4, [])
    assert latest(tmp_path / "nowhere", print) is None


@pytest.mark.parametrize("file", [checkpoint.TENSORS, checkpoint.STATE, checkpoint.MANIFEST])
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "missing", "longer"])
def test_a_damaged_file_sends_back_to_the_one_before(file: str, damage: str, tmp_path: Path) -> None:
    for n in range(2):
        path = write(tmp_path, {"n": n, "t": torch.arange(9.0)}, ABOUT, keep=2)
    content = (path / file).read_bytes()
    if damage == "missing":
        (path / file).unlink()
    else:
        middle = len(content) // 2
        (path / file).write_bytes({
            "cut": content[:middle], "empty": b"", "longer": content + b"0",
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        }[damage])  # fmt: skip
    number, lines = said(tmp_path)
    assert number == 0
    assert len(lines) == 1
    assert lines[0].startswith(f"checkpoint {path}: ")
    assert lines[0].endswith("the one before it is used")


def test_every_single_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = write(tmp_path, {"n": 5, "t": torch.arange(3.0)}, ABOUT, keep=1)
    good = json.dumps(json.loads((path / checkpoint.MANIFEST).read_text()), sort_keys=True)
    for file in path.iterdir():
        content = file.read_bytes()
        for place in range(len(content)):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            try:
                state, _ = read(path)
            except Damaged:
                continue
            assert file.name == checkpoint.MANIFEST  # white space in JSON
            assert json.dumps(json.loads(file.read_text()), sort_keys=True) == good
            assert state["n"] == 5
        file.write_bytes(content)


def test_a_manifest_that_was_made_up_is_not_believed(tmp_path: Path) -> None:
    """Right checksums, but other shapes, another format, a file that is not its own, a pickle."""
    path = write(tmp_path, {"t": torch.arange(3.0)}, ABOUT, keep=1)
    manifest = json.loads((path / checkpoint.MANIFEST).read_text())
    del manifest["sha256"]
    other = {"n": ["torch.float32", [3]]}
    for change in ({"tensors": other}, {"format": "x"}, {"files": {}}, {"files": {"../../x": "0"}}):
        bad = {**manifest, **change}
        bad["sha256"] = checkpoint._digest(bad)
        (path / checkpoint.MANIFEST).write_text(json.dumps(bad))
        with pytest.raises(Damaged):
            read(path)
    torch.save({"t": torch.arange(3.0)}, path / checkpoint.TENSORS)
    bad = {
        **manifest,
        "files": {**manifest["files"], checkpoint.TENSORS: checkpoint.sha256(path / checkpoint.TENSORS)},
    }
    bad["sha256"] = checkpoint._digest(bad)
    (path / checkpoint.MANIFEST).write_text(json.dumps(bad))
    with pytest.raises(Damaged, match="SafetensorError"):
        read(path)


@pytest.mark.parametrize("name", ["fsync", "rename"])
def test_a_write_that_fails_leaves_what_was_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"n": 1}, {}, keep=1)

    def failing(*args: object) -> None:
        raise OSError(28, "No space left on device")

    owner = os if name == "fsync" else Path
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, {"n": 2}, {}, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["000001"]
    assert said(tmp_path) == (1, [])


def test_nothing_is_pickled() -> None:
    import unlearnctl

    source = "".join(p.read_text() for p in Path(unlearnctl.__file__).parent.rglob("*.py"))
    assert not [word for word in ("import pickle", "torch.save(", "torch.load(") if f" {word}" in source]


def rest_of(trainer: Trainer) -> tuple[list[float], dict[str, torch.Tensor]]:
    losses: list[float] = []
    trainer.on_step = lambda row: losses.append(row["loss"])
    trainer.fit()
    return losses, {n: p.detach().clone() for n, p in trainer.tapped.trained().items()}


@pytest.mark.first(6)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Ten steps alone; and four, a checkpoint, and six more in a new trainer of another random state."""
    settings = {"topics": 2, "micro_batch": 4, "schedule": "linear", "warmup_steps": 2}
    losses, weights = rest_of(make_trainer(OBJECTIVES[name](), **settings))
    first = make_trainer(OBJECTIVES[name](), **settings)
    for _ in range(4):
        first.advance()
    path = write(tmp_path, trainer_state(first), {}, keep=1)
    torch.manual_seed(99)
    second = make_trainer(OBJECTIVES[name](), **settings)
    load_trainer(second, read(path)[0])
    assert second.result.steps == 4
    after, same = rest_of(second)
    assert after == losses[4:]
    assert all(torch.equal(weights[n], same[n]) for n in weights)
    assert set(second.result.tokens.values()) == {990}


class Odd(RMU):
    """State of every kind: a generator, a hidden list, a buffer that is not persistent, one found late, extra state."""

    def setup(self, hidden_size: int, topics: int, generator: torch.Generator) -> None:
        super().setup(hidden_size, topics, generator)
        self.own = torch.Generator().manual_seed(3)
        self._seen: list[float] = []
        self.register_buffer("drawn", torch.zeros(()), persistent=False)
        self.more = {1, 2}  # a set is no plain data

    def after_step(self, terms) -> None:
        super().after_step(terms)
        self.drawn += torch.rand((), generator=self.own)
        self._seen.append(terms["forget"])
        self.register_buffer("late", torch.tensor(self._seen))
        self.more.add(len(self._seen))

    def get_extra_state(self) -> list[int]:
        return sorted(self.more)

    def set_extra_state(self, state: list[int]) -> None:
        self.more = set(state)


def test_any_state_of_an_objective_is_kept(tmp_path: Path) -> None:
    first, second = (make_trainer(Odd(4, 4.0, 10.0)) for _ in range(2))
    for _ in range(3):
        first.advance()
    load_trainer(second, read(write(tmp_path, trainer_state(first), {}, keep=1))[0])
    for trainer in (first, second):
        trainer.fit()
    a, b = first.objective, second.objective
    assert a._seen == b._seen
    assert a.more == b.more == set(range(1, 11))
    assert torch.equal(a.drawn, b.drawn)
    assert torch.equal(a.late, b.late)


def test_an_optimiser_keeps_its_own_precision(tmp_path: Path) -> None:
    """float32 moments of bfloat16 weights, as some optimisers have; torch's own loading would round them."""
    first, second = (make_trainer(RMU(4, 4.0, 10.0)) for _ in range(2))
    first.advance()
    for trainer in (first, second):
        for entries in trainer.optimizer.state.values():
            entries["exp_avg"] = entries["exp_avg"].double() / 3
    load_trainer(second, read(write(tmp_path, trainer_state(first), {}, keep=1))[0])
    for a, b in zip(first.parameters, second.parameters, strict=True):
        one, other = (t.optimizer.state[p]["exp_avg"] for t, p in ((first, a), (second, b)))
        assert other.dtype == torch.float64
        assert torch.equal(one, other)


def test_a_state_of_other_tensors_is_refused() -> None:
    state = trainer_state(make_trainer(RMU(4, 4.0, 10.0)))
    with pytest.raises(
        UserError, match=r"the training checkpoint's model\.layers\.0\.mlp\.down_proj\.weight is None"
    ):
        load_trainer(make_trainer(RMU(4, 4.0, 10.0), trainable=[r"down_proj"]), {
            **state, "tensors": {k: v for k, v in state["tensors"].items() if ".2." not in k}
        })  # fmt: skip


def test_random_generators_continue_where_they_were() -> None:
    state = random_state()
    drawn = torch.rand(2).tolist(), random.random(), np.random.rand(2).tolist()
    load_random(state)
    assert drawn == (torch.rand(2).tolist(), random.random(), np.random.rand(2).tolist())


def test_older_ones_that_are_half_removed_do_no_harm(tmp_path: Path) -> None:
    for n in range(2):
        write(tmp_path, {"n": n}, {}, keep=3)
    (numbered(tmp_path)[0] / checkpoint.MANIFEST).unlink()
    assert said(tmp_path) == (1, [])
    shutil.rmtree(numbered(tmp_path)[1])
    assert said(tmp_path)[0] is None
