"""Which scores the harness reports for a task or group, found with invented answers before a model runs."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from unlearnctl.utils.errors import UserError, brief, unknown

Values = Mapping[str, list[Any]]  # `metric,filter`, as the harness writes it → what it keeps of each question


def aggregation(task: Any, metric: str) -> Any:
    """Return the harness's function from the values of all questions to a score; without a name, like it, the mean."""
    from lm_eval.api.metrics import mean

    return task.aggregation().get(metric, mean)


def rehearse(name: str, task: Any, docs: Iterable[Any], key: str) -> Values | None:
    """Score invented answers with the task's own code; None if that takes only real ones.

    Raises:
        UserError: a metric that the harness itself fails to compute from this task's questions.
    """
    theirs = callable(task.get_config("process_results"))
    found: dict[str, list[Any]] = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scores that one class of answers leaves undefined
        try:
            for doc in docs:
                for label, value in _values(task, doc):
                    found[label].append(value)
        except Exception as error:
            if theirs:
                return None
            raise UserError(f"{key}.tasks={name}: its answers cannot be scored ({_said(error)})") from error
        known = {label: values for label, values in found.items() if None not in values}
        for label, values in known.items():
            metric = label.partition(",")[0]
            try:
                aggregation(task, metric)(values)
            except Exception as error:
                if theirs:
                    return None
                raise UserError(
                    f"{key}.tasks={name}: the harness cannot compute its metric {metric} ({_said(error)}); "
                    "leave it out of metric_list"
                ) from error
    return known


def offered(values: Mapping[str, Values | None], group: Any) -> list[str] | None:
    """List the labels that a group reports; None if a task's are not known before it runs."""
    scores: dict[str, Any] = {}
    for task in group.get_all_tasks():
        known = values[task.task_name]
        if known is None:
            return None
        scores[task.task_name] = {"sample_len": max(map(len, known.values()), default=0)} | dict.fromkeys(
            known, 0.0
        )
    return labels(group.aggregate(scores))


def labels(scores: Mapping[str, Any]) -> list[str]:
    """Select the entries of the harness's results that are scores."""
    return [name for name in scores if "," in name and "_stderr," not in name]


def pick(metric: str, known: Iterable[str], key: str) -> list[str]:
    """Select the labels that a name stands for: `acc` for every filter's, `exact_match,strict-match` for one.

    Raises:
        UserError: there is none.
    """
    known = list(known)
    found = [label for label in known if metric in (label, label.partition(",")[0])]
    if not found:
        names = [label.partition(",")[0] for label in known]
        raise unknown(
            f"{key}.metric",
            metric,
            {n if names.count(n) == 1 else x for n, x in zip(names, known, strict=True)},
        )
    return found


def _values(task: Any, doc: Any) -> Iterable[tuple[str, Any]]:
    from lm_eval.api.instance import Instance

    repeats = task.get_config("repeats") or 1
    asked = [Instance(task.OUTPUT_TYPE, doc, ("", ""), k) for k in range(_requests(task, doc))]
    for instance in asked:
        instance.resps = [_reply(task.OUTPUT_TYPE, instance.idx)] * repeats
    for way in task._filters:
        way.apply(asked)
    for name in asked[0].filtered_resps:
        found = task.process_results(doc, [instance.filtered_resps[name] for instance in asked])
        yield from ((f"{metric},{name}", value) for metric, value in found.items())


def _requests(task: Any, doc: Any) -> int:
    if task.OUTPUT_TYPE != "multiple_choice":
        return 1
    return len(task.doc_to_choice(doc)) * (2 if "acc_mutual_info" in task._metric_fn_list else 1)


def _reply(kind: str, place: int) -> Any:
    return {"generate_until": "0", "loglikelihood_rolling": -1.0}.get(kind, (-1.0 - place, False))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {brief(error)}" if str(error) else type(error).__name__
