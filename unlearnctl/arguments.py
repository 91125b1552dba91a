"""Read what is typed after a verb before Hydra does: the run that it is about, and what Hydra would misunderstand."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from unlearnctl.commands import Verb
from unlearnctl.utils.errors import UserError

VALUED = (  # flags that a value follows
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
    "--info",
    "-i",
    "--resume",
)
MANY = ("-m", "--multirun")
NEEDED = ("resume", "run_dir", "unlearned")  # keys whose empty value would be taken for none


def check_text(args: Sequence[str]) -> None:
    """Refuse bytes that no results.json could hold.

    Raises:
        UserError: an argument is not UTF-8.
    """
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError as error:
            key, equals, _ = arg.partition("=")
            raise UserError(
                f"{key if equals else 'an argument'}: not UTF-8 (character {error.start + 1} of it); rename the file "
                "or folder"
            ) from None


def check_named(verb: str, args: Sequence[str]) -> None:
    """Refuse an empty name where a verb without Hydra takes one: `report ""` would mean the working directory.

    Raises:
        UserError: one is.
    """
    for arg in args:
        if not arg or arg in ("to=", "output_dir=", "tracker="):
            raise UserError(f"unlearnctl {verb}: {arg or 'an argument'}: empty; give a name, or leave it out")


def prepared(verb: Verb, args: Sequence[str]) -> list[str]:
    """Return the arguments with the run as the key that the verb has for it.

    Raises:
        UserError: no run where one is meant, or several, or the name of a new run that is a run already.
    """
    words = _words(args)
    rest = [arg for arg in args if arg not in words]
    if verb.run_key == "run":  # every other verb calls it run_dir
        rest = [f"run={arg.removeprefix('run_dir=')}" if arg.startswith("run_dir=") else arg for arg in rest]
    _check_empty(verb, rest, words)
    if verb.run_key is None:
        _check_no_run(verb, words)
        rest = [*rest, *words]
    elif words:
        rest = [*rest, _run_key(verb, verb.run_key, rest, words)]
    if verb.run_key != "run":
        _check_new_name(verb, rest)
    return _forced(verb, rest)


def _words(args: Sequence[str]) -> list[str]:
    """Return the arguments that are neither flags, nor values of flags, nor key=value."""
    found, before = [], ""
    for arg in args:
        named = "=" in arg or arg.startswith("~")
        if before not in VALUED and not arg.startswith("-") and (not named or _is_run(arg)):
            found.append(arg)
        before = arg
    return found


def _is_run(text: str) -> bool:
    return (Path(text) / "config.yaml").is_file()


def _check_empty(verb: Verb, rest: Sequence[str], words: Sequence[str]) -> None:
    if "" in words:
        raise UserError(f"unlearnctl {verb.name}: an empty argument{_example(verb)}")
    for arg in rest:
        key, equals, value = arg.lstrip("+").partition("=")
        if equals and key in NEEDED and not value.strip(" '\""):
            raise UserError(f"{key}=: empty; give a directory, or leave it out")


def _example(verb: Verb) -> str:
    return f"; give a run, as in unlearnctl {verb.name} outputs/train/NAME/RUN" if verb.run_key else ""


def _check_no_run(verb: Verb, words: Sequence[str]) -> None:
    """Refuse a folder where a verb makes runs from configs alone."""
    folder = next((word for word in words if Path(word).is_dir()), None)
    if folder is None:
        return
    resume = f"; to resume a run: unlearnctl train resume={shlex.quote(folder)}"
    how = resume if verb.name == "train" else ""
    raise UserError(f"{folder}: unlearnctl {verb.name} takes key=value, not a folder by itself{how}")


def _run_key(verb: Verb, key: str, rest: Sequence[str], words: Sequence[str]) -> str:
    """Write `run_dir=DIR`, quoted for Hydra; several runs become a sweep over them."""
    given = next((arg for arg in rest if arg.startswith(f"{key}=")), None)
    if given:
        raise UserError(f"{given}: the run is given twice, as {words[0]} too")
    if len(words) > 1 and not any(flag in rest for flag in MANY):
        raise UserError(
            f"unlearnctl {verb.name}: takes one run, got {len(words)} ({', '.join(words)}); "
            "add -m to take one after the other"
        )
    for word in words:
        if (Path(word) / "config.json").is_file() and not _is_run(word):
            instead = f"; type unlearnctl {verb.name} model=local model.path={shlex.quote(word)}"
            raise UserError(f"{word}: a model and not a run{instead if verb.from_run else ''}")
    return f"{key}={','.join(map(_quoted, words))}"


def _quoted(word: str) -> str:
    """Quote and escape a word so that Hydra's parser reads exactly this text."""
    if re.fullmatch(r"[\w./@%:+-]*/[\w./@%:+-]*", word, re.ASCII):
        return word
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", r"\'"), word)
    return f"'{escaped}'".replace("${", r"\${")


def _check_new_name(verb: Verb, rest: Sequence[str]) -> None:
    """Refuse `run=` with a run that exists: it names the run that will be made."""
    place = next((arg.partition("=")[2] for arg in rest if arg.startswith("output_dir=")), "outputs")
    for arg in rest:
        key, _, value = arg.partition("=")
        name = value.strip("'\"")
        if key != "run" or not name or not (_is_run(name) or name.startswith(f"{place.rstrip('/')}/")):
            continue
        typed = f" {'resume=' if verb.name == 'train' else ''}{shlex.quote(name)}"
        takes_run = verb.run_key or verb.name == "train"
        how = f"; for that run type unlearnctl {verb.name}{typed}" if takes_run else ""
        raise UserError(
            f"run={name}: names the new run, in {place}/{verb.name}/NAME, and not one that exists{how}"
        )


def _forced(verb: Verb, rest: Sequence[str]) -> list[str]:
    """Write keys of what comes from the run as `++eval.x.limit=1`, because Hydra does not know the run's groups."""
    if not any(arg.startswith("run_dir=") for arg in rest):
        return list(rest)
    kept = [group for group in verb.from_run if not any(arg.startswith(f"{group}=") for arg in rest)]
    out = []
    for arg in rest:
        group = re.split(r"[.=]", arg.lstrip("+~"))[0]
        if arg.startswith("~") and group in verb.from_run:
            raise UserError(
                f"{arg}: nothing can be taken out of what a run has; name what you want, {group}=..."
            )
        out.append(f"++{arg}" if group in kept and arg.startswith(f"{group}.") else arg)
    return out


def sweep_arguments(verb: str, args: list[str]) -> list[str]:
    """Resolve `--resume DIR`, and give a sweep a name that no other has: two may start in the same second.

    Raises:
        UserError: `--resume` without a sweep, or `resume=` with one.
    """
    if any(arg == "--resume" or arg.startswith("--resume=") for arg in args):
        return _resumed_sweep(verb, args)
    sweeps = any(flag in args for flag in MANY)
    if sweeps and any(arg.startswith("resume=") and arg != "resume=null" for arg in args):
        raise UserError(
            "resume: resumes one run, so it cannot be combined with -m; --resume DIR resumes a sweep"
        )
    if verb == "train" and sweeps and not any(arg.startswith("run=") for arg in args):
        return [*args, f"run={datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"]
    return args


def _resumed_sweep(verb: str, args: list[str]) -> list[str]:
    from unlearnctl.sweeps.members import resumed

    flag = next(arg for arg in args if arg == "--resume" or arg.startswith("--resume="))
    place = args.index(flag)
    after = place + 1 if "=" in flag else place + 2  # --resume=DIR or --resume DIR
    folder = flag.partition("=")[2] or "".join(args[place + 1 : after])
    if verb != "train" or not folder:
        raise UserError(f"unlearnctl {verb}: --resume resumes a sweep: unlearnctl train --resume DIR")
    others = args[:place] + args[after:]
    flags = [arg for arg in others if arg.startswith("-") and arg not in MANY]
    return ["-m", *flags, *resumed(folder, [arg for arg in others if not arg.startswith("-")])]
