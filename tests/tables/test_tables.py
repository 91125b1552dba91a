"""Cells by hand; the four renderings say the same, are safe, and come out the same again."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import t

from tests.extras import PDFLATEX, program
from unlearnctl.tables.cells import Table, build
from unlearnctl.tables.read import read_table
from unlearnctl.tables.render import as_csv, as_html, latex, markdown, tex, write_table
from unlearnctl.tables.spec import Member, TableSpec
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.paths import conf_dir

PROGRAM = program("pdflatex", str(PDFLATEX))
TABLE = """
title: A & B
about: 100 % of <it>.
scales:
  tiny:
    models: [m]
    seeds: [0, 1, 2]
    common: {train: [data=d]}
    columns:
      - {title: hazard, metric: s/hazard, goal: lower}
      - {title: kept, metric: s/kept, goal: higher, decimals: 1, scale: 100, step: train}
rows:
  base:
  a_b: [objective=a]
  b: {train: [objective=b], repair: {sage: [repair=sage]}, reading: true}
published:
  - {row: a_b, model: m, column: hazard, value: 0.4, source: somebody}
"""
HAZARD = {"a_b": [0.2, 0.3, 0.4], "b": [0.5, 0.6, 0.7]}


@pytest.fixture
def spec(tmp_path: Path) -> TableSpec:
    (tmp_path / "x.yaml").write_text(TABLE)
    return read_table({"x": tmp_path / "x.yaml"}, "x", "tiny")


def results(member: Member) -> dict[str, Any] | None:
    hardware = {"cpu": "c", "cores": 2, "gpus": []}

    def entry(value: float) -> dict[str, Any]:
        return {"value": value, "interval": [value - 0.1, value + 0.1], "n": 10}

    if member.step.name == "sage" and member.seed == 2:
        return None
    return {
        "before": {"s": {"hazard": entry(1.0), "kept": entry(0.9)}},
        "after": {"s": {"hazard": entry(HAZARD[member.row][member.seed]), "kept": entry(0.8 - 0.1 * member.seed)}},
        "provenance": {
            "commit": "abc", "dirty": False, "versions": {"torch": "2"}, "hardware": hardware,
        },
    }  # fmt: skip


@pytest.fixture
def table(spec: TableSpec) -> Table:
    return build(spec, results)


def test_members_are_the_runs_and_what_works_on_them(spec: TableSpec) -> None:
    members = list(spec.members())
    assert [m.step.verb for m in members] == ["train", "train", "repair"] * 3
    assert len({m.run for m in members}) == 9
    assert members[0].overrides == ("data=d", "objective=a")
    assert members[2].overrides == ("repair=sage", f"of={members[1].key}")
    assert members[0].run.startswith("m-a_b-train-seed0-")


def test_equal_runs_are_shared_by_rows(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TABLE.replace("objective=a]", "objective=b]"))
    spec = read_table({"x": tmp_path / "x.yaml"}, "x", "tiny")
    assert len(list(spec.members())) == 6


def test_settings_in_common_go_by_verb_and_by_step(tmp_path: Path) -> None:
    common = "{train: [data=d], sage: [repair.rank=2], repair: [seed=1]}"
    (tmp_path / "x.yaml").write_text(TABLE.replace("{train: [data=d]}", common))
    members = list(read_table({"x": tmp_path / "x.yaml"}, "x", "tiny").members())
    assert members[0].overrides == ("data=d", "objective=a")
    assert members[2].overrides[:3] == ("seed=1", "repair.rank=2", "repair=sage")


def test_cells_by_hand(table: Table) -> None:
    """Over .2 .3 .4: mean .3, sd .1, half-width t(.975, 2) · .1/√3; the repaired row has two of three seeds."""
    base, a, b = table.lines
    assert (base.cells[0].value, base.cells[0].half) == (1.0, pytest.approx(0.1))
    assert a.cells[0].value == pytest.approx(0.3)
    assert a.cells[0].half == pytest.approx(t.ppf(0.975, 2) * 0.1 / 3**0.5)
    assert a.cells[1].values == pytest.approx([80, 70, 60])
    assert b.cells[0].values == [0.5, 0.6]
    assert table.missing == 1
    assert a.cells[0].published == "0.4"


def test_a_sweep_is_a_row_for_each_value_and_drawn(tmp_path: Path) -> None:
    text = "x: strength\n" + TABLE.replace(
        "a_b: [objective=a]", "a: {over: [1, 2.5, 100], train: [objective=a, 'c={x}']}"
    )
    (tmp_path / "x.yaml").write_text(text)
    spec = read_table({"x": tmp_path / "x.yaml"}, "x", "tiny")
    assert [(row.name, row.series, row.x) for row in spec.rows[1:4]] == [
        ("a, 1", "a", 1.0), ("a, 2.5", "a", 2.5), ("a, 100", "a", 100.0)
    ]  # fmt: skip
    assert [row.steps[0].overrides for row in spec.rows[1:4]] == [
        ("objective=a", f"c={c}") for c in ("1", "2.5", "100")
    ]

    def measured(member: Member) -> dict[str, Any] | None:
        return results(replace(member, row="a_b" if member.row.startswith("a,") else member.row))

    table = build(spec, measured)
    (png,) = [path for path in write_table(table, tmp_path / "out") if path.suffix == ".png"]
    assert png.name == "x-tiny-m.png"
    first = png.read_bytes()
    assert first.startswith(b"\x89PNG")
    write_table(table, tmp_path / "out")
    assert png.read_bytes() == first


def test_a_p_value_keeps_its_digits(tmp_path: Path) -> None:
    text = TABLE.replace("goal: lower}", "goal: lower, decimals: null, scale: 1.0e-20}").replace(
        "value: 0.4", "value: 1.66e-21"
    )
    (tmp_path / "x.yaml").write_text(text)
    shown = markdown(build(read_table({"x": tmp_path / "x.yaml"}, "x", "tiny"), results))
    assert "| m | a_b | 3e-21 ± 2.48e-21 [1.66e-21] |" in shown


def test_seeds_and_models_of_the_command_line(spec: TableSpec, tmp_path: Path) -> None:
    asked = read_table({"x": tmp_path / "x.yaml"}, "x", "tiny", (7,), ("n", "o"))
    assert {(m.model, m.seed) for m in asked.members()} == {("n", 7), ("o", 7)}
    assert asked.command == "unlearnctl reproduce x scale=tiny models=n,o seeds=7"
    assert spec.command == "unlearnctl reproduce x scale=tiny"


@pytest.mark.parametrize(
    ("tolerance", "shown"), [(None, "[0.4]"), (0.11, "[0.4 ≈]"), (0.05, "[0.4 ≠]")], ids=str
)
def test_the_published_value_is_met_or_missed(tmp_path: Path, tolerance: float | None, shown: str) -> None:
    given = "value: 0.4" if tolerance is None else f"value: 0.4, tolerance: {tolerance}"
    (tmp_path / "x.yaml").write_text(TABLE.replace("value: 0.4", given))
    table = build(read_table({"x": tmp_path / "x.yaml"}, "x", "tiny"), results)
    assert f"| m | a_b | 0.300 ± 0.248 {shown} |" in markdown(table)  # .1 away
    assert (f"≈ within {tolerance} of the published value, ≠ not." in markdown(table)) == (
        tolerance is not None
    )


def test_bold_needs_a_paired_difference_over_seeds(spec: TableSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(member: Member) -> dict[str, Any] | None:
        return results(Member(member.model, member.seed % 2, member.row, member.step, member.overrides))

    assert [line.cells[0].bold for line in build(spec, both).lines] == [
        False,
        True,
        False,
    ]  # gaps −.3 −.3 −.3
    monkeypatch.setitem(HAZARD, "b", [0.1, 0.9, 0.7])
    assert not any(line.cells[0].bold for line in build(spec, both).lines)


def test_values_of_different_seeds_are_not_paired(spec: TableSpec) -> None:
    """One row lacks seed 0 and the other seed 2: .3 and .4 against .5 and .6 are not gaps of a seed."""

    def some(member: Member) -> dict[str, Any] | None:
        missing = 0 if member.row == "a_b" else 2
        return None if member.seed == missing else results(member)

    lines = build(spec, some).lines
    assert [line.cells[0].seeds for line in lines] == [(0,), (1, 2), (0, 1)]
    assert not any(line.cells[0].bold for line in lines)


def test_renderings_say_the_same(table: Table, tmp_path: Path) -> None:
    text = markdown(table)
    assert "| m | a_b | 0.300 ± 0.248 [0.4] | 70.0 ± 24.8 |" in text
    assert "| m | b † | 0.550 ± 0.635 |" in text
    assert "commit: abc" in text
    assert "- Items behind each value (n): hazard 10, kept 10." in text
    assert "1 runs of this table are not there yet" in text
    rows = list(csv.reader(io.StringIO(as_csv(table))))
    assert rows[2][:5] == ["m", "a_b", repr(table.lines[1].cells[0].value), rows[2][3], "0.2 0.3 0.4"]
    assert "0.300 ± 0.248 [0.4]" in as_html(table)
    assert "<it>" not in as_html(table)
    paths = write_table(table, tmp_path / "t")
    assert {p.suffix for p in paths} == {".md", ".tex", ".csv", ".html", ".json"}
    first = [p.read_bytes() for p in paths]
    assert [p.read_bytes() for p in write_table(table, tmp_path / "t")] == first
    assert json.loads((tmp_path / "t/x-tiny.json").read_text())["lines"][1]["cells"]["hazard"]["values"] == [
        0.2,
        0.3,
        0.4,
    ]


def test_a_rule_parts_the_models(spec: TableSpec, tmp_path: Path) -> None:
    two = build(read_table({"x": tmp_path / "x.yaml"}, "x", "tiny", models=["m", "k"]), results)
    assert [line.model for line in two.lines] == ["m"] * 3 + ["k"] * 3
    assert as_html(two).count('<tr class="next"><td>k</td><td>base</td>') == 1
    assert as_html(two).count('class="next"') == 1
    assert latex(two).count("\\midrule") == 2  # one below the head


BOOKTABS = r"""\ProvidesPackage{booktabs}
\let\toprule\hline \let\midrule\hline \let\bottomrule\hline
"""


@pytest.mark.full
@pytest.mark.skipif(
    not PROGRAM, reason="no pdflatex here: `make test-rest` installs one, on Linux with x86-64"
)
def test_latex_compiles(table: Table, tmp_path: Path) -> None:
    """TeX reads all of it and sets it. A small TeX, with neither all fonts nor booktabs, writes no PDF."""
    name = '% & $ # _ { } ~ ^ \\ < > | " ± ↓ ↑ × – − § † ≈ ≠ é 漢'
    hostile = replace(table.lines[1], row=replace(table.lines[1].row, name=f"{name} \\end{{document}}"))
    written = {"plain": table, "hostile": replace(table, lines=[table.lines[0], hostile])}
    whole = has_booktabs()
    if not whole:
        (tmp_path / "booktabs.sty").write_text(BOOKTABS)
    for name, content in written.items():
        (tmp_path / f"{name}.tex").write_text(latex(content))
        draft = [] if whole else ["-draftmode"]
        command = [str(PROGRAM), *draft, "-interaction=nonstopmode", "-halt-on-error", name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Overfull" not in done.stdout, done.stdout
        assert not whole or (tmp_path / f"{name}.pdf").stat().st_size > 1000


def has_booktabs() -> bool:
    search = ["kpsewhich", "booktabs.sty"]
    return bool(shutil.which("kpsewhich")) and not subprocess.run(search, capture_output=True).returncode


def test_latex_is_balanced_and_escaped(table: Table) -> None:
    """Where there is no TeX: braces and environments are counted, nothing that TeX reads as its own is left."""
    text = latex(table)
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end){(\w+)}", text):
        assert kind == "begin" or opened.pop() == name
        opened += [name] if kind == "begin" else []
    assert opened == []
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert all(line.count("&") == 3 and line.endswith(r" \\") for line in body.strip().splitlines())
    assert r"A \& B" in text
    assert text.isascii()
    assert tex("50 % of a_b ± {x} ^ ~ \\ $ # &") == (
        r"50 \% of a\_b $\pm$ \{x\} \textasciicircum{} \textasciitilde{} \textbackslash{} \$ \# \&"
    )


KNOWN = "unknown \\(did you mean '{}'\\?\\)"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("goal: lower}", "goal: low}"), rf"table\.x\.columns\.goal=low: {KNOWN.format('lower')}"),
        (
            ("title: hazard,", "titel: h, title: h,"),
            r"table\.x\.columns\.titel: unknown key \(did you mean 'title'\?\)",
        ),
        (
            ("{train: [objective=b], ", "{trian: [o=b], "),
            rf"table\.x\.rows\.b=trian: {KNOWN.format('train')}",
        ),
        (
            ("seeds: [0, 1, 2]", "seeds: [a]"),
            r"table\.x\.scales\.tiny\.seeds=\['a'\]: must be a list of whole numbers",
        ),
        (("models: [m]", "models:"), r"table\.x\.scales\.tiny\.models: required"),
        (("title: A & B", ""), r"table\.x\.title: required"),
        (("scale: 100", "scale: big"), r"table\.x\.columns\.scale=big: must be a number"),
        (("value: 0.4", "value: much"), r"table\.x\.published\.value=much: must be a number"),
        (("{train: [objective=b], repair", "{repair"), "the first run must be a train run"),
        (("common: {train:", "common: {trian:"), rf"table\.x\.common=trian: {KNOWN.format('train')}"),
        (("common: {train:", "common: {sag:"), rf"table\.x\.common=sag: {KNOWN.format('sage')}"),
    ],
)
def test_a_wrong_table_is_one_line(change: tuple[str, str], line: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TABLE.replace(*change))
    with pytest.raises(UserError, match=line):
        read_table({"x": tmp_path / "x.yaml"}, "x", "tiny")


@pytest.mark.parametrize("name", sorted(p.stem for p in (conf_dir() / "table").glob("*.yaml")))
def test_every_shipped_table_reads(name: str) -> None:
    spec = read_table({name: conf_dir() / f"table/{name}.yaml"}, name)
    assert list(spec.members())
    assert markdown(build(spec, lambda member: None)).count("–") >= len(spec.rows)


ATTACKED = """
title: A
about: B.
scales:
  tiny:
    models: [m]
    seeds: [0]
    common: {attack: [eval=e]}
    columns:
      - {title: as it is, metric: s/x, step: attack}
      - {title: worst, metric: s/x, step: attack, part: worst, attack: relearn}
      - {title: on b, metric: s/x, step: attack, part: worst, attack: relearn, variant: b}
rows: {untouched: {attack: []}, a: {train: [objective=a], attack: []}}
"""


def test_an_attack_without_a_run_is_on_the_untouched_model_and_variants_have_columns(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(ATTACKED)
    spec = read_table({"x": tmp_path / "x.yaml"}, "x")
    untouched, trained, attacked = spec.members()
    assert (untouched.step.verb, untouched.base, untouched.overrides) == ("attack", None, ("eval=e",))
    assert attacked.base == trained.key

    def tried(variant: str, value: float, worst: bool) -> dict[str, Any]:
        scores = {"s": {"x": {"value": value}}}
        return {"attack": "relearn", "variant": variant, "worst": worst, "scores": scores}

    def found(member: Member) -> dict[str, Any]:
        rows = [tried("a, step 3", 0.6, True), tried("b, step 3", 0.4, False)]
        came = {"commit": "c", "dirty": False, "versions": {}, "hardware": {"cpu": "c", "cores": 2}}
        return {"after": {"s": {"x": {"value": 0.1}}}, "attacks": rows, "provenance": came}

    for line in build(spec, found).lines:
        assert [cell.values for cell in line.cells] == [[0.1], [0.6], [0.4]]


FIRST = """
title: A
about: B.
scales:
  small:
    models: [m]
    seeds: [0, 1]
    made: {full: [data.retain.path=$DATA/a.jsonl], twin: [data.retain.path=$DATA/b/c.jsonl]}
    common: {train: [model.path=$full, 'eval.tofu={reference: $twin, path: $DATA/q.jsonl}']}
    seconds: {full: 600, train: 60}
    columns: [{title: hazard, metric: s/hazard, goal: lower}, {title: kept, metric: s/kept, goal: higher}]
rows: {base: , retain-only: {made: twin}, a_b: [objective=a], b: [objective=b]}
"""


@pytest.fixture
def first(tmp_path: Path) -> TableSpec:
    (tmp_path / "x.yaml").write_text(FIRST)
    return read_table({"x": tmp_path / "x.yaml"}, "x")


def test_models_made_first_are_part_of_what_works_on_them(first: TableSpec, tmp_path: Path) -> None:
    """The folder of a made model is the key of its run; another way of making it is another run for every row."""
    full, twin, *rows = first.members()
    assert [(m.step.name, m.seed, m.overrides) for m in (full, twin)] == [
        ("full", 0, ("data.retain.path=$DATA/a.jsonl",)),
        ("twin", 0, ("data.retain.path=$DATA/b/c.jsonl",)),
    ]
    assert rows[0].overrides == (
        f"model.path=$ROOT/models/{full.key}",
        f"eval.tofu={{reference: $ROOT/models/{twin.key}, path: $DATA/q.jsonl}}",
        "objective=a",
    )
    assert [(m.row, m.seed) for m in rows] == [("a_b", 0), ("b", 0), ("a_b", 1), ("b", 1)]
    (tmp_path / "x.yaml").write_text(
        FIRST.replace("b: [objective=b]", "b: {train: [objective=b], attack: []}")
    )
    attacked = list(read_table({"x": tmp_path / "x.yaml"}, "x").members())[-1]
    assert attacked.overrides == (f"model.path=$ROOT/models/{full.key}", f"of={rows[-1].key}")
    (tmp_path / "x.yaml").write_text(FIRST.replace("/a.jsonl", "/z.jsonl"))
    others = list(read_table({"x": tmp_path / "x.yaml"}, "x").members())
    assert not {m.key for m in others[2:]} & {m.key for m in rows}
    assert others[1].key == twin.key


def test_a_made_model_is_a_row_and_not_the_untouched_model(first: TableSpec) -> None:
    def found(member: Member) -> dict[str, Any] | None:
        if not member.step.made:
            return results(member)
        own = {"s": {"hazard": {"value": 0.05}, "kept": {"value": 0.95}}}
        return {**(results(replace(member, row="a_b")) or {}), "before": own, "after": own}

    base, twin, a, b = build(first, found).lines
    assert base.cells[0].values == [1.0]
    assert twin.cells[0].values == [0.05]
    assert not twin.cells[0].bold
    assert a.cells[0].bold  # against b, not against the twin
    assert len(a.cells[0].values) == len(b.cells[0].values) == 2
    assert "All seeds start from the same models, made once with seed 0: full and twin." in markdown(
        build(first, found)
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("model.path=$full", "model.path=$ful"), r"table\.x=\$ful: unknown \(did you mean '\$full'\?\)"),
        (("[data.retain.path=$DATA/a", "[data.retain.path=$twin/a"), r"table\.x=\$twin: unknown"),
        (("{made: twin}", "{made: twn}"), r"rows\.retain-only\.made=twn: unknown \(did you mean 'twin'"),
        (("{made: twin}", "{made: twin, train: [a]}"), r"retain-only\.train: a row with `made` has nothing"),
        (("{full: 600,", "{ful: 600,"), r"seconds=ful: unknown \(did you mean 'full'"),
        (("full: 600", "full: long"), "must be a mapping of names to numbers"),
    ],
)
def test_a_wrong_model_of_a_table_is_one_line(change: tuple[str, str], line: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(FIRST.replace(*change))
    with pytest.raises(UserError, match=line):
        read_table({"x": tmp_path / "x.yaml"}, "x")
