"""Fork the ranks of a test from a process that has imported the libraries, in the environment that torchrun gives."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from unlearnctl.distributed.launcher import free_port


def fork_ranks(world: int, work: Callable[[], None]) -> None:
    """Do `work` in `world` processes, and wait. Not where autograd has been used: it does not survive a fork."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    os.environ |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    children = [_fork(rank, work) for rank in range(world)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(codes), codes


def _fork(rank: int, work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
