"""A signal is called by its name, and a command that one ended does not end as if it were done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unlearnctl.utils.stopping import (
    Stopped,
    describe_signal,
    exception_for,
    exception_from,
    signal_of,
    signals_raise,
)

ENDED = """
import os, signal, sys
from unlearnctl import cli
cli.run = lambda args: os.kill(os.getpid(), {number})
cli.main([])
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated (SIGTERM)"),
        (signal.SIGHUP, 129, "terminated (SIGHUP)"),
    ],
)
def test_a_command_that_is_ended_says_by_what(number: int, code: int, line: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + ENDED
    done = subprocess.run(
        [sys.executable, "-c", program.format(number=int(number))],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{line}\n")


def test_what_is_ignored_stays_ignored() -> None:
    held = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it
    try:
        with signals_raise():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, held)


def test_the_words_and_the_exceptions_agree() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert signal_of(exception_from(describe_signal(number))) == number
        assert signal_of(exception_for(number)) == number
    assert isinstance(Stopped(signal.SIGTERM), KeyboardInterrupt)
    assert type(exception_from(None)) is KeyboardInterrupt
