"""Task files of others: what runs is refused or said; templates cannot reach Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unlearnctl.errors import UserError
from unlearnctl.evaluation.lm_eval_suite import LMEvalSuite

TASK = """task: mine
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/q.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{text}"
doc_to_choice: "{{{{c}}}}"
doc_to_target: {target}
metric_list: [{{metric: acc}}]
"""
CODE = "def right(doc):\n    return doc['a']\n"


def suite(folder: Path, text: str = "{{q}}", target: str = "a", **settings: Any) -> LMEvalSuite:
    folder.mkdir(exist_ok=True)
    (folder / "mine.yaml").write_text(TASK.format(folder=folder, text=text, target=target))
    (folder / "code.py").write_text(CODE)
    (folder / "q.jsonl").write_text(json.dumps({"q": "w1", "c": ["w2", "w3"], "a": 0}) + "\n")
    return LMEvalSuite({"m": "mine"}, str(folder), "forget", key="eval.t", **settings)


def test_code_is_refused_by_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        suite(tmp_path / "t", target="!function code.right").validate()
    assert str(caught.value) == (
        f"eval.t.include={tmp_path}/t: {tmp_path}/t/mine.yaml:8: !function code.right would run Python; "
        "read it, and if it may, add eval.t.trust_task_code=true"
    )


def test_code_that_is_allowed_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite(tmp_path / "t", target="!function code.right", trust_task_code=True).validate()
    said = f"eval.t.trust_task_code=true: runs {tmp_path}/t/mine.yaml:8: !function code.right"
    assert said in capsys.readouterr().out.splitlines()


def test_plain_tasks_need_no_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite(tmp_path / "t").validate()
    assert "trust" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{{ q.__class__ }}", "{{ ''.__class__.__base__.__subclasses__() }}"])
def test_templates_stay_in_the_sandbox(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^eval\.t\.tasks=mine: .*unsafe"):
        suite(tmp_path / "t", text=text).validate()
