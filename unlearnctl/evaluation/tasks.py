"""lm-eval tasks from one folder: found, loaded once, every question checked before a model is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnctl.evaluation.rehearsal import Values, rehearse
from unlearnctl.evaluation.task_code import check_task_code
from unlearnctl.evaluation.task_data import LocalData
from unlearnctl.evaluation.task_files import read_tasks
from unlearnctl.evaluation.templates import TooMuch, templates_compiled_once
from unlearnctl.tinyworld.resolve import resolve
from unlearnctl.utils.errors import UserError, brief, prefetch_hint, unknown
from unlearnctl.utils.hub import ask_once

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

OURS = ("tinyworld:", "unlearnctl:", "lm_eval:")  # task files that came with an installed package
FEWSHOT_SEED = 1234  # the harness's usual one


class Tasks:
    """Task and group names, and where their YAML files lie.

    Args:
        names: of tasks and groups.
        include: a path, `tinyworld:tasks`, `unlearnctl:NAME` or `lm_eval:NAME`; only that folder is indexed.
        num_fewshot: examples before each question; None = each task's own.
        key: config key for messages.
        trust_code: task files of others may run Python; they say so in tags, and what they name is printed.
        path: folder with a local copy of the tasks' data (`LocalData`); None = what the task files say.
    """

    def __init__(
        self,
        names: Sequence[str],
        include: str,
        num_fewshot: int | None,
        key: str,
        trust_code: bool = False,
        path: str | None = None,
    ) -> None:
        self.trust_code, self.path = trust_code, path
        self.names, self.include, self.num_fewshot, self.key = list(names), include, num_fewshot, key
        self._loaded: Any = None
        self._known: TaskManager | None = None

    def check_names(self) -> None:
        """Check that the folder exists, and that its files can be read and have every task.

        Raises:
            UserError: otherwise, with the nearest task.
        """
        if self._known is None:
            manager, broken = self._manager()
            for name in self.names:
                if name not in manager.task_index:
                    raise self._not_there(name, [str(known) for known in manager.task_index], broken)
            self._known = manager

    def _not_there(self, name: str, known: list[str], broken: list[str]) -> UserError:
        if broken:
            return UserError(f"{self.key}.tasks={name}: not found; {broken[0]}")
        if not known:
            return UserError(f"{self.key}.include={self.include}: its files hold no lm-eval task")
        return unknown(f"{self.key}.tasks", name, known)

    def check_questions(self, limit: int | None) -> None:
        """Check that every question has a prompt and non-empty choices, with a right one among them.

        Raises:
            UserError: which question of which task has not, or why the data cannot be had.
        """
        with templates_compiled_once():
            for name, task in self.load()["tasks"].items():
                for place, doc in enumerate(task.eval_docs):
                    if limit is not None and place >= limit:
                        break
                    try:
                        problem = _problem(task, doc)
                    except Exception as error:  # a template may fail in any way on an odd row
                        problem = brief(error)
                    if problem:
                        raise UserError(f"{self.key}.tasks={name}: question {place + 1}: {problem}")
                self._check_examples(name, task)

    def _check_examples(self, name: str, task: Any) -> None:
        """Check that the first question's prompt can be built, with its examples."""
        if getattr(task, "MULTIMODAL", False):
            raise UserError(f"{self.key}.tasks={name}: asks about images or sound; only texts are supported")
        shots = task.get_config("num_fewshot")
        if shots and not hasattr(task, "sampler"):
            raise UserError(
                f"{self.key}.num_fewshot={shots}: the task {name} has no examples (fewshot_split); use 0"
            )
        try:
            task.fewshot_context(task.eval_docs[0], shots, gen_prefix=task.doc_to_prefix(task.eval_docs[0]))
        except Exception as error:  # too few examples, or a template that fails on one
            raise UserError(f"{self.key}.tasks={name}: num_fewshot={shots}: {brief(error)}") from error

    def rehearsed(self, limit: int | None) -> dict[str, Values | None]:
        """Map each task to its scores of invented answers (`rehearse`)."""
        with templates_compiled_once():
            return {
                name: rehearse(name, task, itertools.islice(task.eval_docs, limit), self.key)
                for name, task in self.load()["tasks"].items()
            }

    def leaves(self, name: str) -> list[str]:
        """List the tasks that a group or tag stands for, or the task itself."""
        loaded = self.load()
        if name in loaded["groups"]:
            return [task.task_name for task in loaded["groups"][name].get_all_tasks()]
        if name in loaded["tasks"]:
            return [name]
        assert self._known is not None
        return sorted(self._known.task_index[name].tags & loaded["tasks"].keys())

    def load(self) -> Any:
        """Load what the harness's `TaskManager.load` gives, with examples drawn as if for the first time.

        Not through `simple_evaluate`: it returns nothing off local rank 0, asks pip for versions each time, and
        drops `num_fewshot` where a task pins 0.

        Raises:
            UserError: a file or the data of a task cannot be read.
        """
        if self._loaded is None:
            self.check_names()
            assert self._known is not None
            if self.include.startswith("lm_eval:") and self.path is None:  # whose data are of the hub
                ask_once()
            try:
                with templates_compiled_once():  # it tries the first question of each task
                    self._loaded = self._known.load(self.names)
            except TooMuch as error:
                raise UserError(f"{self.key}.tasks={','.join(self.names)}: question 1: {error}") from error
            except UserError:  # of a local copy
                raise
            except Exception as error:  # of the hub, of pandas, of YAML
                shown = f"{type(error).__name__}: {brief(error)}" if str(error) else type(error).__name__
                if isinstance(error, StopIteration):
                    shown = "there are no questions in its data"
                away = any(word in shown for word in ("reach", "ffline", "onnect"))
                hint = prefetch_hint() if away else ""
                raise UserError(
                    f"{self.key}.tasks={','.join(self.names)}: cannot be loaded ({shown}){hint}"
                ) from error
        for name, task in self._loaded["tasks"].items():
            self._say_pinned(name, task)
            if self.num_fewshot is not None or task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=self.num_fewshot or 0)
            task.set_fewshot_seed(seed=FEWSHOT_SEED)
        return self._loaded

    def _say_pinned(self, name: str, task: Any) -> None:
        if self.num_fewshot and task.get_config("num_fewshot") == 0:
            print(
                f"{self.key}.num_fewshot={self.num_fewshot}: {name} says 0, where lm-eval's own command keeps 0"
            )

    def _folder(self) -> Path:
        home, _, name = self.include.partition(":")
        if home in ("lm_eval", "unlearnctl"):
            above = Path(str(files(f"{home}.tasks")))
            folder = above / name
        else:
            folder = Path(resolve(self.include))
            above = Path(resolve("tinyworld:")) if home == "tinyworld" else folder
        # a name with which one climbs out of an installed package is none of its folders
        if not folder.is_dir() or not folder.resolve().is_relative_to(above.resolve()):
            raise UserError(f"{self.key}.include={self.include}: no such folder of lm-eval task files")
        return folder

    def _read_locally(self, manager: TaskManager) -> None:
        """Give every task that reads a hub dataset the rows of the local copy instead."""
        from lm_eval.tasks._yaml_loader import load_yaml

        local = Path(resolve(str(self.path)))
        if not local.is_dir():
            raise UserError(f"{self.key}.path={self.path}: no such folder")
        for entry in manager.task_index.values():
            if entry.yaml_path is not None and "dataset_path" in (entry.cfg or {}):
                config = load_yaml(entry.yaml_path, resolve_func=True)
                rows = LocalData.of_task(config, local, f"{self.key}.path")
                entry.cfg, entry.yaml_path = {**config, "custom_dataset": rows}, None

    def _manager(self) -> tuple[TaskManager, list[str]]:
        """Return the harness's task manager, fed with installed files or what we read; and what could not be read."""
        folder = self._folder()
        from lm_eval.tasks import TaskManager
        from lm_eval.tasks._index import TaskIndex

        if self.include.startswith(OURS):
            manager = TaskManager(include_path=str(folder), include_defaults=False)
            if self.path is not None:
                self._read_locally(manager)
            return manager, []
        found = read_tasks(folder)
        check_task_code(found.code, folder, self.key, self.trust_code)
        manager = TaskManager(include_defaults=False)
        for file, config in found.configs:
            with suppress(Exception):  # settings of no task, as templates for others are
                TaskIndex.process_cfg(config, file, manager.task_index)
        for entry in manager.task_index.values():
            entry.yaml_path = None  # never to be read again
        return manager, found.broken


def _problem(task: Any, doc: Any) -> str | None:
    """Return what is wrong with a question, if anything."""
    prompt, target = task.doc_to_text(doc), task.doc_to_target(doc)
    if task.OUTPUT_TYPE == "loglikelihood_rolling":  # of the target alone
        return None if str(target).strip() else "the text is empty"
    if isinstance(prompt, str) and not prompt.strip() and task.config.doc_to_text != "":  # meant to be empty
        return "the prompt is empty"
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    choices = task.doc_to_choice(doc)
    if not isinstance(choices, list) or len(choices) < 2:
        return f"choices={choices!r}: must be two or more"
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        return f"choices={choices!r}: each must be text, not empty"
    right = prompt if isinstance(prompt, int) else target  # it is the prompts that are chosen from
    for answer in right if isinstance(right, list) else [right]:
        if isinstance(answer, int) and not 0 <= answer < len(choices):
            return f"answer={answer}: must be 0 to {len(choices) - 1}"
        if isinstance(answer, str) and answer not in choices:
            return f"answer={answer!r}: must be one of the choices"
    return None
