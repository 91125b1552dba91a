"""A disk that refuses while a run is trained: one line, nothing half, and a resumption to the same bytes."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command import Done, run, succeed
from tests.faults.conftest import SHORT
from tests.faults.inject import at_step, complete, refusing
from tests.unlearning.same_outcome import outcome
from unlearnctl.models.delta import read_delta
from unlearnctl.results.run import load_run
from unlearnctl.training import fill
from unlearnctl.utils.paths import cache_dir

RUN = Path("outputs/train/n/r")
FULL, READ_ONLY, DENIED, STALE, GONE = errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ESTALE, errno.ENOENT


@dataclass(frozen=True)
class Fault:
    """Files like `pattern` cannot be written; the command ends with `code` and says `line`."""

    pattern: str
    number: int
    code: int
    line: str


ON = f"resume with unlearnctl train resume={RUN} (after step 4 of 4)"
FAULTS = {
    "full-results": Fault("*results.json*", FULL, 2, f"error: {RUN}/results.json: No space left on device; {ON}"),
    "stale-results": Fault("*/results.json", STALE, 2, f"error: {RUN}/results.json: Stale file handle; {ON}"),
    "full-items": Fault("*items.json*", FULL, 2, f"error: {RUN}/items.json: No space left on device; {ON}"),
    "full-delta": Fault(
        "*.delta.safetensors*", FULL, 2, f"error: {RUN}/checkpoint/delta.safetensors: No space left on device; {ON}"
    ),
    "denied-manifest": Fault(
        "*delta.json*", DENIED, 2, f"error: {RUN}/checkpoint/delta.json: Permission denied; {ON}"
    ),
    "read-only-checkpoint-folder": Fault(
        "*/checkpoint", READ_ONLY, 2, f"error: {RUN}/checkpoint: Read-only file system; {ON}"
    ),
    "full-first-training-checkpoint": Fault(
        "*000001.tmp/tensors*", FULL, 0, f"training checkpoint: not written (No space left on device: {RUN}/training)"
    ),
    "full-training-state": Fault(
        "*.tmp/state.json", FULL, 0, f"training checkpoint: not written (No space left on device: {RUN}/training)"
    ),
    "read-only-training": Fault(
        "*/training", READ_ONLY, 0, f"training checkpoint: not written (Read-only file system: {RUN}/training)"
    ),
    "stale-training-rename": Fault(
        "*/training/00000?", STALE, 0, f"training checkpoint: not written (Stale file handle: {RUN}/training)"
    ),
    "full-report": Fault(
        "*report.html*", FULL, 0,
        f"report: not written ({RUN}/report.html: No space left on device); to make it from results.json: "
        f"unlearnctl report {RUN}",
    ),
}  # fmt: skip


def one_line(done: Done, fault: Fault) -> None:
    assert done.code == fault.code, done.out + done.err
    assert "Traceback" not in done.err
    if fault.code:
        assert len(done.err.splitlines()) == 1, done.err
    assert fault.line in (done.err if fault.code else done.out), done.out + done.err


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_a_disk_that_refuses(name: str, undisturbed: dict[str, Any]) -> None:
    fault = FAULTS[name]
    with refusing(fault.pattern, fault.number):
        done = run("train", *SHORT, "run=r")
    one_line(done, fault)
    complete(RUN)
    if fault.code:
        assert not (RUN / "results.json").exists()
        resumed = succeed("train", f"resume={RUN}")
        assert ("resuming after step 4 of 4" in resumed.out) == ("step 4" in fault.line)
    elif "report" in fault.line:
        load_run(RUN)
        assert not (RUN / "report.html").exists()
        succeed("report", str(RUN))
    assert (RUN / "report.html").is_file()
    assert outcome(RUN) == undisturbed
    read_delta(RUN / "checkpoint")


@pytest.mark.full
def test_a_plot_that_cannot_be_written(pictures: None, undisturbed: dict[str, Any]) -> None:
    with refusing("*before_after.png*", DENIED):
        done = succeed("train", *SHORT, "run=r")
    said = f"report: not written ({RUN}/before_after.png: Permission denied); to make it from results.json: "
    assert f"{said}unlearnctl report {RUN}" in done.out
    assert outcome(RUN) == undisturbed
    succeed("report", str(RUN))
    assert {"before_after.png", "report.html"} <= set(complete(RUN))


@pytest.mark.full
@pytest.mark.parametrize("number", [FULL, DENIED])
def test_a_prefix_cache_that_cannot_be_written(
    number: int, undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "_kept", {})
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))
    with refusing("*/prefix/*", number):
        done = run("train", *SHORT, "trainer.prefix_cache=disk", "run=r")
    assert done.code == 2
    assert done.err.startswith(f"error: trainer.prefix_cache=disk: {tmp_path}/cache/prefix/")
    ways = "set UNLEARNCTL_CACHE to another folder, or trainer.prefix_cache=memory or none"
    assert done.err.endswith(f": {os.strerror(number)}; {ways}\n")
    assert not list((tmp_path / "cache").glob("prefix/*"))
    succeed("train", f"resume={RUN}")
    file = "checkpoint/delta.safetensors"
    assert outcome(RUN)[file] == undisturbed[file]


@pytest.mark.full
def test_a_resumption_asks_no_question_again(undisturbed: dict[str, Any]) -> None:
    with refusing("*results.json*", FULL):
        run("train", *SHORT, "run=r")
    kept = sum(
        1 for file in (cache_dir() / "answers").rglob("*.jsonl") for line in file.open() if line.strip()
    )
    assert kept
    assert (
        f"evaluation: resumes after {kept} answers of an interrupted one"
        in succeed("train", f"resume={RUN}").out
    )
    assert outcome(RUN) == undisturbed
    assert not list((cache_dir() / "answers").iterdir())


@pytest.mark.full
@pytest.mark.parametrize("number", [FULL, READ_ONLY, DENIED])
def test_a_run_that_cannot_begin_leaves_nothing_in_the_way(number: int, undisturbed: dict[str, Any]) -> None:
    with refusing("*config.yaml*", number):
        done = run("train", *SHORT, "run=r")
    assert done.code == 2
    assert done.err == f"error: output_dir={RUN}: cannot be written: {os.strerror(number)}\n"
    assert complete(RUN) == []
    succeed("train", *SHORT, "run=r")
    assert outcome(RUN) == undisturbed


def test_metrics_wait_until_the_disk_takes_them(undisturbed: dict[str, Any]) -> None:
    with refusing("*metrics.jsonl", FULL, times=3):
        done = succeed("train", *SHORT, "run=r")
    assert (
        f"metrics: not written (No space left on device: {RUN}/metrics.jsonl); the rows wait in memory"
        in done.out
    )
    assert done.out.count("metrics: not written") == 1
    assert outcome(RUN) == undisturbed
    steps = [json.loads(line)["step"] for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


@pytest.mark.full
def test_metrics_that_are_lost_are_counted() -> None:
    with refusing("*metrics.jsonl", READ_ONLY):
        done = succeed("train", *SHORT, "run=r")
    assert f"metrics: 4 rows are lost; {RUN}/metrics.jsonl takes no more" in done.out
    load_run(RUN)


@pytest.mark.full
def test_a_cache_that_is_full_costs_time_alone(
    undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLEARNCTL_CACHE", str(tmp_path / "cache"))
    with refusing("*base-results/*", FULL):
        done = succeed("train", *SHORT, "run=r")
    assert "base model: scores not cached (" in done.out
    assert outcome(RUN) == undisturbed
    assert not list((tmp_path / "cache" / "base-results").iterdir())


@pytest.mark.full
def test_answers_that_cannot_be_kept(undisturbed: dict[str, Any]) -> None:
    with refusing("*/answers/*.jsonl", FULL):
        done = succeed("train", *SHORT, "run=r")
    assert done.out.count("evaluation: answers are not kept (No space left on device: ") == 1
    assert outcome(RUN) == undisturbed


@pytest.mark.full
def test_a_directory_that_vanishes_is_created_again(undisturbed: dict[str, Any]) -> None:
    with at_step(3, lambda trainer: shutil.rmtree(RUN)):
        done = succeed("train", *SHORT, "run=r")
    assert f"training checkpoint: not written (No such file or directory: {RUN}/training)" in done.out
    assert f"{RUN}: removed since the run began; created again" in done.out
    found = outcome(RUN)
    # The first step's row is gone, so what it would show is not judged; nothing else differs.
    flags = [flag for flag in undisturbed["flags"] if flag["name"] != "saturated"]
    assert len(flags) == len(undisturbed["flags"]) - 1
    assert {**found, "rows": undisturbed["rows"]} == {**undisturbed, "flags": flags}
    assert sorted(found["rows"])[-2:] == [("train", 3), ("train", 4)]
    assert "objective" in (RUN / "config.yaml").read_text()


@pytest.mark.full
def test_a_mount_that_vanishes_for_good_is_said(undisturbed: dict[str, Any]) -> None:
    def unmount(trainer: object) -> None:
        shutil.rmtree("outputs")
        Path("outputs").write_text("")  # as far as paths below it go, what a dead mount point is

    with at_step(3, unmount):
        done = run("train", *SHORT, "run=r")
    assert done.code == 2
    assert (
        done.err
        == f"error: {RUN}: Not a directory; the run directory {RUN} was removed, and everything saved in it\n"
    )
    Path("outputs").unlink()
    succeed("train", *SHORT, "run=r")
    assert outcome(RUN) == undisturbed


@pytest.mark.full
def test_a_quota_of_the_kernel(undisturbed: dict[str, Any]) -> None:
    """No patch: from one megabyte on the kernel refuses (EFBIG), to Python and to safetensors alike."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        done = run("train", *SHORT, "run=r")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"training checkpoint: not written (File too large: {RUN}/training)" in done.out
    begun = f"resume with unlearnctl train resume={RUN} (from the beginning)"
    assert done.err == f"error: {RUN}/checkpoint/delta.safetensors: File too large; {begun}\n"
    complete(RUN)
    assert "starting from step 0" in succeed("train", f"resume={RUN}").out
    assert outcome(RUN) == undisturbed
