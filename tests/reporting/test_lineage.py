"""What an export says of its base: a hub id where one is known, the chain of an export of an export, never a path."""

import json
from pathlib import Path

import pytest

from unlearnctl.reporting.card import done_with, model_card
from unlearnctl.reporting.lineage import NAME, lineage


def of(
    make, path="/home/me/base", name="local", weights="base@0123456789abcdef:float32", folder=None, **more
):
    body = make.results(**more)
    body["config"]["model"] |= {"path": path, "name": name}
    body["provenance"] |= {"base": weights, "checkpoint_sha256": "9b26" * 16}
    return lineage(body, done_with(body), folder), body


@pytest.mark.parametrize(
    ("path", "name", "weights", "shown"),
    [
        ("org/base", "local", "org/base@main:float32", "org/base"),
        ("/home/me/base", "tinyworld", "base@0123456789abcdef:float32", "tinyworld"),
        ("/home/me/base", "local", "base@0123456789abcdef:float32", ""),
        ("./a/b", "local", "b@0123456789abcdef:float32", ""),
        ("outputs/m", "local", "m@0123456789abcdef:float32", ""),  # gone by now, and looks like a hub id
        ("tinyworld:x", "tinyworld", "x@0123456789abcdef:float32", "tinyworld"),
        ("/c/hub/models--org--name/snapshots/abc", "local", "abc@0123456789abcdef:float32", "org/name"),
    ],
)  # fmt: skip
def test_no_path_of_this_machine_is_named_as_the_base(make, path, name, weights, shown):
    origin, body = of(make, path, name, weights)
    assert origin["base"] == shown
    card = model_card(body, origin=origin)
    assert card.startswith(f"---\nbase_model: {shown}\n" if shown else "---\nlibrary_name: transformers\n")
    assert "base_model: local" not in card


def test_a_base_of_unknown_name_is_said_to_be_one(make):
    _, body = of(make)
    assert "the weights of a local model whose name on the hub is not known with some" in model_card(body)


def test_what_the_folder_of_the_base_says(make, tmp_path):
    assert of(make, folder=tmp_path)[0]["base"] == ""
    (tmp_path / "README.md").write_text(
        "---\nlicense: mit\nbase_model:\n- org/first\n---\nbase_model: org/text\n"
    )
    assert of(make, folder=tmp_path)[0]["base"] == "org/first"
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": "org/saved"}))
    assert of(make, folder=tmp_path)[0]["base"] == "org/saved"
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": "/home/me/x"}))
    (tmp_path / "README.md").write_text("---\nbase_model: ../../x\n---\n")
    assert of(make, folder=tmp_path)[0]["base"] == ""


def test_an_export_of_an_export_names_the_chain(make, tmp_path: Path):
    first, body = of(make, "org/base", weights="org/base@abc:float32", objective="npo")
    assert "## Chain" not in model_card(body, origin=first)
    (tmp_path / NAME).write_text(json.dumps(first))
    second, body = of(make, str(tmp_path), folder=tmp_path, objective="rmu_cosine")
    assert second["base"] == "org/base"
    assert [step["method"] for step in second["steps"]] == ["npo", "rmu_cosine"]
    card = model_card(body, origin=second)
    assert card.startswith("---\nbase_model: org/base\n")
    assert "# org/base after unlearning with rmu_cosine\n" in card
    assert (
        "## Chain\n\n1. `org/base`, weights `org/base@abc:float32`\n"
        "2. npo on `tinyworld_hazard` (checkpoint `9b269b269b269b26`)\n"
        "3. rmu_cosine on `tinyworld_hazard` (checkpoint `9b269b269b269b26`)\n"
    ) in card


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": "unlearnctl/lineage/1", "steps": 3}', '{"steps": []}']
)
def test_a_lineage_of_others_is_no_lineage(make, tmp_path, text):
    (tmp_path / NAME).write_text(text)
    assert len(of(make, folder=tmp_path)[0]["steps"]) == 1


def test_a_hostile_lineage_stays_text(make, tmp_path):
    evil = "<script>x</script>\n# Heading"
    steps = [{"method": evil, "data": evil, "checkpoint": evil}, 3]
    hostile = {"format": "unlearnctl/lineage/1", "base": evil, "weights": evil, "steps": steps}
    (tmp_path / NAME).write_text(json.dumps(hostile))
    origin, body = of(make, folder=tmp_path)
    card = model_card(body, origin=origin)
    assert "\n# Heading" not in card
    assert "base_model" not in card
    assert all(line.count("`") for line in card.splitlines() if "<script>" in line)
