"""The model card of an exported model: what was done, what was measured, what not to conclude.

A card is shown by the hub and by editors, so names are escaped for Markdown and for the YAML header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from unlearnctl.reporting import numbers
from unlearnctl.reporting.runs import Score, compare
from unlearnctl.reporting.terminal import CHANGED
from unlearnctl.seal import broken

Tree = Mapping[str, Any]


def model_card(results: Tree) -> str:
    """Markdown with a YAML header, from a results.json of train or repair that `read_results` has let through."""
    config, came = _part(results, "config"), _part(results, "provenance")
    model = _part(config, "model")
    base, name = str(model.get("path") or ""), str(model.get("name") or "")
    shown = name if base.startswith("tinyworld:") or "/" not in base else base
    lines = [
        "---",
        f"base_model: {_yaml(shown)}",
        "library_name: transformers",
        "tags: [machine-unlearning, unlearnctl]",
        "---",
        f"# {numbers.markdown(name)} after unlearning{_method(results)}",
        "",
        f"{_code(came.get('command'))} (unlearnctl commit {numbers.markdown(came.get('commit'))}, "
        f"seed {numbers.markdown(came.get('seed'))})",
        "",
        _done(results),
        *(["", f"**{CHANGED}**"] if broken(results) else []),
        "",
        "| suite | metric | before | after | n | chance |",
        "|---|---|---|---|---|---|",
        *_rows(results),
        "",
        "± is one standard error. Lower is wanted for forget metrics, unchanged for the others.",
        "",
        "## Limits",
        "",
        "Scores on multiple-choice questions overstate forgetting: knowledge may come back after fine-tuning, "
        "under other prompts or after quantisation. None of these attacks was run unless listed above.",
        "",
        "## Intended use",
        "",
        "Research on unlearning and its evaluation. Not a safety guarantee for deployment.",
    ]
    return "\n".join(lines) + "\n"


def _part(tree: Tree, key: str) -> Tree:
    found = tree.get(key)
    return found if isinstance(found, Mapping) else {}


def _yaml(text: str) -> str:
    """A name as it is where YAML reads it as text, else quoted: JSON's strings are YAML's too."""
    return text if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) else json.dumps(text)


def _code(text: object) -> str:
    """In a code span, out of which nothing but a backtick leads."""
    return f"`{numbers.plain(text).replace('`', chr(39))}`"


def _method(results: Tree) -> str:
    objective, repair = _part(_part(results, "config"), "objective"), _part(results, "repair")
    with_what = f" with {numbers.markdown(objective.get('name'))}" if objective else ""
    return f"{with_what} and repair with {numbers.markdown(repair['method'])}" if repair else with_what


def _done(results: Tree) -> str:
    data, repair = _code(_part(_part(results, "config"), "data").get("name")), _part(results, "repair")
    if repair:
        strength = numbers.finite(repair.get("strength"))
        return (
            f"The update of {len(_part(repair, 'modules'))} matrices was repaired at strength "
            f"{numbers.setting(strength)} with the retain text of {data}; no training."
        )
    train = _part(results, "train")
    tensors, steps = _part(train, "trained").get("tensors"), train.get("steps")
    return (
        f"{numbers.markdown(tensors)} tensors were changed in {numbers.markdown(steps)} steps "
        f"on forget/retain data {data}."
    )


def _rows(results: Tree) -> Iterator[str]:
    after = results.get("after") or {}
    for row in compare(results):
        if after and row.metric not in (after.get(row.suite) or {}):
            continue
        chance = "–" if row.chance is None else f"{row.chance:.3g}"
        n = "–" if row.n is None else str(row.n)
        names = f"{numbers.markdown(row.suite)} | {numbers.markdown(row.metric)}"
        yield f"| {names} | {_value(row.before)} | {_value(row.after)} | {n} | {chance} |"


def _value(score: Score) -> str:
    if score.value is None:
        return "–"
    return f"{score.value:.3f}" + ("" if score.stderr is None else f" ± {score.stderr:.3f}")
