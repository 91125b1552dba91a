"""Write the model card of an exported model: numbers, data, method, limits, intended use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from unlearnctl.reporting import recovered as attacks
from unlearnctl.reporting import terminal
from unlearnctl.reporting.lineage import lineage
from unlearnctl.reporting.markdown import code, escape, table
from unlearnctl.results.run import compare
from unlearnctl.results.schema import is_changed
from unlearnctl.utils import numbers

# Methods from papers of which we know only the abstract; a test compares this with the docstrings of the modules.
READINGS = {
    "rmu_cosine": "arXiv 2605.26454",
    "probe_directions": "arXiv 2605.26454",
    "meta": "arXiv 2605.26454",
    "sage": "arXiv 2606.18309",
}
TRAINER = (
    "steps global_batch optimizer schedule warmup_steps clip_norm lora sharpness mixed_precision trainable"
).split()
SOURCE = ("path", "name", "split", "revision", "field", "prompt_field", "format", "min_chars", "limit")
Tree = Mapping[str, Any]


def model_card(results: Tree, run: str = "RUN", to: str = "FOLDER", origin: Tree | None = None) -> str:
    """Write the card as Markdown with a YAML header, from results.json.

    Args:
        results: of the run.
        run: the run directory and
        to: the exported folder, for the commands that the card shows.
        origin: its lineage; None: what the results alone say.
    """
    origin = origin or lineage(results, done_with(results))
    sections = {
        **({"Chain": _chain(origin)} if len(origin["steps"]) > 1 else {}),
        "Results": _results(results),
        "Data": _data(results),
        "Method": _method(results),
        "Limits": _limits(results, run),
        "Intended use": _use(),
        "Licence": _licence(origin),
        "Reproduce": _reproduce(results, run, to),
    }
    name = str(_part(results, "config", "model").get("name") or "local")
    name = name if name != "local" else origin["base"] or "A local model"
    head = [*_header(origin), f"# {escape(name)} after unlearning{_with(results)}", "", _done(results)]
    head += ["", f"**{terminal.CHANGED}**"] if is_changed(results) else []
    body = [line for title, lines in sections.items() for line in ("", f"## {title}", "", *lines)]
    return "\n".join(head + body) + "\n"


def _header(origin: Tree) -> list[str]:
    from huggingface_hub import ModelCardData  # imported only for a card, so that reports start fast

    data = ModelCardData(
        base_model=origin["base"] or None,
        library_name="transformers",
        tags=["machine-unlearning", "unlearnctl"],
    )
    return ["---", data.to_yaml(), "---"]


def done_with(results: Tree) -> str:
    """Say in a few plain words what was done: `npo and repair with SAGE`."""
    objective, repair = _part(results, "config", "objective"), results.get("repair")
    parts = [str(objective["name"])] if objective.get("name") else []
    return " and ".join([*parts, *([f"repair with {repair['method']}"] if repair else [])])


def _chain(origin: Tree) -> list[str]:
    """List the steps from the first base to these weights."""
    steps = [
        f"{number}. {escape(step['method'])} on {code(step['data'])} (checkpoint {code(step['checkpoint'][:16])})"
        for number, step in enumerate(origin["steps"], 2)
    ]
    return [f"1. {_base(origin)}, weights {code(origin['weights'] or 'not recorded')}", *steps]


def _base(origin: Tree) -> str:
    return code(origin["base"]) if origin["base"] else "a local model whose name on the hub is not known"


def _part(tree: Tree, *keys: str) -> Tree:
    """Return the mapping at these keys; empty if any part of a record is missing."""
    for key in keys:
        found = tree.get(key)
        tree = found if isinstance(found, Mapping) else {}
    return tree


def _with(results: Tree) -> str:
    objective, repair = _part(results, "config", "objective"), results.get("repair")
    with_what = f" with {escape(objective.get('name'))}" if objective else ""
    return f"{with_what} and repair with {escape(repair['method'])}" if repair else with_what


def _done(results: Tree) -> str:
    data, repair = code(_part(results, "config", "data").get("name")), results.get("repair")
    if repair:
        return (
            f"The update of {len(repair.get('modules') or {})} matrices was repaired at strength "
            f"{numbers.setting(repair.get('strength'))} "
            f"with the retain text of {data}; no training."
        )
    trained, status = _part(results, "train", "trained"), str(results.get("status", "completed"))
    ended = "" if status == "completed" else f" The run did not complete: {escape(status.replace('_', ' '))}."
    count = numbers.finite(trained.get("parameters"))
    parameters = numbers.MISSING if count is None else f"{count:,.0f}"
    tensors, steps = escape(trained.get("tensors")), escape(_part(results, "train").get("steps"))
    return (
        f"{tensors} tensors ({parameters} parameters) were changed in {steps} steps "
        f"on forget/retain data {data}.{ended}"
    )


def _results(results: Tree) -> list[str]:
    rows = compare(results)
    if not any(row.after.value is not None for row in rows):
        return ["These weights were not evaluated."]
    lines = []
    for row in rows:
        scores = (numbers.with_error(s.value, s.half, row.metric) for s in (row.before, row.after))
        change = f"{numbers.change(row.change, row.metric)} {terminal.MARK.get(row.verdict, '')}".rstrip()
        n = numbers.MISSING if row.n is None else row.n
        chance = numbers.value(row.chance, row.metric)
        metric = f"{row.metric} {terminal.ARROW.get(row.goal, '')}".rstrip()
        lines.append([row.suite, metric, row.role, *scores, change, n, chance])
    head = ("suite", "metric", "role", "before", "after", "change", "n", "chance")
    return [*table(head, lines), "", terminal.legend(rows), *_flags(results)]


def _flags(results: Tree) -> Iterator[str]:
    if results.get("flags") is None:
        return
    raised = [escape(said) for said in terminal.raised(results)]
    yield ""
    yield f"Warnings: {'; '.join(raised)}." if raised else "No warning was raised."


def _data(results: Tree) -> list[str]:
    provenance, rows = _part(results, "provenance"), []
    for side in ("forget", "retain"):
        for topic, spec in _topics(_part(results, "config", "data", side)):
            settings = ", ".join(
                f"{key}={numbers.setting(spec[key])}" for key in SOURCE[1:] if spec.get(key) is not None
            )
            rows.append([f"{side} ({topic})" if topic else side, spec["path"], settings])
    return [
        *table(("side", "source", "read as"), rows),
        "",
        f"- Fingerprint of all texts and their order: {code(provenance.get('data') or 'not recorded')}.",
        f"- Base weights: {code(provenance.get('base') or 'not recorded')}.",
        f"- SHA-256 of what was changed: {code(provenance.get('checkpoint_sha256') or 'not recorded')}.",
    ]


def _topics(side: Tree) -> list[tuple[str, Tree]]:
    """List the one source, or the source of each topic."""
    if "path" in side:
        return [("", side)]
    return [
        (str(topic), spec) for topic, spec in side.items() if isinstance(spec, Mapping) and "path" in spec
    ]


def _method(results: Tree) -> list[str]:
    config, repair = _part(results, "config"), results.get("repair")
    trainer = {key: (config.get("trainer") or {}).get(key) for key in TRAINER}
    parts = {"objective": config.get("objective"), "trainer": trainer, "repair": config.get("repair")}
    rows = [
        [f"{part}.{key}", numbers.setting(entry)]
        for part, tree in parts.items()
        for key, entry in numbers.flatten(tree or {}).items()
        if entry is not None and not key.endswith("_target_")
    ]
    if repair:
        rows.append(["repair.strength (chosen)", numbers.setting(repair.get("strength"))])
    return table(("setting", "value"), rows)


def readings(results: Tree) -> list[tuple[str, str]]:
    """List (method, paper) for the parts that are our reading of a paper."""
    config, repair = _part(results, "config"), results.get("repair") or {}
    used = [(config.get("objective") or {}).get("name"), repair.get("method")]
    used += ["meta"] if (config.get("trainer") or {}).get("meta") else []
    return [(name, READINGS[name]) for name in used if name in READINGS]


def _limits(results: Tree, run: str) -> list[str]:
    suites = ", ".join(code(suite) for suite in results.get("after") or {})
    said = [
        f"Measured on {suites} alone. Other questions, languages, formats and longer conversations were not tried."
        if suites
        else "Nothing was measured after the change.",
        _attacks(results, run),
        "Scores on multiple-choice questions overstate forgetting: a model may fail to pick what it can still say.",
        f"One run with seed {escape(_part(results, 'provenance').get('seed'))}. "
        "Intervals are over items, not over seeds.",
    ]
    said += [
        f"`{name}` is our reading of a paper of which we know only the abstract ({paper}); no number here is that "
        "paper's."
        for name, paper in readings(results)
    ]
    return [f"- {line}" for line in said]


def _attacks(results: Tree, run: str) -> str:
    worst = [entry for entry in results.get("attacks") or [] if entry.get("worst")]
    if worst:
        cases = "; ".join(
            f"{escape(e['attack'])}, {escape(e['variant'])}: {attacks.cell(attacks.main(e, 'forget'))}"
            for e in worst
        )
        return f"Worst cases of the attacks that were run: {cases}."
    return (
        "No attack on these weights is recorded here. What relearning, quantisation, examples, prefixes and probes "
        f"of the hidden states bring back is not known; {code(f'unlearnctl attack {run}')} measures it."
    )


def _use() -> list[str]:
    return [
        "Research on unlearning and on how to measure it: to compare methods, to attack the result, to repeat the "
        "numbers.",
        "",
        "Out of scope: as a safeguard in a product, as proof that a text was erased (a legal request included), or to "
        "withhold knowledge from someone who has the weights.",
    ]


def _licence(origin: Tree) -> list[str]:
    return [
        f"These are the weights of {_base(origin)} with some of them changed: the licence and terms of that model "
        "hold for them. The data above have licences of their own."
    ]


def _reproduce(results: Tree, run: str, to: str) -> list[str]:
    provenance = _part(results, "provenance")
    commands = [str(provenance.get("command")), f"unlearnctl export {run} to={to}"]
    versions = ", ".join(f"{name} {version}" for name, version in (provenance.get("versions") or {}).items())
    hardware = numbers.flatten(provenance.get("hardware") or {})
    machine = ", ".join(f"{key} {numbers.setting(entry)}" for key, entry in hardware.items() if entry)
    dirty = (
        ", with uncommitted changes, so that commit alone may give other numbers"
        if provenance.get("dirty")
        else ""
    )
    return [
        *(f"    {numbers.plain(command)}" for command in commands),
        "",
        f"unlearnctl commit {code(provenance.get('commit'))}{dirty}; seed {escape(provenance.get('seed'))}; "
        f"{escape(provenance.get('started', '?'))} to {escape(provenance.get('finished', '?'))}.",
        "",
        f"Versions: {versions or 'not recorded'}.",
        "",
        f"Machine: {machine or 'not recorded'}.",
    ]
