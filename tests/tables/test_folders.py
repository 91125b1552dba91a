"""Folders of a machine: put in where a table names them, checked before anything runs, no part of an identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tables.test_tables import FIRST
from unlearnctl.tables.folders import check_folders, fill
from unlearnctl.tables.read import read_table
from unlearnctl.tables.spec import TableSpec
from unlearnctl.utils.errors import UserError


@pytest.fixture
def spec(tmp_path: Path) -> TableSpec:
    (tmp_path / "x.yaml").write_text(FIRST)
    return read_table({"x": tmp_path / "x.yaml"}, "x")


def test_names_become_folders_at_the_beginning_of_a_text_alone() -> None:
    given = {"a": ["$DATA/b/c.jsonl", "$DATA", "x$DATA/y", "$DATAB/z", "$MODEL"], "n": 3, "o": None}
    folders = {"$DATA": Path("/my data,{1}"), "$MODEL": None}
    assert fill(given, folders) == {
        "a": ["/my data,{1}/b/c.jsonl", "/my data,{1}", "x$DATA/y", "$DATAB/z", "$MODEL"],
        "n": 3,
        "o": None,
    }


def test_every_file_is_asked_for_before_anything_runs(spec: TableSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data=: x, scale=small reads a\.jsonl, b/c\.jsonl, q\.jsonl; give"):
        check_folders(spec, None, None)
    for name in ("a.jsonl", "b/c.json", "q.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"has no b/c\.jsonl \(did you mean 'c\.json'\?\); docs/tables"):
        check_folders(spec, tmp_path, None)
    (tmp_path / "b/c.jsonl").touch()
    check_folders(spec, tmp_path, tmp_path)
    with pytest.raises(UserError, match="model_path=nowhere: no such folder"):
        check_folders(spec, tmp_path, Path("nowhere"))


def test_one_local_model_is_for_one_model(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(FIRST.replace("models: [m]", "models: [m, n]"))
    with pytest.raises(UserError, match="the table has 2 models; add models=NAME"):
        check_folders(read_table({"x": tmp_path / "x.yaml"}, "x"), tmp_path, tmp_path)
