"""List what the last word of a command line can become: `unlearnctl __complete`, which the shells' scripts call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from unlearnctl import commands
from unlearnctl.commands.completion import SCRIPTS
from unlearnctl.utils.paths import conf_dir

HYDRA_FLAGS = ("--cfg", "--config-dir", "--help", "--multirun", "--resolve")
FLAG_VALUES = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
TAKES_FOLDER = ("--config-dir", "-cd", "--resume")
FIRST_WORDS = {"completion": tuple(SCRIPTS), "tinyworld": ("build", "data")}


def complete(words: Sequence[str]) -> list[str]:
    """Return what the last of `words` can become: nothing where nothing is known, and never an error."""
    *before, word = list(words) or [""]
    try:
        found = _candidates(before, word)
    except (Exception, SystemExit):  # a half-typed line is often wrong; the shell must not be disturbed
        return []
    return sorted({candidate for candidate in found if candidate.startswith(word)})


def _candidates(before: Sequence[str], word: str) -> Iterable[str]:
    if not before:
        verbs = list(commands.every_verb())
        return [*verbs, "--help", "--version"] if word.startswith("-") else verbs
    verb, before = commands.find(before[0]), before[1:]
    if verb.name == "prefetch":  # takes what train takes, and to=
        return _values_of_to(word) or _override("train", before, word)
    if not verb.uses_hydra:
        return _argument(verb.name, before, word)
    if verb.run_key and "/" in word and "=" not in word:  # a run
        return _folders(word)
    return _override(verb.name, before, word)


def _argument(verb: str, before: Sequence[str], word: str) -> Iterable[str]:
    """Return the words of the verbs that do not use Hydra."""
    if word.startswith("-"):
        return ["--help", "--config-dir"] if verb == "ls" else ["--help"]
    if verb == "report" and word.startswith("to="):
        return _values_of_to(word)
    if verb in ("report", "track") or (before and before[-1] in TAKES_FOLDER):
        return _folders(word)
    if verb == "ls":
        from unlearnctl.commands.ls import groups

        return groups([conf_dir()])
    if verb == "reproduce" and not before:
        return [path.stem for path in (conf_dir() / "table").glob("*.yaml")]
    return FIRST_WORDS.get(verb, ()) if not before else ()


def _values_of_to(word: str) -> list[str]:
    return [f"to={folder}" for folder in _folders(word[3:])] if word.startswith("to=") else []


def _override(verb: str, before: Sequence[str], word: str) -> Iterable[str]:
    """Return flags, groups, options and keys of a Hydra verb."""
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
    """Split words into folders of `--config-dir` and overrides; other flags do not change what can be completed."""
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
    """Offer both ways to continue for a group with options and groups below it, which Hydra gives as a bare name."""
    bare = "=" not in candidate and not candidate.endswith((".", "/"))
    return [f"{candidate}=", f"{candidate}/"] if bare and not candidate.startswith("~") else [candidate]


def _folders(word: str) -> list[str]:
    parent, _, name = word.rpartition("/")
    root = Path(parent or ("/" if word.startswith("/") else ".")).expanduser()
    prefix = f"{parent}/" if "/" in word else ""
    hidden = name.startswith(".")
    entries = sorted(root.iterdir()) if root.is_dir() else []
    return [f"{prefix}{p.name}/" for p in entries if p.is_dir() and (hidden or not p.name.startswith("."))]
