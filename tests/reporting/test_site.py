"""The page of many runs: it shows the very numbers of their results.json, and all text in it is only text."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from tests.reporting.many import EVIL, SUBJECTS, unpack, write_many, write_probe
from unlearnctl.commands import report as verb
from unlearnctl.reporting.page import content_hash
from unlearnctl.reporting.replies import Pair, Reply, samples
from unlearnctl.reporting.reports import report
from unlearnctl.results.run import load_run
from unlearnctl.utils.errors import UserError


class Page(HTMLParser):
    """What of a page a browser would run, load or show."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.rows, self.text, self.scripts = [], [], [], [], []
        self.in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        self.in_script = tag == "script"
        if self.in_script:
            self.scripts.append("")
        if tag == "td":
            self.rows[-1].append(dict(attrs).get("data-value"))

    def handle_data(self, data):
        self.text.append(data)
        if self.in_script:
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self.in_script = False

    def values(self, *names):
        return [value for name, value in self.attributes if name in names]


def make_page(*folders, to=None):
    *_, path = report(list(folders), Console(file=io.StringIO()), to)
    assert path.name.endswith(".html")
    text = path.read_text(encoding="utf-8")
    parsed = Page(text)
    return parsed, unpack(json.loads(parsed.scripts[0])), text


@pytest.fixture
def many(tmp_path, make):
    return write_many(tmp_path / "many", make)


def test_the_table_has_the_numbers_of_the_runs(many):
    parsed, data, _ = make_page(many)
    rows = {row[-1]: row for row in parsed.rows if row and str(row[-1]).startswith("run")}
    assert sorted(rows) == ["run0", "run1", "run2"]
    for name, row in rows.items():
        after = json.loads((many / name / "results.json").read_text())["after"]
        flat = {**after["tinyworld"], "mmlu": after["mmlu"]["mmlu"]}
        shown = {float(value) for value in row if value and re.fullmatch(r"[\d.e-]+", value)}
        assert {metric["value"] for metric in flat.values()} <= shown
    names = [axis["name"] for axis in data["axes"]]
    assert len(data["runs"]) == 3
    for run in data["runs"]:
        place = int(run["settings"]["layer"]) - 2
        body = json.loads((many / f"run{place}/results.json").read_text())
        for name in ("tinyworld/hazard_acc", "mmlu/mmlu"):
            suite, metric = name.split("/")
            old, new = (body[part][suite][metric] for part in ("before", "after"))
            assert run["values"][names.index(name)] == [
                old["value"], pytest.approx(1.96 * old["stderr"], 1e-4), new["value"],
                pytest.approx(1.96 * new["stderr"], 1e-4),
            ]  # fmt: skip
    assert "1 failed or missing" in " ".join(parsed.text)


def test_subjects_probes_curves_weights_and_replies(many):
    _, data, _ = make_page(many)
    assert not any("anatomy" in axis["name"] for axis in data["axes"])
    first = next(run for run in data["runs"] if run["settings"]["layer"] == "3")
    subjects = first["subjects"]["mmlu/mmlu"]
    assert subjects["chance"] == 0.25
    assert subjects["rows"] == [
        [name, value, pytest.approx(0.0392), pytest.approx(value - 0.1), pytest.approx(0.0392), 100]
        for name, value in SUBJECTS.items()
    ]
    (probe,) = data["probes"]
    assert probe["n"] == 300
    assert probe["rows"] == [[0, 0.7, pytest.approx(0.0588), 0.5], [1, 0.95, pytest.approx(0.0196), 0.52]]
    assert first["weights"] == [[["a", 0.1, False], [EVIL, 0.9, True]]]
    assert first["samples"] == {"tinyworld/toxicity_prob": [
        ["Prompt 0:", "you foul thing", "fine 1", 1.0, 0.1, [True, True, False]],
        ["Prompt 1:", "hello you", EVIL, 0.0, 0.0, [False, False, False]],
    ]}  # fmt: skip
    assert list(first["curves"])[:3] == ["loss: total", "loss: forget", "loss: retain"]
    logged = [json.loads(line) for line in (many / "run1/metrics.jsonl").read_text().splitlines()]
    assert first["curves"]["loss: total"] == [
        [row["step"], pytest.approx(row["loss"], rel=1e-4)] for row in logged if row["kind"] == "train"
    ]
    layer = data["keys"].index("objective.layer")
    assert sorted(run["config"][layer] for run in data["runs"]) == ["2", "3", "4"]


def test_all_text_is_only_text_and_nothing_is_loaded(tmp_path, make):
    root = write_many(tmp_path / "many", make, name=EVIL)
    body = make.results(objective=EVIL, layer=9, status=EVIL)
    body["config"][EVIL] = {EVIL: [EVIL]}
    body["after"][EVIL] = {EVIL: make.metric(0.5), "plain": make.metric(0.5)}
    rows = make.history(3)
    rows[0]["terms"][EVIL] = 1.0
    run = make.write_run(root / "run4\"'<b>&", body, rows, yaml=EVIL)
    (run / "report.html").write_text("")
    (run / "samples.json").write_text(
        json.dumps({"after": {EVIL: {EVIL: [{"prompt": EVIL, "reply": EVIL}]}}})
    )
    parsed, data, text = make_page(root)
    assert parsed.tags.count("script") == 2
    assert not {"img", "iframe", "object", "link", "b>"} & set(parsed.tags)
    assert parsed.values("src", "srcset", "action", "data", "style") == []
    assert [name for name, _ in parsed.attributes if name.startswith("on")] == []
    links = parsed.values("href")
    assert {link[0] for link in links} == {"#", "."}
    assert "./run4%22%27%3Cb%3E%26/report.html" in links
    assert "</script><!--" not in text
    assert "<img src" not in text
    assert any(f"{EVIL}/{EVIL}" in run["samples"] for run in data["runs"])
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", text).replace("http://evil.example/x", "")
    assert "http:" not in outside
    assert "https:" not in outside


def test_the_policy_allows_our_own_script_and_style_alone(many):
    parsed, _, text = make_page(many)
    (policy,) = [v for v in parsed.values("content") if v.startswith("default-src")]
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    assert policy == (
        f"default-src 'none'; style-src '{content_hash(style)}'; script-src '{content_hash(parsed.scripts[1])}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "innerHTML" not in parsed.scripts[1]
    assert "eval(" not in parsed.scripts[1]


def test_numbers_that_are_none_do_not_break_the_page(tmp_path, make):
    for place in range(2):
        body = make.results(layer=place)
        body["after"]["tinyworld"]["hazard_acc"] |= {"value": float("nan"), "stderr": None}
        del body["before"]
        make.write_run(tmp_path / str(place), body)
    parsed, data, _ = make_page(tmp_path)
    assert "NaN" not in parsed.scripts[0]
    assert data["runs"][0]["values"][0] == [None, None, None, None]


def test_one_run_and_a_probe_can_have_a_page_too(tmp_path, make, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make.write_run(tmp_path / "run", make.results())
    verb.report(["run", "to=one.html"])
    assert capsys.readouterr().out.splitlines()[-1] == "one.html"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.yaml", "metrics.jsonl", "results.json",
    ]  # fmt: skip
    assert not (tmp_path / "summary.md").exists()
    write_probe(tmp_path / "probe")
    assert report([Path("probe")]) == [Path("probe/report.html")]
    report([Path("run"), Path("probe")], Console(file=io.StringIO()))
    assert {"report.html", "summary.md"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["run", "to=page.pdf"], "to=page.pdf: must be the name of an .html file"),
        (["run", "to=no/page.html"], "to=no/page.html: its folder does not exist"),
        (["run", "to=d.html"], "to=d.html: is a directory"),
        (["run", "to=a.html", "to=b.html"], "to=b.html: given twice; one page is written"),
        (["to=a.html"], "report: give a run directory, e.g. unlearnctl report outputs/train/NAME/RUN"),
        (["bad"], "bad: probes.csv cannot be read (ValueError)"),
    ],
)
def test_mistakes_are_one_line(args, line, tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make.write_run(tmp_path / "run", make.results())
    (tmp_path / "d.html").mkdir()
    (write_probe(tmp_path / "bad") / "probes.csv").write_text(
        "layer,accuracy,control,stderr,n\n0,nan,0.5,0.1,9\n"
    )
    with pytest.raises(UserError) as caught:
        verb.report(args)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    "saved", ["", "[]", '{"after": 3}', '{"after": {"s": [1]}}', '{"after": {"s": {"m": [{}]}}}']
)
def test_samples_of_an_odd_shape_are_none(saved, tmp_path, make):
    run = make.write_run(tmp_path / "run")
    (run / "samples.json").write_text(saved)
    assert samples(load_run(run)) == {}


def test_replies_to_different_prompts_stand_alone(tmp_path, make):
    run = make.write_run(tmp_path / "run")
    sides = {part: {"s": {"m": [{"prompt": p, "reply": part, "score": None}]}} for part, p in
             (("before", "a"), ("after", "b"))}  # fmt: skip
    (run / "samples.json").write_text(json.dumps(sides))
    assert samples(load_run(run)) == {
        "s/m": [Pair("a", before=Reply("before")), Pair("b", after=Reply("after"))]
    }


def test_the_page_of_one_run_shows_its_replies(many):
    text = (
        (many / "run0/report.html").read_text()
        if report([many / "run0"], Console(file=io.StringIO()))
        else ""
    )
    assert text.count('class="toxic"') == 2  # the prompt and the reply that it drew
    assert 'id="blur" checked' in text
    assert "<summary>By subject" in text
