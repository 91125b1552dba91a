"""The `unlearnctl` command: picks the verb, lets Hydra compose its config, turns errors into one line."""

from __future__ import annotations

import atexit
import gc
import io
import os
import secrets
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from unlearnctl import __version__
from unlearnctl.commands.arguments import MANY, check_named, check_text, prepared
from unlearnctl.commands.help import HELP, VERB_HELP, VERBS
from unlearnctl.config.trust import allow, read_trust, trusted
from unlearnctl.utils.errors import UserError, unknown
from unlearnctl.utils.paths import conf_dir
from unlearnctl.utils.redact import redact
from unlearnctl.utils.stopping import listening, number_of, told

if TYPE_CHECKING:
    from unlearnctl.sweeps.members import Member

HYDRA_VERBS = ("train", "eval", "probe", "repair", "attack", "export")
ON_RANKS = ("train", "eval")  # verbs that several processes can share


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exits 0, or 2 with one line for a user's mistake, or 130 after Ctrl-C, 143 after SIGTERM."""
    _look_for_garbage_less_often()
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or os.environ.get("HYDRA_FULL_ERROR") == "1"
    args = [a for a in args if a != "--debug"]
    os.environ["PYTHONSAFEPATH"] = "1"  # processes that we start import nothing from the working directory
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing; the printing is ours
    try:
        with listening():
            sys.exit(run(args) or 0)
    except KeyboardInterrupt as stopped:
        number = number_of(stopped)
        print("interrupted" if number == signal.SIGINT else told(number), file=sys.stderr)
        sys.exit(128 + number)
    except Exception as error:
        if debug:
            print(redact("".join(traceback.format_exception(error))), end="", file=sys.stderr)
            sys.exit(1)
        from unlearnctl.utils.explain import explain

        rank = os.environ.get("RANK", "0")  # of a torchrun or SLURM world that was joined
        print(f"error: {f'rank {rank}: ' if rank != '0' else ''}{explain(error)}", file=sys.stderr)
        sys.exit(2)


def _look_for_garbage_less_often() -> None:
    """A third of what a refusal takes: the libraries' half a million objects are no garbage, and none is at the end."""
    gc.set_threshold(5000)
    atexit.register(gc.freeze)


def run(args: list[str]) -> int | None:
    """Dispatch one command line; returns its exit code (None is 0)."""
    check_text(args)
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<11} {text}" for verb, text in VERBS.items())), end="")
        return None
    if args[0] in ("--version", "-V"):
        print(f"unlearnctl {__version__}")
        return None
    verb, rest = args[0], args[1:]
    if verb == "__complete":
        return _complete(rest)
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    if "-h" in rest or "--help" in rest:
        print(VERB_HELP[verb].format(summary=f"{verb}: {VERBS[verb]}."), end="")
        return None
    if "--version" in rest:  # Hydra would print its own
        return run(["--version"])
    if verb not in HYDRA_VERBS:
        if verb != "tinyworld":  # says it itself
            check_named(verb, rest)
        return _plain_verb(verb)(rest)
    _hydra(verb, rest)
    return None


def _hydra(verb: str, rest: list[str]) -> None:
    from hydra import main as hydra_main

    from unlearnctl.config.composed import guarded
    from unlearnctl.distributed.world import existing_world, leave
    from unlearnctl.utils.quiet import quiet_environment

    quiet_environment()
    allow(read_trust(rest))  # as typed, before a sweep's file adds its own
    _check_processes(verb, rest)
    _check_keys(rest)
    rest = _sweep_arguments(verb, prepared(verb, rest))
    # Hydra's parser wants flags first; people type -m where they think of it
    overrides = [arg for arg in rest if not arg.startswith("-") and ("=" in arg or arg.startswith("~"))]
    rest = [arg for arg in rest if arg not in overrides] + overrides
    shows = _check_flags(verb, rest)
    stage = Stage(verb)
    held, sys.argv = sys.argv, [f"unlearnctl {verb}", *rest]
    try:
        with guarded(), _redacted() if shows else nullcontext():
            hydra_main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(stage)()
    finally:
        sys.argv = held
        if existing_world(os.environ):
            leave()
    if any(flag in rest for flag in MANY):
        stage.check_sweep()
    elif stage.failures:
        raise stage.failures[0]


def _check_keys(args: Sequence[str]) -> None:
    """Refuse a key on the command line: it would stand in config.yaml and in every report."""
    for arg in args:
        if redact(arg) != arg:
            raise UserError(
                f"{arg.partition('=')[0] if '=' in arg else 'an argument'}: holds a key or a password, which would be "
                "written into the run; give it through the environment or `hf auth login`"
            )


def _sweep_arguments(verb: str, rest: list[str]) -> list[str]:
    """Resolve `--resume DIR`, and give a sweep a name that no other has: two may start in the same second."""
    given = [arg for arg in rest if arg == "--resume" or arg.startswith("--resume=")]
    if given:
        from unlearnctl.sweeps.members import resumed

        place = rest.index(given[0])
        inside = "=" in given[0]
        folder = given[0].partition("=")[2] if inside else "".join(rest[place + 1 : place + 2])
        others = rest[:place] + rest[place + (1 if inside else 2) :]
        if verb != "train" or not folder:
            raise UserError(
                f"unlearnctl {verb}: --resume goes on with a sweep: unlearnctl train --resume DIR"
            )
        flags = [arg for arg in others if arg.startswith("-") and arg not in MANY]
        return ["-m", *flags, *resumed(folder, [arg for arg in others if not arg.startswith("-")])]
    sweeps = any(flag in rest for flag in MANY)
    if sweeps and any(arg.startswith("resume=") and arg != "resume=null" for arg in rest):
        raise UserError(
            "resume: goes on with one run, so it does not go with -m; --resume DIR goes on with a sweep"
        )
    if verb == "train" and sweeps and not any(arg.startswith("run=") for arg in rest):
        return [*rest, f"run={datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"]
    return rest


def _check_processes(verb: str, args: list[str]) -> None:
    """Refuse several processes where each would do everything."""
    from unlearnctl.distributed.world import existing_world

    if verb in ON_RANKS:
        return
    if asked := next((a for a in args if a.lstrip("+").startswith(("launch=", "launch."))), None):
        raise UserError(
            f"{asked}: unlearnctl {verb} runs in one process; only {' and '.join(ON_RANKS)} share work"
        )
    if world := existing_world(os.environ):
        raise UserError(
            f"unlearnctl {verb}: runs in one process, and this is one of {world.size} ({world.starter})"
        )


@contextmanager
def _redacted() -> Iterator[None]:
    """What is printed meanwhile comes at the end, without keys."""
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            yield
    finally:
        print(redact(said.getvalue()), end="")


def _check_flags(verb: str, args: list[str]) -> bool:
    """Parse as Hydra is about to, but with a line of ours where argparse would print its usage.

    True if Hydra is asked to print a config, and nothing else.
    """
    from hydra._internal.utils import get_args_parser

    class Parser(type(get_args_parser())):  # type: ignore[misc]
        def error(self, message: str) -> NoReturn:
            raise UserError(f"unlearnctl {verb}: {message}; see unlearnctl {verb} --help")

    parser = get_args_parser()
    parser.__class__ = Parser
    asked = parser.parse_args(args)
    if asked.experimental_rerun:
        raise UserError("--experimental-rerun: reads a pickle, which may run code; use train resume=RUN_DIR")
    return bool(asked.cfg or asked.info or asked.hydra_help)


class Stage:
    """What Hydra calls with each composed config; of this module, so that other processes can be handed it."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.trust = trusted()
        self.failures: list[Exception] = []  # in this process
        self.unfinished: list[Member] | None = None  # of a sweep, whichever process they were in

    def __call__(self, cfg: object) -> str:
        from importlib import import_module

        from unlearnctl.utils.quiet import quiet_environment, quiet_libraries

        try:
            quiet_environment()
            allow(self.trust)
            if _in_sweep():
                import_module("unlearnctl.sweeps.gpu_slot").take_slot()
            quiet_libraries()
            if isinstance(cfg, tuple):  # hydra/launcher=side_by_side: all members at once
                import_module("unlearnctl.sweeps.side_by_side").sweep(self.verb, *cfg, self.failed)
                return ""
            if not _in_sweep():
                _check_no_sweep(self.verb)
            import_module("unlearnctl.config.composed").check_keys(self.verb, cfg)
            if self.verb == "train" and _in_sweep():
                return str(import_module("unlearnctl.sweeps.side_by_side").member(cfg) or "")
            module = import_module(f"unlearnctl.commands.{self.verb}")
            made = getattr(module, self.verb)(cfg)
            if self.verb == "train" and made:
                import_module("unlearnctl.unlearning.outcome").check_ended(made)
            return str(made or "")
        except Exception as error:  # Hydra would print its own lines, and leave a sweep without a summary
            self.failed(error)
            return ""

    def failed(self, error: Exception) -> None:
        """Keep an error; a sweep goes on after it."""
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
        said = [f"{failed} of the sweep's members failed, as said above"] if failed else []
        said += (
            [f"{busy} of its members {'is' if busy == 1 else 'are'} at work in another process"]
            if busy
            else []
        )
        if failed and left:
            said.append(f"try them again: unlearnctl train --resume {left[0].directory.parent}")
        raise UserError("; ".join(said))


def _in_sweep() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.get().mode == RunMode.MULTIRUN


def _check_no_sweep(verb: str) -> None:
    """Refuse a config that is a sweep, where only its first values would be run."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    if hydra.sweeper.get("params"):
        name = hydra.runtime.choices.get("sweep")
        said = f"sweep={name}" if name else "hydra.sweeper.params"
        again = shlex.join(["unlearnctl", verb, "-m", *sys.argv[1:]])
        raise UserError(f"{said}: a sweep, and without -m one plain run; type {again}")


def _plain_verb(verb: str) -> Callable[[list[str]], int | None]:
    from importlib import import_module

    module = {"completion": "unlearnctl.commands.completion"}.get(verb, f"unlearnctl.commands.{verb}")
    return getattr(import_module(module), f"{verb}_command")


def _complete(words: list[str]) -> int:
    from unlearnctl.commands.completion import complete

    print("\n".join(complete(words, tuple(VERBS), HYDRA_VERBS)))
    return 0


def reject_extra(verb: str, args: Sequence[str]) -> None:
    """Refuse arguments of a verb that takes none."""
    if args:
        raise UserError(f"unlearnctl {verb}: takes no argument, got {args[0]}")
