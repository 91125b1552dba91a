"""The model card says what was measured, on what data, how, and what it does not show."""

import ast
import re
from pathlib import Path

import unlearnctl
from unlearnctl.reporting.card import READINGS, model_card

PACKAGE = Path(unlearnctl.__file__).parent


def complete(make, **more):
    body = make.results(**more)
    body["config"]["model"]["path"] = "org/base-7b"
    body["config"]["data"]["retain"] = {"path": "wiki", "split": "test", "revision": "abc", "limit": None}
    body["config"]["trainer"]["global_batch"] = 16
    body["provenance"] |= {"base": "weights@1:float32", "data": "e94b0afd", "checkpoint_sha256": "9b26"}
    body["flags"] = []
    return body


def lines_of(section, card):
    found = re.search(rf"^## {section}\n\n(.*?)(?=\n\n## |\Z)", card, re.S | re.M)
    assert found, section
    return found.group(1).strip("\n").split("\n")


def test_numbers_with_n_error_and_chance(make):
    card = model_card(complete(make))
    results = lines_of("Results", card)
    assert results[0] == "| suite | metric | role | before | after | change | n | chance |"
    assert results[2] == (
        "| tinyworld | hazard_acc ↓ | forget | 0.978 ± 0.017 | 0.267 ± 0.053 | -0.711 ✓ | 270 | 0.250 |"
    )
    assert len([line for line in results if line.startswith("| tinyworld ")]) == 6
    assert results[-1] == "No warning was raised."


def test_data_method_and_where_it_came_from(make):
    card = model_card(complete(make), "outputs/r", "my-model")
    assert card.startswith("---\nbase_model: org/base-7b\nlibrary_name: transformers\n")
    assert lines_of("Data", card)[2:] == [
        "| forget | tinyworld:corpora/hazard.jsonl | field=text |",
        "| retain | wiki | split=test, revision=abc |",
        "",
        "- Fingerprint of all texts and their order: `e94b0afd`.",
        "- Base weights: `weights@1:float32`.",
        "- SHA-256 of what was changed: `9b26`.",
    ]
    assert lines_of("Method", card)[2:] == [
        "| objective.name | rmu_cosine |", "| objective.layer | 3 |", "| objective.alpha | 1 |",
        "| trainer.steps | 150 |", "| trainer.global_batch | 16 |",
    ]  # fmt: skip
    assert (
        "3 tensors (135,168 parameters) were changed in 150 steps on forget/retain data `tinyworld_hazard`."
        in card
    )
    assert lines_of("Reproduce", card) == [
        "    unlearnctl train objective=rmu_cosine",
        "    unlearnctl export outputs/r to=my-model",
        "",
        "unlearnctl commit `3f2c9a1d`; seed 0; 2025-11-21T04:16:57+00:00 to 2025-11-21T04:17:41+00:00.",
        "",
        "Versions: python 3.11.2, torch 2.8.0.",
        "",
        "Machine: cpu 2 cores.",
    ]
    assert "with uncommitted changes" not in card
    dirty = complete(make)
    dirty["provenance"]["dirty"] = True
    assert "`3f2c9a1d`, with uncommitted changes, so that commit alone may give other numbers;" in model_card(
        dirty
    )


def test_limits_use_and_licence(make):
    card = model_card(complete(make), "r")
    assert lines_of("Limits", card) == [
        "- Measured on `tinyworld` alone. Other questions, languages, formats and longer conversations were not tried.",
        "- No attack on these weights is recorded here. What relearning, quantisation, examples, prefixes and probes "
        "of the hidden states bring back is not known; `unlearnctl attack r` measures it.",
        "- Scores on multiple-choice questions overstate forgetting: a model may fail to pick what it can still say.",
        "- One run with seed 0. Intervals are over items, not over seeds.",
        "- `rmu_cosine` is our reading of a paper of which we know only the abstract (arXiv 2605.26454); no number "
        "here is that paper's.",
    ]  # fmt: skip
    assert "our reading" not in model_card(complete(make, objective="rmu"))
    assert lines_of("Intended use", card)[2].startswith("Out of scope: as a safeguard in a product, as proof")
    assert lines_of("Licence", card) == [
        "These are the weights of `org/base-7b` with some of them changed: the licence and terms of that model hold "
        "for them. The data above have licences of their own."
    ]


def test_attacks_that_were_run_are_listed(make):
    worst = {"attack": "relearn", "variant": "80 steps", "worst": True, "recovery": 0.9, "settings": {},
             "scores": make.suites(0.1)}  # fmt: skip
    body = complete(make, attacks=[worst, worst | {"worst": False, "variant": "5 steps"}])
    (line,) = [line for line in lines_of("Limits", model_card(body)) if "attack" in line]
    assert line == "- Worst cases of the attacks that were run: relearn, 80 steps: 0.907 [0.872, 0.942]."


def test_several_topics_and_a_repair(make):
    body = complete(
        make, repair={"method": "sage", "strength": 30.0, "modules": {"a": {}, "b": {}}, "curve": []}
    )
    topic = {"path": "p", "field": "text"}
    body["config"]["data"]["forget"] = {"bio": topic, "toxic": topic | {"path": "q|r"}}
    body["config"]["repair"] = {"_target_": "x.Y", "name": "sage", "energy": 0.9}
    del body["train"]
    card = model_card(body)
    assert "# tinyworld after unlearning with rmu_cosine and repair with sage\n" in card
    assert "The update of 2 matrices was repaired at strength 30" in card
    assert lines_of("Data", card)[2:4] == [
        "| forget (bio) | p | field=text |",
        "| forget (toxic) | q\\|r | field=text |",
    ]
    assert lines_of("Method", card)[-3:] == [
        "| repair.name | sage |", "| repair.energy | 0.9 |", "| repair.strength (chosen) | 30 |",
    ]  # fmt: skip
    assert "`sage` is our reading" in card


def test_an_interrupted_run_says_that_nothing_was_measured(make):
    card = model_card(complete(make, status="interrupted", after={}))
    assert lines_of("Results", card) == ["These weights were not evaluated."]
    assert "The run did not complete: interrupted." in card
    assert lines_of("Limits", card)[0] == "- Nothing was measured after the change."


def test_hostile_text_stays_text(make):
    evil = "</script><script>x</script> | ` `` \n# Heading"
    body = complete(make, objective=evil)
    body["config"]["data"] = {"name": evil, "forget": {"path": evil}, "retain": {"path": evil, "split": evil}}
    body["provenance"] |= {"command": evil, "data": evil}
    body["after"] = {evil: {evil: make.metric(0.5)}}
    card = model_card(body)
    assert not [line for line in card.splitlines() if line.startswith("# Heading")]
    table = [line for line in card.splitlines() if line.startswith("|")]
    assert "<" not in "".join(table)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines_of("Data", card)[:4]} == {4}


def test_readings_are_those_that_the_modules_own_up_to():
    found = {}
    for folder in ("objectives", "repair", "training"):
        for file in (PACKAGE / folder).rglob("*.py"):
            first = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0]
            if "our reading" in first:
                name = file.parent.name if file.stem == "__init__" else file.stem
                found[name] = re.search(r"arXiv \d{4}\.\d{5}", first).group(0)
    assert found == READINGS
