"""Shell completion: the scripts for bash, zsh and fish, and the candidates that they ask for.

The scripts call `unlearnctl __complete WORD ...` (what stands after `unlearnctl`, the last word being typed),
which prints one candidate a line. Overrides are completed by Hydra itself, from the composed config.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from unlearnctl.commands.arguments import ABOUT
from unlearnctl.commands.completion_scripts import SCRIPTS
from unlearnctl.utils.errors import UserError, unknown
from unlearnctl.utils.paths import conf_dir

HYDRA_FLAGS = ("--cfg", "--config-dir", "--help", "--multirun", "--resolve")
FLAG_VALUES = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
TAKES_FOLDER = ("--config-dir", "-cd", "--resume")
FIRST_WORDS = {"completion": tuple(SCRIPTS), "tinyworld": ("build", "data")}


def script(shell: str) -> str:
    """The completion script of `shell`.

    Raises:
        UserError: not bash, zsh or fish.
    """
    if shell not in SCRIPTS:
        raise unknown("shell", shell, SCRIPTS)
    return SCRIPTS[shell]


def completion_command(args: Sequence[str]) -> int:
    """`unlearnctl completion SHELL`.

    Raises:
        UserError: no shell, or one too many.
    """
    if len(args) != 1:
        raise UserError(f"unlearnctl completion: name one shell of {', '.join(sorted(SCRIPTS))}")
    print(script(args[0]), end="")
    return 0


def complete(
    words: Sequence[str], verbs: Iterable[str] = (), hydra_verbs: Iterable[str] = ("train", "eval", "export")
) -> list[str]:
    """What the last of `words` can become; nothing where nothing is known, and never an error."""
    words = list(words) or [""]
    word = words[-1]
    try:
        if len(words) == 1:
            found: Iterable[str] = [*verbs, "--help", "--version"] if word.startswith("-") else verbs
        elif words[0] == "prefetch":
            place = word.startswith("to=")
            found = (
                [f"to={f}" for f in _folders(word[3:])] if place else _override("train", words[1:-1], word)
            )
        elif words[0] in hydra_verbs:
            found = _override(words[0], words[1:-1], word)
            if words[0] in ABOUT and "/" in word and "=" not in word:  # a run
                found = _folders(word)
        else:
            found = _argument(words[0], words[1:-1], word)
    except (Exception, SystemExit):  # a half-typed line is often wrong; the shell must not be disturbed
        return []
    return sorted({candidate for candidate in found if candidate.startswith(word)})


def _argument(verb: str, before: Sequence[str], word: str) -> Iterable[str]:
    """Words of the verbs that are no Hydra apps."""
    if word.startswith("-"):
        return ["--help", "--config-dir"] if verb == "ls" else ["--help"]
    if verb == "report" and word.startswith("to="):
        return [f"to={folder}" for folder in _folders(word[3:])]
    if verb in ("report", "track") or (before and before[-1] in TAKES_FOLDER):
        return _folders(word)
    if verb == "ls":
        from unlearnctl.commands.ls import groups

        return groups([conf_dir()])
    if verb == "reproduce" and not before:
        return [path.stem for path in (conf_dir() / "table").glob("*.yaml")]
    return FIRST_WORDS.get(verb, ()) if not before else ()


def _override(verb: str, before: Sequence[str], word: str) -> Iterable[str]:
    """Flags, groups, options and keys of a Hydra verb."""
    if before and before[-1] in FLAG_VALUES:
        return FLAG_VALUES[before[-1]]
    if before and before[-1] in TAKES_FOLDER:
        return _folders(word)
    if word.startswith("-"):
        return (*HYDRA_FLAGS, "--resume") if verb == "train" else HYDRA_FLAGS
    folders, overrides = _split(before)
    # `eval=[wmdp,mm` and the sweep `objective=rmu,np`: Hydra completes one option, so ask for the last.
    several = re.fullmatch(r"([^=]+=)(.*[\[,])([^\[,]*)", word)
    if not several:
        return _query(verb, folders, overrides, word)
    key, head, tail = several.groups()
    options = _query(verb, folders, overrides, key + tail)
    return [key + head + option.removeprefix(key) for option in options]


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Folders of `--config-dir`, and overrides; other flags do not change what can be completed."""
    folders, overrides = [], []
    rest = iter(words)
    for word in rest:
        if word in TAKES_FOLDER:
            folders.append(next(rest, ""))
        elif word.startswith("--config-dir="):
            folders.append(word.removeprefix("--config-dir="))
        elif word in FLAG_VALUES:
            next(rest, "")
        elif not word.startswith("-"):
            overrides.append(word)
    return [folder for folder in folders if Path(folder).is_dir()], overrides


def _query(verb: str, folders: Sequence[str], overrides: Sequence[str], word: str) -> list[str]:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra._internal.utils import create_config_search_path
    from hydra.core.plugins import Plugins

    Plugins.instance()  # registers what reads file:// and pkg:// folders
    path = create_config_search_path(str(conf_dir()))
    for folder in folders:
        path.append("command-line", f"file://{Path(folder).resolve()}")
    # Only the query is used, which is the same for every shell; the script around it is ours.
    found = BashCompletion(ConfigLoaderImpl(path))._query(verb, " ".join([*overrides, word]))
    if not word.lstrip("+~").startswith("hydra"):
        found = [candidate for candidate in found if not candidate.lstrip("+~").startswith("hydra")]
    return [each for candidate in found for each in _open(candidate)]


def _open(candidate: str) -> list[str]:
    """A group that has both options and groups below it comes bare from Hydra; offer both ways on."""
    bare = "=" not in candidate and not candidate.endswith((".", "/"))
    return [f"{candidate}=", f"{candidate}/"] if bare and not candidate.startswith("~") else [candidate]


def _folders(word: str) -> list[str]:
    parent, _, name = word.rpartition("/")
    root = Path(parent or ("/" if word.startswith("/") else ".")).expanduser()
    prefix = f"{parent}/" if "/" in word else ""
    hidden = name.startswith(".")
    entries = sorted(root.iterdir()) if root.is_dir() else []
    return [f"{prefix}{p.name}/" for p in entries if p.is_dir() and (hidden or not p.name.startswith("."))]
