"""Pick the verb, run it, and turn its errors into one line."""

from __future__ import annotations

import atexit
import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from unlearnctl import __version__, commands
from unlearnctl.arguments import check_named, check_text
from unlearnctl.utils.redact import redact
from unlearnctl.utils.stopping import describe_signal, signal_of, signals_raise

OVERVIEW = """\
usage: unlearnctl VERB [key=value ...]

{verbs}

examples:
  unlearnctl train                                    the embedded demo: unlearn the tiny world's hazards
  unlearnctl train objective=npo seed=1
  unlearnctl train -m objective.layer=3,4,5 objective.alpha=1,10
  unlearnctl train launch=multi_gpu launch.num_processes=8
  unlearnctl train model=llama3_8b data=wmdp_bio eval=[wmdp,mmlu] launch.dry_run=true
  unlearnctl eval outputs/train/NAME/RUN              measure a run's result
  unlearnctl eval model=local model.path=DIR eval=[wmdp,mmlu]
  unlearnctl VERB --help

  --version  print the version        --debug  full traceback on errors
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0, or 2 with one line for a user's mistake, 130 after Ctrl-C, 143 after SIGTERM."""
    _collect_garbage_less_often()
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or os.environ.get("HYDRA_FULL_ERROR") == "1"
    args = [arg for arg in args if arg != "--debug"]
    os.environ["PYTHONSAFEPATH"] = "1"  # processes that we start import nothing from the working directory
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing; the printing is ours
    try:
        with signals_raise():
            code = run(args) or 0
            sys.stdout.flush()  # here, because an error at the interpreter's exit could not be caught
            sys.exit(code)
    except KeyboardInterrupt as stopped:
        number = signal_of(stopped)
        print("interrupted" if number == signal.SIGINT else describe_signal(number), file=sys.stderr)
        sys.exit(128 + number)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            sys.exit(128 + signal.SIGPIPE)
        if debug:
            print(redact("".join(traceback.format_exception(error))), end="", file=sys.stderr)
            sys.exit(1)
        print(_line(error), file=sys.stderr)
        sys.exit(2)


def run(args: list[str]) -> int | None:
    """Dispatch one command line; return its exit code (None is 0)."""
    check_text(args)
    if not args or args[0] in ("-h", "--help", "help"):
        print(overview(), end="")
        return None
    if args[0] in ("--version", "-V"):
        print(f"unlearnctl {__version__}")
        return None
    if args[0] == "__complete":  # the shell's completion script asks
        from unlearnctl.candidates import complete

        print("\n".join(complete(args[1:])))
        return None
    return _run_verb(commands.find(args[0]), args[1:])


def overview() -> str:
    """Return what `unlearnctl --help` prints: every verb in one line, then examples."""
    verbs = commands.every_verb().values()
    width = max(len(verb.name) for verb in verbs)
    return OVERVIEW.format(verbs="\n".join(f"  {verb.name:<{width}}  {verb.summary}" for verb in verbs))


def _run_verb(verb: commands.Verb, rest: list[str]) -> int | None:
    if "-h" in rest or "--help" in rest:
        print(commands.full_help(verb).strip())
        return None
    if "--version" in rest:  # Hydra would print its own
        return run(["--version"])
    if verb.uses_hydra:
        from unlearnctl.hydra_app import run_with_hydra

        run_with_hydra(verb, rest)
        return None
    if not isinstance(verb, commands.OutsideVerb):  # which checks its own arguments
        check_named(verb.name, rest)
    return _load(verb)(rest)


def _load(verb: commands.Verb) -> Callable[[list[str]], int | None]:
    if isinstance(verb, commands.OutsideVerb):
        return verb.load()
    return getattr(import_module(f"unlearnctl.commands.{verb.name}"), verb.name)


def _reader_has_left() -> bool:
    """Tell whether nobody reads our output any more, as in `unlearnctl ls | head -1`; if so, stop writing to it."""
    asked = select.poll()
    asked.register(sys.stdout, 0)  # errors are always reported: POLLERR means that the other end is closed
    if not any(event & select.POLLERR for _, event in asked.poll(0)):
        return False
    # Python flushes once more at its exit, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _line(error: Exception) -> str:
    from unlearnctl.utils.explain import explain

    rank = os.environ.get("RANK", "0")  # set where torchrun or SLURM started several processes
    return f"error: {f'rank {rank}: ' if rank != '0' else ''}{explain(error)}"


def _collect_garbage_less_often() -> None:
    """Save a third of the time of a short command.

    The libraries create half a million objects that live until the end, so that looking through them is wasted.
    """
    gc.set_threshold(5000)
    atexit.register(gc.freeze)
