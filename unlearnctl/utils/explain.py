"""Turns any exception into one line that names the config key, the value and what is allowed.

Hydra's and OmegaConf's errors have types, but their keys and values are only in their texts; the patterns here are
tested against the versions that the package allows.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from unlearnctl.utils.atomic import why
from unlearnctl.utils.errors import UserError, nearest, one_line, out_of_memory
from unlearnctl.utils.paths import conf_dir, shown
from unlearnctl.utils.redact import redact


def explain(error: BaseException) -> str:
    """Return the line to print, secrets redacted; unknown errors get their type, first line and how to see more."""
    return one_line(redact(_explain(error)))


def _explain(error: BaseException) -> str:
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return str(cause)
    if isinstance(error, OSError) and error.filename and error.strerror:  # a disk, not a mistake
        return why(error)
    if out_of_memory(error):
        return f"out of memory ({_first(str(error)) or type(error).__name__})"
    kind = type(error).__name__
    text = str(error).strip()
    if mark := getattr(error, "problem_mark", None):  # of YAML
        return f"{shown(Path(mark.name))}:{mark.line + 1}: not YAML ({getattr(error, 'problem', '') or _first(text)})"
    if kind == "MissingConfigException":
        return _missing_option(text)
    if several := re.match(r"Ambiguous value for argument '(.*)'", text):
        return _several(several[1])
    if merged := re.match(r"Error merging override (\S+)", text):
        return f"{merged[1]}: a list where a mapping belongs, or the other way round"
    if kind in ("ConfigCompositionException", "ConfigAttributeError", "ConfigKeyError"):
        return _bad_key(error, text)
    if kind == "MissingMandatoryValue":
        key = re.search(r"full_key: (\S+)", text) or re.search(r"Missing mandatory value: (\S+)", text)
        return f"{key[1] if key else 'a value'}=???: required; give it as key=value"
    if kind == "OverrideParseException":
        return f"{getattr(error, 'override', None) or 'an override'}: cannot be parsed as key=value ({_first(text)})"
    if kind in ("InterpolationKeyError", "InterpolationResolutionError", "UnsupportedInterpolationType"):
        key = re.search(r"full_key: (\S+)", text)
        return f"{key[1] if key else 'config'}: {_first(text)}"
    if text.startswith("Config group override must be"):
        return "a config group takes the name of an option, as in model=tinyworld; `unlearnctl ls` lists them"
    if text.startswith("The --resolve flag"):
        return "--resolve: goes with --cfg, as in --cfg job --resolve"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # Hydra looks for options as files
        return "an override names an option longer than any file's name; `unlearnctl ls` lists the options"
    if kind == "SearchPathException":
        return f"--config-dir: {_first(text)}"
    return f"{kind}: {_first(text) or 'no message'} (run again with --debug for the traceback)"


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _first(text: str) -> str:
    return text.split("\n", maxsplit=1)[0]


def _several(override: str) -> str:
    key, _, value = override.partition("=")
    listed = f", or as one list: '{key}=[{value}]'" if key in ("eval", "attack", "plugins") else ""
    return f"{override}: several values; for a run of each add -m{listed}"


def _missing_option(text: str) -> str:
    # In 'train': Could not find 'objective/rmu_cosin'\n\nAvailable options in 'objective':\n\tgrad_ascent\n…
    # or, for a list of options: In 'train': Could not load 'eval/tinywrld'.
    named = re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", text)
    if empty := re.search(r"Could not (?:find|load) '([^']+)/'", text):
        return f"{empty[1]}=: empty; it takes the name of an option, see unlearnctl ls {empty[1]}"
    if not named:
        return _first(text)
    group, name = named.groups()
    listed = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
    listed = listed or [file.stem for file in (conf_dir() / group).glob("*.yaml")]
    return f"{group}={name}: unknown{nearest(name, listed)}. Allowed: {', '.join(sorted(listed))}"


def _bad_key(error: BaseException, text: str) -> str:
    # Could not override 'objective.layr'.\nTo append to your config use +objective.layr=7\nKey 'layr' is not in struct
    full = re.search(r"Could not override '([^']+)'", text) or re.search(r"full_key: (\S+)", text)
    if not full:
        return _lacking_group(text) or _first(text)
    if "No match in the defaults list" in text or "no match in the defaults list" in text.lower():
        return f"{full[1]}: no such config group or key; `unlearnctl ls` lists the groups"
    siblings = _siblings(error)
    leaf = full[1].rpartition(".")[2]
    allowed = f". Allowed: {', '.join(sorted(siblings))}" if siblings else ""
    return f"{full[1]}: unknown key{nearest(leaf, siblings)}{allowed}"


def _lacking_group(text: str) -> str | None:
    # Error resolving interpolation '${model}/${objective}', possible interpolation keys: data, model
    found = re.match(r"Error resolving interpolation '(.*)', possible interpolation keys: (.*)", text)
    if not found:
        return None
    known = found[2].split(", ")
    lacking = [name for name in re.findall(r"\$\{([\w/]+)\}", found[1]) if name not in known]
    return f"{lacking[0]}: required" if lacking else None


def _siblings(error: BaseException) -> list[str]:
    for cause in _chain(error):
        node = getattr(cause, "parent_node", None)
        if node is not None and hasattr(node, "keys"):
            return [str(key) for key in node]
    return []
