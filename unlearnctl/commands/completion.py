"""Print the shell completion script: completion bash|zsh|fish.

usage: unlearnctl completion bash|zsh|fish

examples:
  eval "$(unlearnctl completion bash)"                              this shell
  unlearnctl completion fish > ~/.config/fish/completions/unlearnctl.fish
"""

from __future__ import annotations

from collections.abc import Sequence

from unlearnctl.utils.errors import UserError, unknown

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
