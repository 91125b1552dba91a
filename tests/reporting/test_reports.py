"""One run: the page is safe and complete, the plots are pictures, mistakes are one line."""

import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib.image
import pytest

from unlearnctl.reporting import plots, series
from unlearnctl.reporting.html import _override
from unlearnctl.reporting.reports import report, write_report
from unlearnctl.results.run import load_run
from unlearnctl.utils.errors import UserError

EVIL = "</script><script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)>"
PLOT = "before_after.png"


class Page(HTMLParser):
    """Tags, and attributes by which a page could load or run something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.handlers, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "srcset", "xlink:href", "action", "data")]
        self.handlers += [k for k, _ in attrs if k.startswith("on") or k == "style"]

    def handle_data(self, data):
        self.text.append(data)


def page(run_dir):
    write_report(run_dir)
    text = (run_dir / "report.html").read_text(encoding="utf-8")
    return Page(text), text


def test_writes_a_picture_and_a_page(run_dir):
    assert [path.name for path in write_report(run_dir)] == [PLOT, "report.html"]
    pixels = matplotlib.image.imread(run_dir / PLOT)
    assert min(pixels.shape[:2]) > 400
    assert pixels[..., :3].std() > 0.03, f"{PLOT} is blank"


def test_page_loads_nothing_and_says_so(run_dir):
    parsed, text = page(run_dir)
    assert parsed.loads == []
    assert parsed.handlers == []
    assert "default-src 'none'" in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_page_shows_what_was_measured_and_how(run_dir):
    said = " ".join(page(run_dir)[0].text)
    for expected in ("0.978", "0.267", "−0.711", "0.250", "4\u202f096", "+3.8 %", "3f2c9a1d", "down_proj",
                     "Loss terms", "unlearnctl export ", "unlearnctl eval ", "=rmu_cosine"):  # fmt: skip
        assert expected in said


def test_hostile_text_is_only_text(tmp_path, make):
    body = make.results(objective=EVIL, notes=[EVIL], status=EVIL)
    body["config"][EVIL] = {EVIL: [EVIL]}
    body["config"]["items"] = {"name": {"keys": EVIL}}
    body["provenance"] |= {"command": EVIL, EVIL: EVIL}
    body["train"]["stop_reason"] = EVIL
    body["after"][EVIL] = {EVIL: make.metric(0.5), "$\\frac{": make.metric(0.1, role="forget", goal="lower")}
    rows = make.history(30)
    for row in rows:
        row.get("terms", {})[EVIL] = 1.0
    parsed, _ = page(make.write_run(tmp_path / "run", body, rows, yaml=EVIL))
    assert parsed.tags.count("script") == 2  # the points and our own
    assert "img" not in parsed.tags
    assert parsed.loads == []
    assert parsed.handlers == []


def test_diverged_run(tmp_path, make):
    body = make.results()
    for entry in body["after"]["tinyworld"].values():
        entry |= {"value": float("nan"), "stderr": None, "n": None, "chance": None}
    rows = make.history(20)
    for row in rows:
        row |= {"loss": float("inf"), "grad_norm": None} if row["kind"] == "train" else {}
    parsed, text = page(make.write_run(tmp_path / "run", body, rows))
    assert "nan" in " ".join(parsed.text)
    points = re.search(r'id="points">(.*?)</script>', text, re.S).group(1)
    assert "NaN" not in points
    assert json.loads(points)["losses"]["lines"]


def test_evaluation_without_before_or_curves(tmp_path, make):
    body = make.results()
    del body["before"], body["train"]
    run = make.write_run(tmp_path / "run", body)
    assert [path.name for path in write_report(run)] == ["before_after.png", "report.html"]
    assert "export" not in " ".join(page(run)[0].text)


def test_questions_are_shown_with_their_right_answers(tmp_path, make):
    entry = {
        "suite": "mc",
        "metric": "birds",
        "question": "<b>Who?",
        "expected": "you",
        "before": "me",
        "after": "",
    }
    body = make.results(questions={"forgotten": [entry, {"question": 3}], "kept": []})
    run = make.write_run(tmp_path / "run", body)
    said = {"mc": {"birds": [{"prompt": "shown once", "reply": "x", "score": None}]}}
    (run / "samples.json").write_text(json.dumps({"before": said, "after": said}))
    write_report(run)
    text = " ".join(" ".join(page(run)[0].text).split())
    assert "Forgotten: right before, wrong after <b>Who? Right: you before me after (empty)" in text
    assert "Kept: right" not in text
    assert "shown once" not in text


def test_each_unit_has_an_axis_of_its_own(tmp_path, make, monkeypatch):
    body, shown = make.results(), []
    for part in ("before", "after"):
        suite = body[part]["mc"] = {}
        suite["birds_acc"] = make.metric(0.4, role="forget", goal="lower")
        suite["birds_logp"] = make.metric(-20.0, role="forget", goal="lower")
    monkeypatch.setattr(plots, "_bars", lambda axes, rows: shown.append({row.metric for row in rows}))
    run = load_run(make.write_run(tmp_path / "run", body, make.history()))
    plots.write_plots(run)
    assert [group & {"birds_acc", "birds_logp"} for group in shown] == [{"birds_acc"}, set(), {"birds_logp"}]
    assert "birds_logp" not in {line.name for line in series.scores(run)}


@pytest.mark.first(1)
@pytest.mark.parametrize("section", ["before", "after", "config", "provenance", "train"])
def test_any_section_may_be_missing_or_null(tmp_path, make, section):
    for body in (make.results(), make.results()):
        body[section] = None
        assert write_report(make.write_run(tmp_path / "run", body, make.history(3)))
    del body[section]
    assert write_report(make.write_run(tmp_path / "run", body))


def test_interrupted_run_with_half_a_line_and_repeated_steps(tmp_path, make):
    run = make.write_run(
        tmp_path / "run", make.results(status="interrupted"), [*make.history(5), *make.history(3)]
    )
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    loaded = load_run(run)
    assert [row["step"] for row in loaded.train] == [1, 2, 3, 4, 5]
    assert loaded.unreadable == 1
    assert "1 unreadable line(s)" in page(run)[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no results.json"),
        ("", "not readable as JSON"),
        ('{"schema": ', "not readable as JSON"),
        ("[]", "schema=None"),
        ('{"schema": "unlearnctl/results/9"}', "unlearnctl/results/9"),
        (
            '{"schema": "unlearnctl/results/1", "after": {"s": {"acc": 0.5}}}',
            "after.s.acc=0.5: must be a mapping",
        ),
        ('{"schema": "unlearnctl/results/1", "config": 3}', "config=3: must be a mapping"),
    ],
)
def test_bad_results_are_one_line(tmp_path, text, said):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        write_report(tmp_path)
    assert "\n" not in str(caught.value)


def test_report_needs_a_finished_run(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError):
            report([path])


def test_paths_of_sweeps_survive_hydra():
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for path in ("out/layer=3,alpha=1", "a b", "it's", "plain-1.2", "o(1)", "ü/ö", "a$b`c", '"', "a!b"):
        (word,) = shlex.split(_override("run", path))
        assert OverridesParser.create().parse_override(word).value() == path


def test_reading_results_needs_no_torch_no_hydra_and_no_matplotlib():
    code = "import sys, unlearnctl.reporting.reports; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "hydra", "omegaconf", "transformers", "matplotlib"} & set(loaded)


def test_a_raised_flag_stands_above_the_result(make, tmp_path):
    flag = {"name": "retain_drop", "metric": EVIL, "value": 0.3, "bound": 0.1, "raised": True}
    run_dir = make.write_run(tmp_path / "run", make.results(flags=[flag]))
    parsed, text = page(run_dir)
    assert "what should stay is damaged" in " ".join(parsed.text)
    assert text.index("what should stay is damaged") < text.index("Change</th>")
    assert "<script>alert" not in text
