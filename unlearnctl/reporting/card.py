"""The model card of an exported model: what was done, what was measured, what not to conclude."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def model_card(results: Mapping[str, Any]) -> str:
    """Markdown with a YAML header, from results.json."""
    config, provenance = results["config"], results["provenance"]
    base, objective = config["model"]["path"], config["objective"]["name"]
    shown = config["model"]["name"] if base.startswith("tinyworld:") or "/" not in base else base
    lines = [
        "---",
        f"base_model: {shown}",
        "library_name: transformers",
        "tags: [machine-unlearning, unlearnctl]",
        "---",
        f"# {config['model']['name']} after unlearning with {objective}",
        "",
        f"`{provenance['command']}` (unlearnctl commit {provenance['commit']}, seed {provenance['seed']})",
        "",
        f"{results['train']['trained']['tensors']} tensors were changed in {results['train']['steps']} steps "
        f"on forget/retain data `{config['data']['name']}`.",
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
