"""One file a verb: its docstring is the verb's help, and its function of the same name runs it.

Verbs are read here without importing them, because importing torch would make `--help` wait for seconds.
A package that is installed adds a verb through an entry point of the group `unlearnctl.verbs`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from unlearnctl.utils.errors import UserError, unknown
from unlearnctl.utils.paths import conf_dir

FOLDER = Path(__file__).parent
GROUP = "unlearnctl.verbs"
CONSTANTS = ("RUN_KEY", "FROM_RUN", "SEVERAL_PROCESSES")


@dataclass(frozen=True)
class Verb:
    """What is known of a verb before its module is imported.

    Args:
        name: as typed.
        help: docstring of its module; the first line sums it up.
        run_key: key of the run that it works on (`RUN_KEY` of its module), if it works on one.
        from_run: config groups that it takes from that run (`FROM_RUN`).
        several_processes: whether they can share its work (`SEVERAL_PROCESSES`).
    """

    name: str
    help: str
    run_key: str | None = None
    from_run: tuple[str, ...] = ()
    several_processes: bool = False

    @property
    def summary(self) -> str:
        """Return the first line of the help."""
        return self.help.partition("\n")[0].removesuffix(".")

    @property
    def uses_hydra(self) -> bool:
        """Tell whether Hydra composes its config, which is then `conf/VERB.yaml`."""
        return (conf_dir() / f"{self.name}.yaml").is_file()


@dataclass(frozen=True)
class OutsideVerb(Verb):
    """A verb of another installed package. Nothing of that package is imported before the verb is typed."""

    entry: metadata.EntryPoint | None = None

    @property
    def uses_hydra(self) -> bool:
        """Return False: it parses its own arguments."""
        return False

    def load(self) -> Callable[..., Any]:
        """Import the function that the entry point names.

        Raises:
            UserError: it cannot be imported.
        """
        assert self.entry is not None
        try:
            return self.entry.load()
        except (ImportError, AttributeError) as error:
            raise UserError(f"{self.name}: {self.entry.value} cannot be imported ({error})") from error


def names() -> list[str]:
    """List our own verbs."""
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def every_verb() -> dict[str, Verb]:
    """Read all verbs, by name: ours, then those of other packages."""
    return {name: _read(name) for name in names()} | _outside()


def find(name: str) -> Verb:
    """Read the verb `name`.

    Raises:
        UserError: there is none.
    """
    if name in names():
        return _read(name)
    outside = _outside()
    if name not in outside:
        raise unknown("verb", name, [*names(), *outside])
    return outside[name]


def full_help(verb: Verb) -> str:
    """Return the whole help; an outside verb's is the docstring of its module or, failing that, of its function."""
    if not isinstance(verb, OutsideVerb):
        return verb.help
    function = verb.load()
    module = sys.modules.get(function.__module__)
    return (module and module.__doc__) or function.__doc__ or verb.help


@cache
def _read(name: str) -> Verb:
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    constants = {
        node.targets[0].id.lower(): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in CONSTANTS
    }
    return Verb(name, ast.get_docstring(tree) or "", **constants)


def _outside() -> dict[str, Verb]:
    """Find verbs of other packages. A package can add verbs but not replace ours."""
    found: dict[str, Verb] = {}
    for entry in metadata.entry_points(group=GROUP):
        if entry.name not in names():
            package = entry.dist.name if entry.dist else entry.value
            found[entry.name] = OutsideVerb(entry.name, f"A verb of the package {package}.", entry=entry)
    return found
