"""Print the shell completion script: completion bash|zsh|fish.

usage: unlearnctl completion bash|zsh|fish

examples:
  eval "$(unlearnctl completion bash)"                              this shell
  unlearnctl completion fish > ~/.config/fish/completions/unlearnctl.fish
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from unlearnctl import commands
from unlearnctl.utils.errors import UserError, unknown
from unlearnctl.utils.paths import conf_dir

HYDRA_FLAGS = ("--cfg", "--config-dir", "--help", "--multirun", "--resolve")
FLAG_VALUES = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
TAKES_FOLDER = ("--config-dir", "-cd", "--resume")

# Each script hands over the words up to the cursor, `unlearnctl __complete WORD ...`, and takes one candidate a line.
BASH = r"""# bash completion of unlearnctl: eval "$(unlearnctl completion bash)"
_unlearnctl() {
    local line="${COMP_LINE:0:COMP_POINT}" fragment="${COMP_WORDS[COMP_CWORD]}" candidate
    local -a words
    read -r -a words <<<"$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    local word="${words[${#words[@]}-1]}"
    # bash breaks words at = and :, and replaces only the last piece: what stands before it is cut off again.
    [[ "$fragment" == "=" || "$fragment" == ":" ]] && fragment=""
    local before="${word%"$fragment"}"
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ -n "$candidate" ]] || continue
        COMPREPLY+=("${candidate#"$before"}")
        [[ "$candidate" == *[=./] ]] && compopt -o nospace 2>/dev/null
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _unlearnctl unlearnctl
"""

ZSH = r"""#compdef unlearnctl
# zsh completion of unlearnctl: eval "$(unlearnctl completion zsh)" after compinit
_unlearnctl() {
    local candidate
    local -a open closed
    for candidate in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
        case "$candidate" in
            "") ;;
            *[=./]) open+=("$candidate") ;;
            *) closed+=("$candidate") ;;
        esac
    done
    (( ${#open} + ${#closed} )) || { _files; return }
    (( ${#open} )) && compadd -Q -S '' -a open
    (( ${#closed} )) && compadd -Q -a closed
}
if [[ "${funcstack[1]}" == "_unlearnctl" ]]; then _unlearnctl "$@"; else compdef _unlearnctl unlearnctl; fi
"""

FISH = r"""# fish completion of unlearnctl; keep it as ~/.config/fish/completions/unlearnctl.fish
function __unlearnctl_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    $words[1] __complete $words[2..-1] "$word" 2>/dev/null
end
complete -c unlearnctl -f -a '(__unlearnctl_complete)'
"""

SCRIPTS = {"bash": BASH, "fish": FISH, "zsh": ZSH}
FIRST_WORDS = {"completion": tuple(SCRIPTS), "tinyworld": ("build", "data")}


def completion(args: Sequence[str]) -> int:
    """Print the script of one shell.

    Raises:
        UserError: no shell, one too many, or not bash, zsh or fish.
    """
    if len(args) != 1:
        raise UserError(f"unlearnctl completion: name one shell of {', '.join(sorted(SCRIPTS))}")
    if args[0] not in SCRIPTS:
        raise unknown("shell", args[0], SCRIPTS)
    print(SCRIPTS[args[0]], end="")
    return 0


def complete(words: Sequence[str]) -> list[str]:
    """What the last of `words` can become; nothing where nothing is known, and never an error."""
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
    """Words of the verbs that do not use Hydra."""
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
