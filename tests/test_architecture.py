"""The house stays as drawn: directions of dependency, and one file ↔ one YAML ↔ one test."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from unlearnctl.config.compose import composed
from unlearnctl.config.instantiate import build_objective, build_suites, plain
from unlearnctl.objectives.base import Objective
from unlearnctl.runs.directory import config_hash
from unlearnctl.utils.paths import conf_dir

PACKAGE = Path(__file__).parent.parent / "unlearnctl"
LEAVES = {
    "errors",
    "files",
    "hub",
    "keys",
    "live",
    "untrusted",
    "seal",
    "stopping",
}  # every part may use them
SHARED = {"__init__", "base", "retain", "loss_level", "token_weights", "retain_noise"}
OBJECTIVES = sorted(p.stem for p in (PACKAGE / "objectives").glob("*.py") if p.stem not in SHARED)
OPTIONS = {
    g: sorted(p.stem for p in (conf_dir() / g).glob("*.yaml")) for g in ("model", "data", "eval", "tracker")
}


def imports(folder: str) -> set[str]:
    """Every module imported anywhere in a part of the package, type-checking blocks left out."""
    found: set[str] = set()
    root = PACKAGE / folder
    for file in [root] if root.is_file() else sorted(root.rglob("*.py")):
        tree = ast.parse(file.read_text())
        skipped = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
        ignored = {id(child) for block in skipped for child in ast.walk(block)}
        for node in ast.walk(tree):
            if id(node) in ignored:
                continue
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module, f"{file.name}: relative import"
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= names if node.module == "unlearnctl" else {node.module}
    return found


def own(folder: str) -> set[str]:
    return {m.removeprefix("unlearnctl.") for m in imports(folder) if m.startswith("unlearnctl.")}


@pytest.mark.parametrize(
    ("part", "allowed"),
    [
        ("ops", ("ops",)),
        ("objectives", ("ops", "objectives", "errors", "data.batch")),
        ("models", ("ops", "models", "errors", "files", "paths", "data.batch", "objectives.base")),
        ("data", ("data", "errors", "paths")),
        ("evaluation", ("evaluation", "errors", "files", "paths", "data", "ops")),
        (
            "training",
            (
                "training",
                "models.tapped",
                "models.rows",
                "models.prefix_cache",
                "models.sharding",
                "models.files",
                "objectives.base",
                "ops.processes",
                "ops.signs",
                "data.batch",
                "evaluation.record",
                "errors",
                "files",
            ),
        ),
        ("probes", ("probes", "models.decoder", "models.files", "data", "errors", "files")),
        ("repair", ("repair", "data.batch", "errors")),
        (
            "attacks",
            (
                "attacks",
                "ops",
                "probes",
                "models.decoder",
                "models.agreement",
                "models.skeleton",
                "data",
                "evaluation",
                "errors",
            ),
        ),
        ("reporting", ("reporting", "errors", "files")),
        ("tracking", ("tracking", "errors", "files", "keys")),
        ("launch", ("launch", "errors", "messages", "ops.signs", "quiet", "trust")),
    ],
)
def test_dependencies_point_one_way(part: str, allowed: tuple[str, ...]) -> None:
    used = own(part) - LEAVES
    strangers = {m for m in used if not any(m == a or m.startswith(f"{a}.") for a in allowed)}
    assert not strangers


def test_what_everything_may_use_uses_nothing_else() -> None:
    for leaf in LEAVES:
        assert own(f"{leaf}.py") <= LEAVES, leaf


def test_only_the_edge_knows_hydra() -> None:
    edge = {"cli.py", "stages", "launch", "sweeps", "completion.py", "messages.py"}
    parts = {p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    for part in parts - edge:
        assert not {m for m in imports(part) if m.split(".")[0] in ("hydra", "omegaconf")}, part


def test_training_knows_no_concrete_objective() -> None:
    assert {m for m in own("training") if m.startswith("objectives")} == {"objectives.base"}


def test_reports_need_no_torch() -> None:
    """Not even through something that they import."""
    assert "torch" not in imports("reporting")
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
    }.get(f"{group}/{option}", [])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[f"{group}={value}", *fill])
    assert plain(cfg)
    if group == "eval":
        assert list(build_suites(cfg.eval)) == [option]


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
