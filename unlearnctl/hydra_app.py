"""Let Hydra compose a verb's config and run the verb with it: once, or for each member of a sweep."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from hydra import main as hydra_main
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from unlearnctl.arguments import MANY, prepared, sweep_arguments
from unlearnctl.commands import Verb, every_verb
from unlearnctl.config.composed import check_keys, guarded
from unlearnctl.config.trust import allow, read_trust, trusted
from unlearnctl.distributed.world import existing_world, leave
from unlearnctl.tuning.recipe import laid_under
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir
from unlearnctl.utils.quiet import quiet_environment, quiet_libraries
from unlearnctl.utils.redact import redact

if TYPE_CHECKING:
    from unlearnctl.sweeps.members import Member


def run_with_hydra(verb: Verb, typed: Sequence[str]) -> None:
    """Run `verb` with the config that was typed.

    Raises:
        UserError: a wrong argument, a wrong config, or members of a sweep that failed.
    """
    quiet_environment()
    allow(read_trust(typed))  # as typed, before a sweep's file adds its own
    _check_processes(verb, typed)
    _check_secrets(typed)
    args = sweep_arguments(verb.name, laid_under(prepared(verb, typed)))
    # Hydra's parser wants flags first; people type -m where they think of it
    overrides = [arg for arg in args if not arg.startswith("-") and ("=" in arg or arg.startswith("~"))]
    args = [arg for arg in args if arg not in overrides] + overrides
    only_shows = _check_flags(verb.name, args)
    stage = Stage(verb.name)
    before, sys.argv = sys.argv, [f"unlearnctl {verb.name}", *args]
    try:
        with guarded(), _redacted() if only_shows else nullcontext():
            hydra_main(version_base="1.3", config_path=str(conf_dir()), config_name=verb.name)(stage)()
    finally:
        sys.argv = before
        if existing_world(os.environ):
            leave()
    if any(flag in args for flag in MANY):
        stage.check_sweep()
    elif stage.failures:
        raise stage.failures[0]


class Stage:
    """What Hydra calls with each composed config. A class of a module, so that launchers can pickle it."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.trust = trusted()
        self.failures: list[Exception] = []  # in this process
        self.unfinished: list[Member] | None = None  # of a sweep, whichever process they were in

    def __call__(self, cfg: object) -> str:
        try:
            return self._run(cfg)
        except Exception as error:  # Hydra would print its own lines, and leave a sweep without a summary
            self.failed(error)
            return ""

    def _run(self, cfg: object) -> str:
        quiet_environment()
        allow(self.trust)
        if _in_sweep():
            from unlearnctl.sweeps.gpu_slot import take_slot

            take_slot()
        quiet_libraries()
        if isinstance(cfg, tuple):  # hydra/launcher=side_by_side: all members at once
            from unlearnctl.sweeps.side_by_side import sweep

            members, configs = cfg
            sweep(self.verb, members, configs, self._command(), self.failed)
            return ""
        if not _in_sweep():
            _check_no_sweep(self.verb)
        assert isinstance(cfg, DictConfig)
        check_keys(self.verb, cfg)
        command = self._command()
        if self.verb != "train":
            return str(command(cfg) or "")
        if _in_sweep():
            from unlearnctl.sweeps.side_by_side import member

            return str(member(cfg, command) or "")
        directory = command(cfg)
        if directory:
            from unlearnctl.unlearning.outcome import check_ended

            check_ended(directory)
        return str(directory or "")

    def _command(self) -> Callable[..., Any]:
        """Import what runs the verb. It imports torch, so a wrong config is refused before."""
        return getattr(import_module(f"unlearnctl.commands.{self.verb}"), self.verb)

    def failed(self, error: Exception) -> None:
        """Keep an error. A sweep continues after it, and so reports it here."""
        from unlearnctl.utils.explain import explain

        self.failures.append(error)
        if _in_sweep():
            print(f"error: {explain(error)}", file=sys.stderr, flush=True)

    def check_sweep(self) -> None:
        """Say how many members are not done.

        Raises:
            UserError: there are some.
        """
        from unlearnctl.runs.live import at_work

        left = self.unfinished
        if not (self.failures if left is None else left):
            return
        busy = sum(at_work(member.directory) is not None for member in left or ())
        failed = len(self.failures if left is None else left) - busy
        said = [f"{failed} of the sweep's members failed, as reported above"] if failed else []
        if busy:
            said.append(f"{busy} of its members {'is' if busy == 1 else 'are'} running in another process")
        if failed and left:
            said.append(f"to run them again: unlearnctl train --resume {left[0].directory.parent}")
        raise UserError("; ".join(said))


def _check_secrets(args: Sequence[str]) -> None:
    """Refuse a secret on the command line: it would be written into config.yaml and every report."""
    for arg in args:
        if redact(arg) != arg:
            raise UserError(
                f"{arg.partition('=')[0] if '=' in arg else 'an argument'}: holds a key or a password, which would be "
                "written into the run; give it through the environment or `hf auth login`"
            )


def _check_processes(verb: Verb, args: Sequence[str]) -> None:
    """Refuse several processes where each would do all of the work."""
    if verb.several_processes:
        return
    if asked := next((a for a in args if a.lstrip("+").startswith(("launch=", "launch."))), None):
        sharing = " and ".join(each.name for each in every_verb().values() if each.several_processes)
        raise UserError(f"{asked}: unlearnctl {verb.name} runs in one process; only {sharing} share work")
    if world := existing_world(os.environ):
        raise UserError(
            f"unlearnctl {verb.name}: runs in one process, and this is one of {world.size} ({world.starter})"
        )


def _check_flags(verb: str, args: list[str]) -> bool:
    """Parse the flags before Hydra does, with a line of ours where argparse would print its usage.

    Returns True if Hydra is only asked to print something.
    """

    class Parser(type(get_args_parser())):  # type: ignore[misc]
        def error(self, message: str) -> NoReturn:
            raise UserError(f"unlearnctl {verb}: {message}; see unlearnctl {verb} --help")

    parser = get_args_parser()
    parser.__class__ = Parser
    asked = parser.parse_args(args)
    if asked.experimental_rerun:
        raise UserError("--experimental-rerun: reads a pickle, which may run code; use train resume=RUN_DIR")
    return bool(asked.cfg or asked.info or asked.hydra_help)


@contextmanager
def _redacted() -> Iterator[None]:
    """Hold back what is printed until the end, and print it without keys."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        print(redact(printed.getvalue()), end="")


def _in_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


def _check_no_sweep(verb: str) -> None:
    """Refuse a config that is a sweep, where only its first values would be run."""
    hydra = HydraConfig.get()
    if hydra.sweeper.get("params"):
        name = hydra.runtime.choices.get("sweep")
        key = f"sweep={name}" if name else "hydra.sweeper.params"
        again = shlex.join(["unlearnctl", verb, "-m", *sys.argv[1:]])
        raise UserError(f"{key}: a sweep, and without -m one plain run; type {again}")
