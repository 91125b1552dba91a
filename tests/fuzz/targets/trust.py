"""Folders of task files and of configs that want to run code: none does, whatever their encodings, links and includes.

An input says what lies in the folder: parts split by a line `%%% NAME`, or `%%% NAME -> TARGET` for a link. The first
byte says in which encoding they are written.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from unittest import mock

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tests.fuzz.target import Target, scratch
from unlearnctl.config.composed import guarded
from unlearnctl.config.trust import Trust, allow
from unlearnctl.evaluation.tasks import Tasks
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.explain import explain
from unlearnctl.utils.paths import conf_dir

MARK = re.compile(rb"^%%% ([\w./-]{1,60})(?: -> ([\w./-]{1,60}))?\n", re.MULTILINE)
ENCODINGS = ("", "", "", "utf-16", "utf-16-le", "utf-32", "utf-8-sig")
CANARY = "import os\nopen(os.environ['FUZZ_CANARY'], 'w').close()\ndef f(*a): return 'a'\n"


def laid_out(name: str, data: bytes) -> Path:
    """The folder that an input describes, with Python in it that leaves a mark."""
    root = scratch(name)
    shutil.rmtree(root, ignore_errors=True)
    folder = root / "t"
    for below in ("t/u", "v", "t/experiment", "t/objective"):
        (root / below).mkdir(parents=True, exist_ok=True)
    encoding = ENCODINGS[data[0] % len(ENCODINGS)] if data else ""
    parts = MARK.split(data[1:])[1:]
    for file, target, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        place = folder / file.decode()
        if (
            not Path(os.path.normpath(place)).is_relative_to(root) or b"PWNED" in file
        ):  # the mark is not an input
            continue
        try:
            if target:
                place.symlink_to(target.decode())
            elif not place.is_symlink():
                place.write_bytes(body.decode("utf-8", "replace").encode(encoding) if encoding else body)
        except OSError:
            continue
    for home in (folder, folder / "u", root / "v"):
        (home / "evil.py").write_text(CANARY)
    return folder


def unharmed(folder: Path) -> None:
    """Nothing has left the mark, nor written a file that a config names."""
    marks = list(folder.parent.rglob("PWNED*"))
    assert not marks, f"code ran: {marks}"


def task_folder(data: bytes) -> None:
    """Task files up to the point where their data would be read."""
    folder = laid_out("task-folder", data)
    allow(Trust())
    with mock.patch.dict(os.environ, {"FUZZ_CANARY": str(folder.parent / "PWNED")}):
        try:
            tasks = Tasks(["mine"], str(folder), None, "eval.x")
            tasks.check_names()
            for entry in tasks._known.task_index.values():  # type: ignore[union-attr]
                assert entry.yaml_path is None
                plain(entry.cfg or {})
        finally:
            unharmed(folder)


def plain(node: object, depth: int = 0) -> None:
    """Nothing in it can be called."""
    assert depth < 200
    assert not callable(node)
    if isinstance(node, dict | list | tuple):
        children = [*node, *node.values()] if isinstance(node, dict) else node
        for child in children if len(children) < 1000 else ():
            plain(child, depth + 1)


def config_folder(data: bytes) -> None:
    """Config files of the user's beside ours, chosen by group, composed and checked as the command line does."""
    folder = laid_out("config-folder", data)
    allow(Trust())
    GlobalHydra.instance().clear()
    given = {"FUZZ_CANARY": str(folder.parent / "PWNED"), "FUZZ_SECRET_PLACE": "canary-of-the-environment"}
    try:
        with mock.patch.dict(os.environ, given), warnings.catch_warnings(), guarded():
            warnings.simplefilter("ignore")
            with initialize_config_dir(str(conf_dir()), version_base="1.3"):
                cfg = compose("train", overrides=[f"hydra.searchpath=['file://{folder}']", "experiment=mine"])
                assert "canary-of-the-environment" not in OmegaConf.to_yaml(cfg, resolve=True)
    except AssertionError:
        raise
    except Exception as error:
        line = explain(error)
        if line.endswith("(run again with --debug for the traceback)"):
            raise
        raise UserError(line) from None
    finally:
        unharmed(folder)


TASK = b"""task: mine
dataset_path: json
dataset_kwargs: {data_files: x.jsonl}
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc}]
"""


@cache
def _tasks() -> Sequence[bytes]:
    function = TASK + b"process_docs: !function evil.f\n"
    bodies = [
        b"%%% mine.yaml\n" + TASK,
        b"%%% mine.yaml\n" + function,
        b"%%% mine.yaml\ninclude: [a.yml, u/b]\ntask: mine\n%%% a.yml\n" + TASK + b"%%% u/b\n" + function,
        b"%%% mine.yaml -> ../v/mine.txt\n%%% ../v/mine.txt\ninclude: b.yml\ntask: mine\n%%% ../v/b.yml\n"
        + function,
        b"%%% mine.yaml\nx: &a {process_docs: !function evil.f}\n<<: *a\n" + TASK,
        b"%%% mine.yaml\nx: &a [&b [*a], *b]\n? !function evil.f\n: 1\n" + TASK,
        b"%%% mine.yaml\ngroup: mine\ntask: [{task: x, metric_list: [{metric: evil.py, hf_evaluate: yes}]}]\n",
        b"%%% mine.yaml\nclass: !!python/name:evil.f\nunsafe_code: on\n" + TASK,
        b"%%% mine.yaml -> u\n%%% u/mine.yaml -> ../../v\n%%% ../v/x.yaml -> x.yaml\n",
    ]
    return [bytes([place]) + body for place in (0, 3, 6) for body in bodies]


HYDRA = (
    b"callbacks: {a: {_target_: evil.f}}",
    b"job_logging: {handlers: {f: {class: logging.FileHandler, filename: PWNED}}}",
    b"job_logging: {formatters: {f: {(): evil.f}}}", b"job: {env_set: {A: b}, name: '${oc.env:FUZZ_SECRET_PLACE}'}",
    b"run: {dir: PWNED}", b"output_subdir: PWNED", b"launcher: {_target_: evil.f, setup: [x]}",
    b"hydra_logging: ${oc.decode:'{handlers: {f: {class: logging.os.popen}}}'}",
    b"callbacks: {a: {_target_: '${hydra:job.name}'}}",
)  # fmt: skip


@cache
def _configs() -> Sequence[bytes]:
    head = b"%%% experiment/mine.yaml\n# @package _global_\n"
    bodies = [head + b"hydra:\n  " + setting + b"\n" for setting in HYDRA]
    bodies += [
        head + b"seed: 3\nname: ${oc.env:FUZZ_SECRET_PLACE}\n",
        head
        + b"defaults:\n  - override /objective: mine\n%%% objective/mine.yaml\n_target_: evil.F\nname: mine\n",
        head
        + b"defaults: [x, _self_]\nmodel: {trust_remote_code: true}\n%%% experiment/x.yaml\nplugins: [evil]\n",
        b"%%% experiment/mine.yaml -> x.yaml\n%%% experiment/x.yaml\n# @package _global_\nx: &a {b: 1}\n<<: *a\n",
    ]
    return [bytes([0]) + body for body in bodies]


TARGETS = [
    Target("task-folder", task_folder, _tasks, 0.05),
    Target("config-folder", config_folder, _configs, 0.003, limit=20.0),
]
