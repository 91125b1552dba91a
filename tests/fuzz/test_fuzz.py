"""A quick fuzz run of every target for each test run, and every input that was once a finding."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import LARGEST, mutated
from tests.fuzz.run import GROWTH, apart, main, peak_memory, time_limit
from tests.fuzz.targets import TARGETS
from unlearnctl.utils.errors import UserError

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.bin"))
SLOW = {
    "overrides": 6,
    "config-folder": 6,
    "plots": 2,
    "report": 15,
    "data-saved": 20,
    "sweep-files": 30,
    "run-config": 20,
    "table": 40,
}


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_reader(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()

    @settings(
        max_examples=SLOW.get(name, 150), deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**32).map(lambda n: mutated(Random(n), seeds)) | st.binary(max_size=200))
    def look(data: bytes) -> None:
        with time_limit(10 * target.limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, about what is in a file
            target(data)

    target(seeds[0])
    look()


@pytest.mark.parametrize("file", REGRESSIONS, ids=lambda file: file.stem)
def test_what_was_once_a_finding_is_none(file: Path) -> None:
    name = next(name for name in sorted(TARGETS, key=len, reverse=True) if file.stem.startswith(name))
    with time_limit(10.0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TARGETS[name](file.read_bytes())


def test_inputs_stay_small_and_are_the_same_for_a_seed() -> None:
    seeds = [b'{"a": [1, {"b": "x"}]}\n', b"\x00" * 100]
    made = [mutated(Random(n), seeds) for n in range(300)]
    assert made == [mutated(Random(n), seeds) for n in range(300)]
    assert max(map(len, made)) <= LARGEST
    assert len(set(made)) > 200


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("crash", "ZeroDivisionError at test_fuzz.py"),
        ("hang", "Hang at test_fuzz.py"),
        ("memory", "memory"),
        ("death", "died"),
        ("refusal", ""),
    ],
)
def test_the_driver_sees(name: str, found: str, tmp_path: Path) -> None:
    """What it is there to see, in targets that do just that."""
    report = apart(f"planted:{name}", 3, 0, tmp_path)
    assert [place.partition(":")[0] for place in report.findings] == ([found] if found else [])
    assert len(list(tmp_path.glob("*.bin"))) == len(report.findings)
    assert name == "death" or report.executions == 3
    assert report.refused == (3 if name in ("refusal", "memory") else 0)


def planted(name: str) -> None:
    """What the targets of the test above do."""
    if name == "crash":
        raise ZeroDivisionError
    if name == "hang":
        while True:
            pass
    if name == "memory":
        assert len(b"\x01" * (300 << 20)) > GROWTH
    if name == "death":
        import os

        os.abort()
    raise UserError("no")


def test_the_driver_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--executions", "20", "--targets", "data-text", "redact", "--findings", str(tmp_path / "f")]
    assert main(arguments) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split()[:3] == ["target", "executions", "refused"]
    assert [row.split()[0] for row in rows[1:3]] == ["data-text", "redact"]
    readers, others = (int(row.split()[1]) for row in rows[1:3])
    assert rows[-1] == f"{readers + others} executions, {readers} of them of readers"
    assert readers > others == 10
    assert peak_memory() > 1 << 20
