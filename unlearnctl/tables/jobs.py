"""Run the runs of a table in parallel: one process per core or GPU, each with its own chain of runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING

from unlearnctl.tables.missing import Place, RunVerb, chains, compose_member, is_done, run_chain
from unlearnctl.tables.spec import Member

if TYPE_CHECKING:
    from rich.progress import Progress

MOST = 8  # processes on a machine without a GPU, because each holds a model
DIED = "its process died, perhaps out of memory"
Ended = Generator[tuple[list[Member], list[str]]]  # each chain, with a line for each run that failed


def run_missing(
    place: Place, members: Sequence[Member], name: str, run: RunVerb, jobs: int | None = None
) -> list[str]:
    """Run every member that is not done; return a line for each that failed.

    Args:
        place: of configs and runs.
        members: of the table, each after the one that it works on.
        name: shown beside the bar.
        run: a function of a module, which other processes can be handed.
        jobs: processes at once; None: one for each GPU, or for each core. 1 is this very process.
    """
    from unlearnctl.utils.quiet import quiet_environment

    missing = [member for member in members if not is_done(place.root, member)]
    if not missing:
        return []
    quiet_environment()  # before torch is imported, here and in the workers
    failed: list[str] = []
    with closing(_in_order(place, missing, run, jobs)) as ended, _progress() as progress:
        task = progress.add_task(name, total=len(missing))
        for chain, lines in ended:
            for line in lines:
                progress.console.print(f"error: {line}", highlight=False, markup=False, soft_wrap=True)
            failed += lines
            progress.update(task, advance=len(chain), description=f"{name}: {chain[0].run}")
    return failed


def _in_order(place: Place, missing: Sequence[Member], run: RunVerb, jobs: int | None) -> Ended:
    """Yield chains as they end: models that others work on first and, if none of those failed, all others."""
    first = [member for member in missing if member.step.made]
    yield from _together(place, chains(first), run, jobs)
    if all(is_done(place.root, member) for member in first):
        yield from _together(place, chains(m for m in missing if not m.step.made), run, jobs)


def _together(place: Place, todo: list[list[Member]], run: RunVerb, jobs: int | None) -> Ended:
    if todo:
        several = min(jobs or _default_jobs(), len(todo))
        yield from _here(place, todo, run) if several == 1 else _in_processes(place, todo, run, several)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(file=sys.stderr))


def _default_jobs() -> int:
    import torch

    return torch.cuda.device_count() or min(MOST, len(os.sched_getaffinity(0)))


def _here(place: Place, todo: Sequence[list[Member]], run: RunVerb) -> Ended:
    for chain in todo:
        yield chain, run_chain(place, chain, run)


def _in_processes(place: Place, todo: Sequence[list[Member]], run: RunVerb, jobs: int) -> Ended:
    """Yield chains as they end. After an interrupt every worker is interrupted once, and saves what it has."""
    with _shares(jobs):
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker)
        try:
            models = {chain[0].model: chain[0] for chain in todo}.values()
            for built in [pool.submit(_provide, place, member) for member in models]:
                built.exception()  # the runs will report it
            running = {pool.submit(run_chain, place, chain, run): chain for chain in todo}
            for future in as_completed(running):
                yield running[future], _outcome(future, running[future])
        except BaseException:
            for process in list((pool._processes or {}).values()):  # the executor has no public list of them
                os.kill(process.pid, signal.SIGINT)  # type: ignore[arg-type]
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _outcome(future: Future[list[str]], chain: Sequence[Member]) -> list[str]:
    try:
        return future.result()
    except BrokenProcessPool:
        return [f"{chain[0].run}: {DIED}"]


@contextmanager
def _shares(jobs: int) -> Iterator[None]:
    """Choose what the workers get through the environment: threads for each, and the GPUs to pick from."""
    import torch

    cores = len(os.sched_getaffinity(0))
    shares = {"OMP_NUM_THREADS": str(max(1, cores // jobs))}
    if torch.cuda.is_available():
        shares["UNLEARNCTL_GPUS"] = ",".join(map(str, range(torch.cuda.device_count())))
    before = dict(os.environ)
    os.environ.update({name: value for name, value in shares.items() if name not in before})
    try:
        yield
    finally:
        for name in shares.keys() - before.keys():
            del os.environ[name]


def _start_worker() -> None:
    """Give the worker its own session, so that Ctrl-C reaches it once, through the parent, and let it die with it."""
    from unlearnctl.sweeps.gpu_slot import take_slot
    from unlearnctl.utils.quiet import quiet_libraries

    os.setsid()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    take_slot()
    quiet_libraries()


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _provide(place: Place, member: Member) -> None:
    """Build a tiny model that is not shipped before two runs need it."""
    from unlearnctl.tinyworld.resolve import provide, resolve

    provide(resolve(compose_member(place, member).model.path))
