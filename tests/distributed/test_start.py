"""Real processes: the failing rank's message, signals, and nothing that stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.distributed import light
from unlearnctl.distributed import start
from unlearnctl.utils.errors import UserError


def wait_for(found: Callable[[], bool], seconds: float = 90) -> bool:
    end = time.monotonic() + seconds
    while not (done := found()) and time.monotonic() < end:
        time.sleep(0.1)
    return done


def below(directory: Path) -> list[int]:
    """Pids of the ranks that have got going."""
    return [int(text) for file in directory.glob("*.pid") if (text := file.read_text())]


def alive(pids: list[int]) -> list[int]:
    return [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("mistake", r"^objective\.layer=99: must be 0 to 7$"),
        ("raise", r"^rank 1: ValueError: out of luck; the processes' output is in .*launch\.log$"),
        (
            "die",
            r"^rank 1 was killed by SIGKILL: out of memory\?; the processes' output is in .*launch\.log$",
        ),
    ],
)
def test_the_failing_rank_is_heard_in_one_line(does: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        light.start(does, tmp_path)
    assert not alive(below(tmp_path))
    if does == "raise":
        assert "second line" in (tmp_path / "launch.log").read_text()


def command(does: str, directory: Path) -> subprocess.Popen:
    """Started, and both ranks at work."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.distributed.light", "command", does, str(directory)],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if does != "end":
        assert wait_for(lambda: len(below(directory)) == light.RANKS), started.communicate()[1]
    return started


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("does", "number", "code"),
    [
        ("wait", signal.SIGINT, 130),
        ("wait", signal.SIGTERM, 143),
        ("wait", signal.SIGKILL, -9),
        ("save", signal.SIGINT, 0),  # each rank got it, once, and ended in good order
    ],
)
def test_signals_reach_the_ranks_and_nothing_outlives_the_command(
    does: str, number: int, code: int, tmp_path: Path
) -> None:
    started = command(does, tmp_path)
    family = psutil.Process(started.pid).children(recursive=True)
    assert len(family) > light.RANKS  # the launcher too
    started.send_signal(number)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == code, errors
    assert len(list(tmp_path.glob("*.saved"))) == (light.RANKS if does == "save" else 0)
    assert wait_for(lambda: not alive([p.pid for p in family]), 15)


@pytest.mark.full
def test_several_commands_at_once_do_not_fight_over_a_port(tmp_path: Path) -> None:
    several = [command("end", tmp_path / str(number)) for number in range(2)]
    for each in several:
        _, errors = each.communicate(timeout=120)
        assert each.returncode == 0, errors
    assert all(len(below(tmp_path / str(number))) == light.RANKS for number in range(2))


@pytest.mark.full
def test_a_port_that_was_taken_meanwhile_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken, free = holder.getsockname()[1], start.free_port()
        ports = iter([taken, free])
        monkeypatch.setattr(start, "free_port", lambda: next(ports))
        light.start("end", tmp_path)
    assert len(below(tmp_path)) == light.RANKS


@pytest.mark.full
def test_a_rank_that_hangs_is_named_and_nothing_outlives_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        light.start("hang", tmp_path, timeout=3.0)
    assert str(raised.value) == (
        "no sign of life for 3 s (launch.timeout) from rank 1 (last at step 3); all processes were stopped, and their "
        f"stack traces are in {tmp_path / 'launch.log'}"
    )
    stacks = (tmp_path / "launch.log").read_text().split("rank ")[-2:]
    assert [stack[:2] for stack in stacks] == ["0:", "1:"]
    assert all(" in light\n" in stack for stack in stacks)  # the function that it hangs in
    assert len(below(tmp_path)) == light.RANKS
    assert not alive(below(tmp_path))
