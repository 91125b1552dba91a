"""Read the imports of the package and print its rooms: `python -m tests.architecture`.

Counted are imports at the top of a file, inside functions, under TYPE_CHECKING and by string: `import_module(...)`
in the code, and each `_target_` of conf/, which `config/targets.py` imports.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "unlearnctl"
LOADER = "unlearnctl.config.targets"
# From the top of the house to its ground floor: a room imports only rooms that stand below it.
ROOMS = (
    "programs", "commands", "tables", "tuning", "sweeps", "unlearning", "reporting", "runs", "config", "attacks",
    "repair", "probes", "evaluation", "training", "models", "objectives", "distributed", "data", "tinyworld",
    "tracking", "results", "ops", "tasks", "utils",
)  # fmt: skip
# What a process begins with; it imports the verb that it is told to run.
PROGRAMS = ("__init__", "__main__", "cli", "hydra_app", "arguments", "candidates", "distributed.worker")
PATH_TO_THE_STEP = ("cli", "commands.train", "unlearning.session", "training.loop")

Graph = dict[str, set[str]]


def main() -> None:
    """Print rooms, circles, upward imports, and the way from the command to the optimiser step."""
    graph = imports()
    sizes = Counter(room_of(module) for module in graph)
    used = between_rooms(graph)
    for room in ROOMS:
        print(
            f"{room:12} {sizes[room]:3} files, imports: {', '.join(sorted(used[room], key=ROOMS.index)) or '-'}"
        )
    found, up = circles(graph), upward(graph)
    print(f"import circles: {len(found)}", *found, sep="\n  ")
    print(f"upward imports: {len(up)}", *(f"{a} imports {b}" for a, b in up), sep="\n  ")
    held = "" if is_path(graph, PATH_TO_THE_STEP) else " (NOT what the imports say)"
    print(
        "command to step: " + " → ".join(f"{name.replace('.', '/')}.py" for name in PATH_TO_THE_STEP) + held
    )


def imports() -> Graph:
    """Module → modules of the package that it imports, names without the leading `unlearnctl.`."""
    files = {name_of(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in files.items()}
    graph = {
        module: {target for name in named(module, tree) for target in expand(name, files)} - {module}
        for module, tree in trees.items()
    }
    graph[LOADER] |= {target for name in targets_of_conf() for target in expand(name, files)}
    return {short(module): {short(target) for target in found} for module, found in graph.items()}


def name_of(path: Path) -> str:
    """Return the dotted name of a file, a package's `__init__.py` under the name of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def short(module: str) -> str:
    """Leave out the name of the package, which every module has in common."""
    return module.removeprefix(f"{PACKAGE}.") if module != PACKAGE else "__init__"


def named(module: str, tree: ast.Module) -> Iterator[str]:
    """Every name that a module imports; one that ends in `.*` stands for all modules of a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{module}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from by_string(module, node.args[0])


def by_string(module: str, argument: ast.expr) -> Iterator[str]:
    """The name given to `import_module`: a constant, or an f-string whose last part is filled in later."""
    if isinstance(argument, ast.Constant):
        yield str(argument.value)
    elif isinstance(argument, ast.JoinedStr):
        text = ast.unparse(argument)[2:-1].replace("{__name__}", module)
        yield re.sub(r"\{.*\}$", "*", text)


def expand(name: str, files: dict[str, Path]) -> list[str]:
    """The modules that a name stands for; none if it is not ours, is no module, or is the package itself."""
    if name.endswith(".*"):
        return [module for module in files if module.rpartition(".")[0] == name.removesuffix(".*")]
    return [name] * (name in files and name != PACKAGE)


def targets_of_conf() -> set[str]:
    """The modules of all `_target_`s in conf/."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "conf").rglob("*.yaml")))
    return set(re.findall(r"_target_: ([\w.]+)\.\w+", text))


def room_of(module: str) -> str:
    """The room that a module stands in."""
    return "programs" if module in PROGRAMS else module.partition(".")[0]


def between_rooms(graph: Graph) -> dict[str, set[str]]:
    """Room → other rooms that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, used in graph.items():
        found[room_of(module)] |= {room_of(other) for other in used} - {room_of(module)}
    return found


def upward(graph: Graph) -> list[tuple[str, str]]:
    """Imports of a module in a room above."""
    level = {room: number for number, room in enumerate(ROOMS)}
    pairs = [(module, other) for module, used in graph.items() for other in sorted(used)]
    return [(a, b) for a, b in pairs if level[room_of(a)] > level[room_of(b)]]


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import each other, over however many files (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == index[module]:
            start = stack.index(module)
            group, stack[start:] = sorted(stack[start:]), []
            found.extend([group] if len(group) > 1 else [])

    for module in graph:
        if module not in index:
            visit(module)
    return found


def is_path(graph: Graph, modules: tuple[str, ...]) -> bool:
    """Whether each module imports the next, directly or through the `__init__` of the next one's room."""
    return all(
        b in graph[a] or (room_of(b) in graph[a] and b in graph[room_of(b)]) for a, b in pairwise(modules)
    )


if __name__ == "__main__":
    main()
