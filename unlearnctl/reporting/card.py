"""The model card of an exported model: what was done, what was measured, what not to conclude."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def model_card(results: Mapping[str, Any]) -> str:
    """Markdown with a YAML header, from results.json."""
    config, provenance = results["config"], results["provenance"]
    base = config["model"]["path"]
    shown = config["model"]["name"] if base.startswith("tinyworld:") or "/" not in base else base
    lines = [
        "---",
        f"base_model: {shown}",
        "library_name: transformers",
        "tags: [machine-unlearning, unlearnctl]",
        "---",
        f"# {config['model']['name']} after unlearning{_method(results)}",
        "",
        f"`{provenance['command']}` (unlearnctl commit {provenance['commit']}, seed {provenance['seed']})",
        "",
        _done(results),
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


def _method(results: Mapping[str, Any]) -> str:
    objective, repair = results["config"].get("objective"), results.get("repair")
    with_what = f" with {objective['name']}" if objective else ""
    return f"{with_what} and repair with {repair['method']}" if repair else with_what


def _done(results: Mapping[str, Any]) -> str:
    data, repair = f"`{results['config']['data']['name']}`", results.get("repair")
    if repair:
        return (
            f"The update of {len(repair['modules'])} matrices was repaired at strength {repair['strength']:g} "
            f"with the retain text of {data}; no training."
        )
    train = results["train"]
    return f"{train['trained']['tensors']} tensors were changed in {train['steps']} steps on forget/retain data {data}."


def _rows(results: Mapping[str, Any]) -> Iterator[str]:
    before, after = results.get("before") or {}, results.get("after") or {}
    for suite in after or before:
        for name in (after or before)[suite]:
            was, is_ = before.get(suite, {}).get(name), after.get(suite, {}).get(name)
            known = is_ or was
            chance = "–" if known["chance"] is None else f"{known['chance']:.3g}"
            yield f"| {suite} | {name} | {_value(was)} | {_value(is_)} | {known['n']} | {chance} |"


def _value(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return "–"
    error = "" if metric["stderr"] is None else f" ± {metric['stderr']:.3f}"
    return f"{metric['value']:.3f}{error}"
