"""A disk that refuses while a model is measured, repaired or exported, or in a member of a sweep."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.command import run, succeed
from tests.faults.conftest import MEASURE, SHORT
from tests.faults.inject import complete, refusing
from tests.unlearning.same_outcome import outcome
from unlearnctl.commands import attack
from unlearnctl.results.run import load_run
from unlearnctl.runs.lock import locked
from unlearnctl.sweeps.status import read_status
from unlearnctl.utils.hashing import sha256

FULL, READ_ONLY, DENIED, STALE = errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ESTALE
EVAL, REPAIR = Path("outputs/eval/n/e"), Path("outputs/repair")
REPAIRED = ("eval=[smoke]", "eval.smoke.limit=2", "strengths=[0.3]", "sequences=4", "batch_size=4", "device=cpu",
            "select={smoke:{limit:1}}", "run=p")  # fmt: skip


def numbers(folder: Path) -> dict[str, Any]:
    """All of results.json that must not depend on what happened on the way."""
    record = json.loads((folder / "results.json").read_text())
    return {
        key: record[key]
        for key in ("status", "before", "unlearned", "after", "repair", "flags")
        if key in record
    }


@pytest.fixture(scope="session")
def measured(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("measured")
    return numbers(
        Path(succeed("eval", *MEASURE, f"run_dir={whole}", f"output_dir={folder}", "run=e").run_dir)
    )


@pytest.fixture(scope="session")
def repaired(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("repaired")
    made = Path(succeed("repair", *REPAIRED, f"run_dir={whole}", f"output_dir={folder}").run_dir)
    return numbers(made), sha256(made / "checkpoint" / "delta.safetensors")


AGAIN = "the answers are kept, so the same command with run={} asks none of them again"


@pytest.mark.full
@pytest.mark.parametrize(
    ("pattern", "number", "line"),
    [
        ("*results.json*", FULL, f"{EVAL}/results.json: No space left on device"),
        ("*/items.json", STALE, f"{EVAL}/items.json: Stale file handle"),
        ("*results.json*", READ_ONLY, f"{EVAL}/results.json: Read-only file system"),
    ],
)  # fmt: skip
def test_an_evaluation_is_not_asked_twice(
    pattern: str, number: int, line: str, whole: Path, measured: dict[str, Any]
) -> None:
    command = ("eval", *MEASURE, f"run_dir={whole}", "run=e")
    with refusing(pattern, number):
        done = run(*command)
    assert done.code == 2
    assert done.err == f"error: {line}; {AGAIN.format('e')}\n"
    assert not (EVAL / "results.json").exists()
    complete(EVAL)
    assert "evaluation: resumes after " in succeed(*command).out
    assert numbers(EVAL) == measured
    assert "exists already; choose another run=NAME" in run(*command).err


@pytest.mark.full
def test_an_evaluation_without_a_place_for_answers_or_report(whole: Path, measured: dict[str, Any]) -> None:
    with refusing("*/answers/*.jsonl", FULL, skip=1), refusing("*report.html*", DENIED):
        done = succeed("eval", *MEASURE, "eval.smoke.parts=[narrative,mcq]", f"run_dir={whole}", "run=e")
    assert "evaluation: answers are not kept (No space left on device: " in done.out
    assert (
        f"report: not written ({EVAL}/report.html: Permission denied); to make it from results.json: "
        in done.out
    )
    assert numbers(EVAL)["after"]["smoke"] == measured["after"]["smoke"]


@pytest.mark.full
def test_an_evaluation_where_nothing_can_be_written(whole: Path) -> None:
    with refusing("outputs*", READ_ONLY):
        done = run("eval", *MEASURE, f"run_dir={whole}", "run=e")
    assert done.code == 2
    assert done.err == f"error: output_dir={EVAL}: cannot be written: Read-only file system\n"


@pytest.mark.full
def test_two_commands_on_one_directory(whole: Path, measured: dict[str, Any]) -> None:
    command = ("eval", *MEASURE, f"run_dir={whole}", "run=e")
    with refusing("*results.json*", FULL):
        run(*command)
    with locked(EVAL):
        done = run(*command)
    assert done.code == 2
    assert "is at work in it; wait until it has ended" in done.err
    other = run("eval", *MEASURE, f"run_dir={whole}", "run=e", "seed=1")
    assert other.err == f"error: run=e: {EVAL} exists already; choose another run=NAME\n"
    succeed(*command)
    assert numbers(EVAL) == measured


@pytest.mark.full
@pytest.mark.parametrize(
    ("pattern", "number", "file"),
    [
        ("*.delta.safetensors*", FULL, "checkpoint/delta.safetensors"),
        ("*results.json*", FULL, "results.json"),
        ("*delta.json*", READ_ONLY, "checkpoint/delta.json"),
    ],
)
def test_a_repair_is_made_again_from_its_answers(
    pattern: str, number: int, file: str, whole: Path, repaired: tuple[dict[str, Any], str]
) -> None:
    command = ("repair", *REPAIRED, f"run_dir={whole}")
    with refusing(pattern, number):
        done = run(*command)
    (folder,) = REPAIR.glob("*/p")
    reason = {FULL: "No space left on device", READ_ONLY: "Read-only file system"}[number]
    assert (done.code, done.err) == (2, f"error: {folder}/{file}: {reason}; {AGAIN.format('p')}\n")
    complete(folder)
    again = succeed(*command)
    assert again.out.count("evaluation: resumes after ") >= 2
    assert (numbers(folder), sha256(folder / "checkpoint" / "delta.safetensors")) == repaired


ATTACK = (
    "attack", "device=cpu", "attack=[quantize]", "attack.quantize.bits=[4,8]", "eval.tinyworld_held_out.limit=6",
    "eval.tinyworld_held_out.parts=[mcq]", "name=n", "run=a",
)  # fmt: skip
VARIANTS = "the variants that were measured are kept, so the same command with run=a continues"


@pytest.mark.full
@pytest.mark.parametrize(
    ("pattern", "skip", "kept"),
    [("*attacks.jsonl", 1, 1), ("*attacks.jsonl*", 0, 0), ("*results.json*", 0, 2)],
)
def test_an_attack_measures_no_variant_twice(
    pattern: str, skip: int, kept: int, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, folder = (*ATTACK, f"run_dir={whole}"), Path("outputs/attack/n/a")
    succeed(*command, "output_dir=undisturbed")
    with refusing(pattern, FULL, skip=skip):
        done = run(*command)
    assert done.code == 2
    assert done.err.endswith(f": No space left on device; {VARIANTS}\n")
    assert not (folder / "results.json").exists()
    measured: list[object] = []
    scores = attack._scores
    monkeypatch.setattr(attack, "_scores", lambda *given: measured.append(given) or scores(*given))
    with (folder / "attacks.jsonl").open("a") as file:
        file.write('{"of": "torn')
    with locked(folder):
        assert "is at work in it; wait until it has ended" in run(*command).err
    succeed(*command)
    assert len(measured) == 2 - kept
    here, there = (json.loads((path / "results.json").read_text())["attacks"] for path in
                   (folder, Path("undisturbed/attack/n/a")))  # fmt: skip
    assert here == there
    assert "exists already" in run(*command).err


@pytest.mark.full
def test_a_repair_without_its_curve(whole: Path, repaired: tuple[dict[str, Any], str]) -> None:
    with refusing("*repair_curve.csv*", DENIED):
        done = succeed("repair", *REPAIRED, f"run_dir={whole}")
    assert (
        "repair_curve.csv: Permission denied); to make it from results.json: unlearnctl report " in done.out
    )
    assert numbers(Path(done.run_dir))["repair"] == repaired[0]["repair"]


EXPORT_FAULTS = {
    "full-shard": ("*.partial/model*.safetensors", FULL),
    "full-card": ("*.partial/README.md", FULL),
    "full-config": ("*.partial/config.json", FULL),
    "stale-rename": ("out", STALE),
    "read-only": ("*.partial", READ_ONLY),
}


@pytest.mark.full
@pytest.mark.parametrize("name", EXPORT_FAULTS)
def test_an_export_is_whole_or_not_there(name: str, whole: Path) -> None:
    pattern, number = EXPORT_FAULTS[name]
    command = ("export", f"run={whole}", "to=out")
    with refusing(pattern, number):
        done = run(*command)
    reason = {
        FULL: "No space left on device",
        STALE: "Stale file handle",
        READ_ONLY: "Read-only file system",
    }[number]
    assert (done.code, done.err) == (2, f"error: out: {reason}\n")
    assert list(Path().iterdir()) == []
    succeed(*command)
    Path("out").rename("after")
    succeed(*command)
    assert {p.name: sha256(p) for p in Path("out").iterdir()} == {
        p.name: sha256(p) for p in Path("after").iterdir()
    }


def test_what_a_killed_export_left_is_replaced(whole: Path) -> None:
    Path("out.partial").mkdir()
    Path("out.partial/model.safetensors").write_bytes(b"half")
    succeed("export", f"run={whole}", "to=out")
    assert [path.name for path in Path().iterdir()] == ["out"]


def damage(folder: Path, file: str, how: str) -> None:
    path = folder / file
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content[: len(content) // 2] if how == "cut" else content))


@pytest.mark.full
@pytest.mark.parametrize(
    ("file", "how", "line"),
    [
        (
            "checkpoint/delta.safetensors",
            "flipped",
            "damaged or cut short (its checksum differs from the manifest's)",
        ),
        (
            "checkpoint/delta.safetensors",
            "cut",
            "damaged or cut short (its checksum differs from the manifest's)",
        ),
        ("checkpoint/delta.json", "cut", "cannot be read: "),
        ("results.json", "cut", "results.json is damaged (copy/results.json: not readable as JSON "),
    ],
)
def test_no_damaged_artefact_is_taken(file: str, how: str, line: str, whole: Path) -> None:
    shutil.copytree(whole, "copy")
    damage(Path("copy"), file, how)
    done = run("export", "run=copy", "to=out")
    assert done.code == 2
    assert line in done.err
    assert not Path("out").exists()
    if "results" not in file:
        done = run("eval", *MEASURE, "run_dir=copy", "run=e")
        assert (done.code, line in done.err) == (2, True)


SWEEP = (*SHORT, "-m", "objective.alpha=1,40", "run=s")
FOLDER = Path("outputs/train/sweep/s")


def members() -> dict[str, Path]:
    """alpha: directory."""
    found = {}
    for path in FOLDER.glob("*/status.json"):
        status = read_status(path.parent)
        assert status is not None
        found[next(o for o in status.overrides if "alpha" in o).partition("=")[2]] = path.parent
    return found


@pytest.mark.full
@pytest.mark.parametrize("how", [(), ("hydra/launcher=side_by_side",)], ids=["one-by-one", "side-by-side"])
def test_a_disk_that_is_full_for_one_member_costs_that_one(
    how: tuple[str, ...], undisturbed: dict[str, Any]
) -> None:
    with refusing("*/*results.json*", FULL, skip=1, times=4):
        done = run("train", *SWEEP, *how)
    assert done.code == 2
    assert "results.json: No space left on device; resume with unlearnctl train resume=" in done.err
    states = {alpha: read_status(folder).state for alpha, folder in members().items()}  # type: ignore[union-attr]
    assert sorted(states.values()) == ["done", "failed"]
    again = succeed("train", "--resume", str(FOLDER))
    assert "members: 1 of 2 already done, 1 to run" in again.out
    assert "resuming after step 4 of 4" in again.out
    assert outcome(members()["40"]) == undisturbed


@pytest.mark.full
def test_a_status_that_cannot_be_written_is_made_up_for(undisturbed: dict[str, Any]) -> None:
    with refusing("*status.json*", FULL, skip=3, times=1):
        done = run("train", *SWEEP)
    assert "status: not written (" in done.out
    assert done.code == 2
    again = succeed("train", "--resume", str(FOLDER))
    assert "that run has ended (completed); nothing is left to do" in again.out
    assert outcome(members()["40"]) == undisturbed


@pytest.mark.full
def test_a_summary_that_cannot_be_written() -> None:
    with refusing("*summary.md*", FULL):
        done = succeed("train", *SWEEP)
    said = f"summary: not written ({FOLDER}/summary.md: No space left on device); make it later with "
    assert f"{said}unlearnctl report {FOLDER}" in done.out
    succeed("report", str(FOLDER))
    assert (FOLDER / "summary.md").is_file()
    assert all(load_run(folder).results["status"] == "completed" for folder in members().values())
