"""Task files of others: what runs is refused or said; templates cannot reach Python."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from unlearnctl.evaluation.suites.lm_eval import LMEvalSuite
from unlearnctl.utils.errors import UserError

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


EVIL = "open('PWNED', 'w').close()\n"
FUNCTION = "process_docs: !function evil.f\n"


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `t` in the working directory with a valid task file and Python that leaves a mark when imported."""
    monkeypatch.chdir(tmp_path)
    suite(Path("t"))
    Path("t/evil.py").write_text(EVIL)
    return Path("t/mine.yaml")


def refusal(folder: str = "t", **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        LMEvalSuite({"m": "mine"}, folder, "forget", key="eval.t", **settings).validate()
    assert not list(Path().rglob("PWNED"))
    return str(caught.value)


def would_run(what: str) -> str:
    end = "would run Python; read it, and if it may, add eval.t.trust_task_code=true"
    return f"eval.t.include=t: {what} {end}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_code_is_seen_in_every_encoding_that_yaml_has(encoding: str, tasks: Path) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    tasks.write_bytes(mark + (tasks.read_text() + FUNCTION).encode(encoding))
    assert refusal() == would_run("t/mine.yaml:10: !function evil.f")


def test_what_yaml_cannot_read_is_not_handed_on(tasks: Path) -> None:
    tasks.write_bytes((tasks.read_text() + FUNCTION).encode("utf-32"))
    assert refusal() == "eval.t.tasks=mine: not found; t/mine.yaml: cannot be read (ReaderError)"


@pytest.mark.parametrize(
    ("added", "place"),
    [
        ("x: {y: [[1, !function evil.f]]}\n", "10: !function evil.f"),
        ("x: &a !function evil.f\nprocess_docs: *a\n", "10: !function evil.f"),
        ("x: &a {process_docs: !function evil.f}\n<<: *a\n", "10: !function evil.f"),
        ("? !function evil.f\n: 1\n", "10: !function evil.f"),
        ("? [!function evil.f]\n: 1\n", "10: !function evil.f"),
        ("!function evil.f : 1\n", "10: !function evil.f"),
        ("process_docs: !<!function> evil.f\n", "10: !function evil.f"),
        ("process_docs: null\nprocess_docs: !function evil.f\n", "11: !function evil.f"),
        ("process_docs: !function evil.f\nprocess_docs: null\n", "10: !function evil.f"),
        ("fewshot_config: {samples: !function evil.f}\n", "10: !function evil.f"),
        ("filter_list: [{filter: [{function: custom, filter_fn: !function evil.f}]}]\n", "10: !function evil.f"),
        ("custom_dataset: !function evil.f\n", "10: !function evil.f"),
        ("class: !function evil.Task\n", "10: !function evil.Task"),
        ("x: !!python/name:evil.f\n", "10: evil.f"),
        ("unsafe_code: yes\n", "10: unsafe_code: yes"),
        ("unsafe_code: On\n", "10: unsafe_code: On"),
        ("unsafe_code: [1]\n", "10: unsafe_code:"),
        ("x: &a {hf_evaluate: true}\n", "10: hf_evaluate: true"),
        ("x: &a evil.py\nmetric_list: [{metric: *a}]\n", "10: metric evil.py"),
        ("use_prompt: evil.yaml:x\n", "10: use_prompt evil.yaml:x"),
        ("use_prompt: 'promptsource:x'\n", "10: use_prompt promptsource:x"),
        ("dataset_kwargs: {con: 'sqlite:///x', sql: VACUUM INTO 'x'}\n", "10: sql VACUUM INTO 'x'"),
    ],
)  # fmt: skip
def test_code_is_seen_wherever_it_stands(added: str, place: str, tasks: Path) -> None:
    tasks.write_text(tasks.read_text() + added)
    assert refusal() == would_run(f"t/mine.yaml:{place}")


def test_includes_are_read_where_a_link_leads(tasks: Path) -> None:
    """The harness follows a link first, and then what stands beside the file that it leads to."""
    Path("real").mkdir()
    Path("real/mine.txt").write_text("include: base.yml\ntask: mine\n")
    Path("real/base.yml").write_text(tasks.read_text() + FUNCTION)
    Path("real/evil.py").write_text(EVIL)
    tasks.unlink()
    tasks.symlink_to("../real/mine.txt")
    Path("t/base.yml").write_text("output_type: multiple_choice\n")
    assert refusal() == would_run("real/base.yml:10: !function evil.f")


@pytest.mark.parametrize(
    "include", ["[a.yml, b]", "../u/b", "{here}/u/b", "c.yml", "&x ../u/b", "'\\x75/../../u/b'"]
)
def test_includes_of_every_form_are_read(include: str, tasks: Path, tmp_path: Path) -> None:
    content = tasks.read_text()
    Path("u").mkdir()
    for file in ("t/b", "u/b"):
        Path(file).write_text(content + FUNCTION)
    Path("t/a.yml").write_text("output_type: multiple_choice\n")
    Path("t/c.yml").write_text("include: [a.yml, b]\n")
    tasks.write_text(f"include: {include.format(here=tmp_path)}\ntask: mine\n".replace("'", '"'))
    Path("t/u").mkdir()
    assert refusal().startswith("eval.t.include=t: ")
    assert ":10: !function evil.f would run Python" in refusal()


@pytest.mark.parametrize(
    "include",
    ["{a: b}", "3", "mine.yaml", "[[a.yml]]", '"\\0"', "none.yaml", ".", "/dev/zero", "pipe", "big", "round"],
)
def test_an_include_that_cannot_be_read_makes_no_task(include: str, tasks: Path) -> None:
    os.mkfifo("t/pipe")
    Path("t/round").symlink_to("round")
    with Path("t/big").open("wb") as file:
        file.truncate(1 << 33)
    tasks.write_text(f"include: {include}\n{tasks.read_text()}")
    assert refusal() == "eval.t.include=t: its files hold no lm-eval task"


BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{c}: &{c} [{', '.join([f'*{chr(ord(c) - 1)}'] * 8)}]\n" for c in "bcdefghijkl"
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{c}: &{c} {{<<: [*{chr(ord(c) - 1)}, *{chr(ord(c) - 1)}]}}\n" for c in "bcdefghijklmnopqrstuvwxyz"
)


@pytest.mark.parametrize(
    ("added", "why"),
    [
        (BOMB, "cannot be read (ValueError)"),
        (MERGES, "cannot be read (ValueError)"),
        ("x: &a [*a]\n", "cannot be read (ValueError)"),
        ("x: " + "[" * 5000 + "]" * 5000 + "\n", "cannot be read (RecursionError)"),
        ("x: " + "[" * 150 + "]" * 150 + "\n", "cannot be read (ValueError)"),
        ("x: " + "1" * 5000 + "\n", "cannot be read (ValueError)"),
        ("x: !!int ''\n", "cannot be read (IndexError)"),
        ("# " + "x" * (1 << 20), "cannot be read (ValueError)"),
    ],
    ids=["aliases", "merges", "itself", "deep", "nested", "digits", "no-number", "large"],
)
def test_files_that_would_grow_without_end_are_not_read(added: str, why: str, tasks: Path) -> None:
    tasks.write_text(tasks.read_text() + added)
    assert refusal() == f"eval.t.tasks=mine: not found; t/mine.yaml: {why}"


def test_the_harness_reads_no_file_again(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = LMEvalSuite({"m": "mine"}, "t", "forget", key="eval.t")
    found.harness.check_names()
    tasks.write_text(tasks.read_text() + FUNCTION)
    found.validate()
    (task,) = found.harness.load()["tasks"].values()
    assert task.doc_to_text(task.eval_docs[0]) == "w1"
    assert not Path("PWNED").exists()


@pytest.mark.parametrize(
    "include",
    [
        "lm_eval:{here}/t",
        "unlearnctl:{here}/t",
        "tinyworld:{here}/t",
        "lm_eval:{up}{here}/t",
    ],
)
def test_no_name_leads_out_of_an_installed_package(include: str, tasks: Path, tmp_path: Path) -> None:
    tasks.write_text(tasks.read_text() + FUNCTION)
    name = include.format(here=tmp_path, up="../" * 40)
    assert refusal(name) == f"eval.t.include={name}: no such folder of lm-eval task files"


def test_includes_groups_tags_and_code_as_the_harness_has_them(tasks: Path) -> None:
    """What is handed over makes the very tasks that the harness makes of the files."""
    from lm_eval.tasks import TaskManager

    Path("t/base").write_text(tasks.read_text().replace("task: mine\n", "") + "num_fewshot: 0\ntag: both\n")
    tasks.unlink()
    Path("t/code.py").write_text(CODE)
    Path("t/sub").mkdir()
    Path("t/sub/code.py").write_text(CODE)
    Path("t/one.yaml").write_text("include: base\ntask: one\ndoc_to_target: !function code.right\n")
    Path("t/sub/two.yaml").write_text("include: [../base]\ntask: two\ndescription: 'so: '\n")
    Path("t/all.yaml").write_text(
        "group: all\ntask: [one, {task: two, num_fewshot: 0}]\naggregate_metric_list: [{metric: acc}]\n"
    )
    ours = LMEvalSuite({"m": "all", "n": "both"}, "t", "forget", key="eval.t", trust_task_code=True)
    theirs = TaskManager(include_path="t", include_defaults=False)
    ours.harness.check_names()
    assert sorted(ours.harness._known.task_index) == sorted(theirs.all_tasks)  # type: ignore[union-attr]
    mine, original = ours.harness._known.load(["all"]), theirs.load(["all"])  # type: ignore[union-attr]
    assert mine["group_map"] == original["group_map"] == {"all": ["one", "two"]}
    for name in ("one", "two"):
        a, b = (found["tasks"][name].dump_config() for found in (mine, original))
        a.pop("metadata")
        b.pop("metadata")
        assert {k: str(v)[:30] for k, v in a.items()} == {k: str(v)[:30] for k, v in b.items()}


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "takes more than 2 s",
        ),
        (
            "{% for a in range(99999) %}{% for b in 'x' * 99999 %}{{ b }}{% endfor %}{% endfor %}",
            "takes more than 2 s",
        ),
        ("{{ 9 ** (9 ** 9) }}", "takes more than 2 s"),
        (
            "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' | regex_replace('(a+)+$', '') }}",
            "takes more than 2 s",
        ),
        ("{{ 'x' * 10 ** 10 }}", "takes more than 1 GiB"),
        ("{{ 'x' | center(10 ** 10) }}", "takes more than 1 GiB"),
        ("{{ '%10000000000d' % 1 }}", "takes more than 1 GiB"),
        ("{{ '{:9000000000}'.format(1) }}", "takes more than 1 GiB"),
        ("{% set x = 'x' * 100000 %}{{ x | replace('x', x) }}", "takes more than 1 GiB"),
        ("{{ 'x' * 4000001 }}", "makes more than 4,000,000 characters"),
    ],
)
def test_a_template_has_a_limit(text: str, why: str, tasks: Path) -> None:
    tasks.write_text(tasks.read_text().replace('"{{q}}"', json.dumps(text)))
    assert refusal() == f"eval.t.tasks=mine: question 1: the template {text[:60]!r} {why}"


def test_the_question_that_a_template_has_trouble_with_is_named(tasks: Path) -> None:
    rows = [{"q": q, "c": ["w2", "w3"], "a": 0} for q in ("w1", "w2", "w" * 9)]
    Path("t/q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = "{{ q * (1 if q|length < 5 else 10 ** 9) }}"
    tasks.write_text(tasks.read_text().replace('"{{q}}"', json.dumps(text)))
    assert refusal() == f"eval.t.tasks=mine: question 3: the template {text[:60]!r} takes more than 1 GiB"
