"""List config groups and their options.

usage: unlearnctl ls [GROUP] [--config-dir DIR]

examples:
  unlearnctl ls
  unlearnctl ls objective
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from unlearnctl.utils.errors import UserError, unknown
from unlearnctl.utils.paths import conf_dir

Options = dict[str, str]  # option -> what its first comment says


def ls(args: Sequence[str]) -> int:
    """Print every group, or the one named in `args`; `--config-dir DIR` adds a folder of the user's own.

    Raises:
        UserError: no such group or folder, or an argument too many.
    """
    names, folders = _parse(args)
    found = groups([conf_dir(), *folders])
    for name in names:
        if name not in found:
            raise unknown("group", name, found)
    chosen = {name: found[name] for name in names} if names else found
    print("\n".join(_lines(chosen)))
    return 0


def groups(folders: Sequence[Path]) -> dict[str, Options]:
    """Find the groups in `folders`, a nested one as `objective/retain`; the first folder with an option counts."""
    found: dict[str, Options] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group != ".":
                found.setdefault(group, {}).setdefault(file.stem, first_comment(file))
    return dict(sorted(found.items()))


def first_comment(file: Path) -> str:
    """Return the first comment line of a YAML file (except Hydra's `# @package`), or an empty string."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            return ""
        text = line.lstrip("# ").rstrip()
        if text and not text.startswith("@"):
            return text
    return ""


def _parse(args: Sequence[str]) -> tuple[list[str], list[Path]]:
    names, folders = [], []
    rest = iter(args)
    for arg in rest:
        option = re.fullmatch(r"(--config-dir|-cd)(?:=(.*))?", arg)
        if option:
            folders.append(_folder(option[2] or next(rest, "")))
        elif arg.startswith("-"):
            raise UserError(f"unlearnctl ls: unknown option {arg}. Allowed: --config-dir DIR")
        else:
            names.append(arg.strip("/").removesuffix("="))
    return names, folders


def _folder(path: str) -> Path:
    if not path or not Path(path).is_dir():
        raise UserError(f"--config-dir={path}: no such folder")
    return Path(path)


def _lines(chosen: dict[str, Options]) -> Iterator[str]:
    width = max((len(option) for options in chosen.values() for option in options), default=0)
    for index, (group, options) in enumerate(chosen.items()):
        if index:
            yield ""
        yield f"{group}="
        for option, text in options.items():
            yield f"  {option:<{width}}  {text}".rstrip()
