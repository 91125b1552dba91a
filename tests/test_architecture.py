"""The house stays as drawn: no circles, no upward imports, and one file ↔ one YAML ↔ one test."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tests import architecture
from tests.architecture import PATH_TO_THE_STEP, Graph
from unlearnctl.config.compose import composed
from unlearnctl.config.instantiate import build_objective, build_suites, plain
from unlearnctl.objectives.base import Objective
from unlearnctl.runs.directory import config_hash
from unlearnctl.utils.paths import conf_dir

PACKAGE = Path(__file__).parent.parent / "unlearnctl"
# File names that several rooms have, because each means by it what the others mean.
SAME_MEANING = {
    "base": "what every class of the room has in common",
    "lock": "one process at a time",
    "settings": "the room's part of a config",
    "spec": "a description of something that is not built yet",
    "update": "what training changed in the weights",
}
# What a room may import beside itself and utils; the rooms that are not listed know the whole house below them.
ALLOWED = {
    "utils": (),
    "ops": (),
    "results": (),
    "tracking": (),
    "tinyworld": (),
    "distributed": (),
    "data": ("tinyworld.resolve",),
    "objectives": ("ops", "data.batch", "distributed.collectives"),
    "models": ("ops", "objectives.base", "data.batch", "tinyworld.resolve"),
    "training": (
        "models.adapters",
        "models.partial",
        "models.sharding",
        "objectives.base",
        "objectives.protocols",
        "distributed.collectives",
        "distributed.heartbeat",
        "data.batch",
        "results",
    ),
    "evaluation": (
        "models.delta",
        "distributed.collectives",
        "distributed.heartbeat",
        "data",
        "tinyworld",
        "results",
        "ops",
    ),
    "probes": ("models.partial.decoder", "objectives.token_norms", "data", "ops"),
    "repair": ("data", "results"),
    "attacks": (
        "probes",
        "models.agreement",
        "models.partial.decoder",
        "models.skeleton",
        "data",
        "results",
        "ops",
    ),
    "reporting": ("runs.layout", "runs.live", "results"),
}
SHARED = {
    "__init__",
    "base",
    "protocols",
    "retain",
    "loss_level",
    "token_weights",
    "retain_noise",
    "token_norms",
}
OBJECTIVES = sorted(p.stem for p in (PACKAGE / "objectives").glob("*.py") if p.stem not in SHARED)
OPTIONS = {
    g: sorted(p.stem for p in (conf_dir() / g).glob("*.yaml")) for g in ("model", "data", "eval", "tracker")
}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return architecture.imports()


def test_every_file_stands_in_a_room(graph: Graph) -> None:
    assert {architecture.room_of(module) for module in graph} == set(architecture.ROOMS)


def test_no_imports_go_in_circles(graph: Graph) -> None:
    assert architecture.circles(graph) == []


def test_no_room_imports_one_above_it(graph: Graph) -> None:
    assert architecture.upward(graph) == []


def test_the_path_from_the_command_to_the_step_is_as_documented(graph: Graph) -> None:
    page = (PACKAGE.parent / "docs/architecture.md").read_text(encoding="utf-8")
    steps = [page.index(f"`unlearnctl/{name.replace('.', '/')}.py`") for name in PATH_TO_THE_STEP]
    assert steps == sorted(steps)
    assert len(PATH_TO_THE_STEP) == 4
    assert architecture.is_path(graph, PATH_TO_THE_STEP)
    for later, name in enumerate(PATH_TO_THE_STEP):
        assert not graph[name] & set(PATH_TO_THE_STEP[:later]), f"{name} calls back"


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, [["a", "b", "c"]]),
        ({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}}, [["c", "d"], ["a", "b"]]),
    ],
)
def test_circles_are_found(edges: Graph, found: list[list[str]]) -> None:
    assert architecture.circles(edges) == found


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("def f():\n    import unlearnctl.ops.masked", "unlearnctl.ops.masked"),
        ("if TYPE_CHECKING:\n    from unlearnctl.ops import masked", "unlearnctl.ops.masked"),
        ("import_module('unlearnctl.ops.masked').mean()", "unlearnctl.ops.masked"),
        ("importlib.import_module(f'unlearnctl.ops.{name}')", "unlearnctl.ops.*"),
        ("import_module(f'{__name__}.{name}')", "unlearnctl.here.*"),
    ],
)
def test_imports_of_every_kind_are_read(line: str, name: str) -> None:
    assert name in set(architecture.named("unlearnctl.here", ast.parse(line)))


def test_no_file_name_stands_for_two_things() -> None:
    """Verbs and suites are named as users type them."""
    files = [p for p in PACKAGE.rglob("[a-z]*.py") if p.parent.name not in ("commands", "suites")]
    twice = {name for name, count in Counter(p.stem for p in files).items() if count > 1}
    assert twice <= SAME_MEANING.keys()


def test_tests_mirror_the_rooms() -> None:
    """Beside the rooms, tests/ has folders for what concerns several of them."""
    beside = {"bad_inputs", "faults", "fuzz", "golden", "real"}
    folders = {p.name for p in Path(__file__).parent.iterdir() if p.is_dir() and p.name[0] != "_"}
    assert folders - beside <= set(architecture.ROOMS)


def test_only_the_edge_knows_hydra() -> None:
    rooms = ("commands", "config", "distributed", "runs", "sweeps", "tables", "tuning", "unlearning")
    edge = {*rooms, *(f"{name}.py" for name in architecture.PROGRAMS)}
    for part in PACKAGE.iterdir():
        if part.name not in edge and (part.suffix == ".py" or (part / "__init__.py").is_file()):
            assert not {name for name in roots(part) if name in ("hydra", "omegaconf")}, part.name


def roots(part: Path) -> set[str]:
    """The first part of each name that a room imports."""
    files = [part] if part.is_file() else sorted(part.rglob("*.py"))
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    return {name.partition(".")[0] for tree in trees for name in architecture.named(part.name, tree)}


@pytest.mark.parametrize("room", ALLOWED)
def test_the_lower_rooms_import_only_what_is_listed(room: str, graph: Graph) -> None:
    """The order of rooms alone would let training name a concrete objective, and reports read models."""
    used = {m for module in graph if architecture.room_of(module) == room for m in graph[module]}
    allowed = (room, "utils", *ALLOWED[room])
    assert {m for m in used if not any(m == a or m.startswith(f"{a}.") for a in allowed)} == set()


def test_tensor_functions_import_only_torch() -> None:
    assert roots(PACKAGE / "ops") <= {
        "__future__",
        "collections",
        "jaxtyping",
        "math",
        "torch",
        "typing",
        "unlearnctl",
    }


def test_reports_need_no_torch() -> None:
    """Not even through something that they import."""
    assert "torch" not in roots(PACKAGE / "reporting")
    modules = [f"unlearnctl.reporting.{p.stem}" for p in (PACKAGE / "reporting").glob("[a-z]*.py")]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_file_one_yaml_one_test() -> None:
    configs = {p.stem for p in (conf_dir() / "objective").glob("*.yaml")}
    assert configs == set(OBJECTIVES)
    tests = "".join(p.read_text() for p in (PACKAGE.parent / "tests" / "objectives").glob("test_*.py"))
    for name in OBJECTIVES:
        assert f"unlearnctl.objectives.{name} import" in tests, name


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("model", ["tinyworld", "llama3_8b", "zephyr_7b"])
def test_every_objective_is_built_from_its_yaml(name: str, model: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[f"objective={name}", f"model={model}"])
    objective = build_objective(cfg.objective)
    assert isinstance(objective, Objective)
    assert type(objective).__module__ == f"unlearnctl.objectives.{name}"
    assert cfg.objective.name == name


@pytest.mark.parametrize("retain", sorted(p.stem for p in (conf_dir() / "objective/retain").glob("*.yaml")))
@pytest.mark.parametrize("objective", ["grad_diff", "npo", "simnpo"])
def test_every_retain_term_plugs_in(objective: str, retain: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[f"objective={objective}", f"objective/retain={retain}"])
    assert build_objective(cfg.objective).needs()["retain"]


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, options in OPTIONS.items() for o in options])
def test_every_shipped_yaml_composes(group: str, option: str) -> None:
    value = f"[{option}]" if group == "eval" else option
    fill = {
        "model/local": ["model.path=x"],
        "data/local": ["data.forget.path=x", "data.retain.path=y"],
        "eval/toxicity": ["eval.toxicity.path=x", "eval.toxicity.scorer=y"],
        "eval/forget_perplexity": ["eval.forget_perplexity.path=x"],
    }.get(f"{group}/{option}", [])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[f"{group}={value}", *fill])
    assert plain(cfg)
    if group == "eval":
        assert list(build_suites(cfg.eval)) == [option]


@pytest.mark.first(2)
@pytest.mark.parametrize("name", sorted(p.stem for p in (conf_dir() / "sweep").glob("*.yaml")))
def test_every_ready_made_sweep_composes(name: str) -> None:
    command = (conf_dir() / f"sweep/{name}.yaml").read_text().splitlines()[2]
    fixed = [word for word in command.split() if "=" in word and not word.startswith("hydra/")]
    assert f"sweep={name}" in fixed
    members = composed(fixed)
    assert len({config_hash(cfg) for cfg in members}) == len(members) > 1
    for cfg in members:
        build_objective(cfg.objective)


def loaded(*args: str) -> set[str]:
    """Heavy modules that a command line has imported by its end."""
    code = (
        "import sys\nfrom unlearnctl.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as e:\n"
        "    assert not e.code, e.code\nprint('LOADED', *[m for m in ('torch','transformers','lm_eval','datasets',"
        "'hydra','matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    return set(done.stdout.strip().splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    ("args", "allowed"),
    [
        (("--help",), set()),
        (("train", "--help"), set()),
        (("--version",), set()),
        (("ls",), set()),
        (("train", "--cfg", "job"), {"hydra"}),
        (
            (
                "train",
                "--cfg",
                "job",
                "--resolve",
                "objective=rmu_cosine",
                "model=llama3_8b",
                "data=wmdp_bio",
            ),
            {"hydra"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_quick_commands_import_nothing_heavy(args: tuple[str, ...], allowed: set[str]) -> None:
    """What keeps --help under a second and --cfg job under three: nothing to wait for."""
    assert loaded(*args) <= allowed
