"""Config composition with the checks before weights, a run's config.yaml, table configs, and task files of lm-eval."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tests.fuzz.target import Target, scratch
from unlearnctl.config.instantiate import plain
from unlearnctl.evaluation.tasks import Tasks
from unlearnctl.runs.directory import own_config
from unlearnctl.tables.cells import build
from unlearnctl.tables.read import read_table
from unlearnctl.tables.render import as_html, markdown
from unlearnctl.unlearning.prepare import prepare
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.explain import explain
from unlearnctl.utils.numbers import flatten
from unlearnctl.utils.paths import conf_dir

UNEXPLAINED = "(run again with --debug for the traceback)"
# A class to be made is the user's own code, and a model's sizes are as large as the user says.
LEFT_OUT = ("_target_", "hydra", "shape", "launch.")
VALUES = (
    "null", "true", "0", "-1", "1.5", "1e400", "nan", "x", "''", "[]", "{}", "[1,2]", "[x]", "{a: 1}", "{a: {b: null}}",
    "???", "${seed}", "${nowhere}", "${oc.env:NOWHERE}", "${", "'a b'", "[[", "99999999999999999999", "\u202e",
)  # fmt: skip


def overrides(data: bytes) -> None:
    """Each line an override, as on the command line of `train`; everything that fails is explained in one line."""
    lines = [
        line for line in data.decode("utf-8", "replace").splitlines() if "=" in line or line.startswith("~")
    ]
    lines = [line for line in lines if not any(word in line for word in LEFT_OUT)]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cfg = compose("train", overrides=["model=llama3_8b", *lines])
            plain(cfg)
            prepare(cfg, offline=True)
    except Exception as error:
        line = explain(error)
        if line.endswith(UNEXPLAINED):
            raise
        raise UserError(line) from None


def _override_seeds() -> Sequence[bytes]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["model=llama3_8b"])
    flat = flatten(OmegaConf.to_container(cfg))  # type: ignore[arg-type]
    keys = [key for key in flat if not any(word in key for word in LEFT_OUT)]
    groups = [
        b"objective=npo\nobjective/retain=nll", b"data=wmdp_bio\neval=[wmdp,mmlu]", b"model=zephyr_7b",
        b"trainer=meta\ntrainer.monitor.every=10", b"objective=rmu\nobjective.layer=7\n+trainer.x=1",
        b"~tracker\ntrainer.lora={rank: 4, alpha: 8}",
    ]  # fmt: skip
    pairs = [
        f"{key}={VALUES[(place * 7 + turn) % len(VALUES)]}"
        for turn in (0, 5)
        for place, key in enumerate(keys)
    ]
    return [*groups, *(pair.encode() for pair in pairs)]


def run_config(data: bytes) -> None:
    """config.yaml of a run that is to be resumed."""
    folder = scratch("run")
    (folder / "config.yaml").write_bytes(data)
    assert {"model", "data"} <= set(own_config(folder))


@cache
def _run_config() -> bytes:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_yaml(compose("train", overrides=["model=llama3_8b"])).encode()


KEYS = b"model: {}\ndata: {}\nobjective: {}\ntrainer: {}\n"
BOMB = b"a: &a [x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [" % (c, c) + b", ".join([b"*%c" % (c - 1)] * 8) + b"]\n" for c in range(ord("b"), ord("k"))
)


def table(data: bytes) -> None:
    """A table config: read, and rendered without any run."""
    folder = scratch("table")
    (folder / "t.yaml").write_bytes(data)
    spec = read_table({"t": folder / "t.yaml"}, "t", "tiny")
    made = build(spec, lambda member: None)
    as_html(made)
    markdown(made).encode()


def task(data: bytes) -> None:
    """A task file of lm-eval, as far as it is read before its data: found, parsed, its name known."""
    folder = scratch("tasks")
    (folder / "t.yaml").write_bytes(data)
    Tasks(["mine"], str(folder), None, "eval.x").check_names()


TASK = b"""task: mine
dataset_path: json
dataset_kwargs: {data_files: x.jsonl}
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}]
"""


def _tables() -> Sequence[bytes]:
    return [file.read_bytes() for file in sorted(Path(conf_dir() / "table").glob("*.yaml"))]


TARGETS = [
    Target("overrides", overrides, cache(_override_seeds), 0.003, limit=20.0),
    Target(
        "run-config",
        run_config,
        lambda: [_run_config(), b"model: {}\ndata: {}\nobjective: {}\ntrainer: {}\n" + BOMB],
        0.01,
    ),
    Target("table", table, _tables, 0.02),
    Target("task", task, lambda: [TASK], 0.05),
]
