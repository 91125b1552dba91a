"""Every page of the package, with hostile text at every place of its input: elements and attributes are ours alone.

A new producer of HTML fails `test_every_producer_is_walked` until it stands in `PRODUCERS`: a function that makes
its page out of an input in which every text has gone through `say`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.fuzz.page import check_page
from tests.reporting.whole import files, token_weights, whole_history, whole_results, write_files
from unlearnctl.reporting import html
from unlearnctl.reporting.card import model_card
from unlearnctl.reporting.recovered import print_robustness
from unlearnctl.reporting.reports import write_report
from unlearnctl.reporting.search_page import Search, Tried, render_search
from unlearnctl.reporting.site.write import render as render_site
from unlearnctl.reporting.summary import summarise
from unlearnctl.reporting.summary_files import markdown as summary_markdown
from unlearnctl.reporting.terminal import print_comparison
from unlearnctl.results.run import load_run
from unlearnctl.results.trade_off import Trade
from unlearnctl.tables.cells import build
from unlearnctl.tables.render import as_html, latex, markdown
from unlearnctl.tables.spec import Column, Published, Row, Step, TableSpec
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.numbers import LARGEST

PACKAGE = Path(html.__file__).parents[1]
Say = Callable[[str], str]
OURS = ("schema", "kind")  # keys whose value chooses what is read
NAMED = {  # how many levels below hold names out of a run
    "config": 9, "provenance": 9, "before": 2, "after": 2, "scores": 2, "paired": 2, "suites": 2, "terms": 1,
    "knobs": 1,
}  # fmt: skip
LOADS = {"src", "srcset", "action", "data", "style", "poster"}

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=http://evil.example/x onerror=alert(1)>",
    "'\"><svg onload=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "</title></style></textarea><h1>x</h1>",
    "<!-- --!> ]]> <![CDATA[ <?php",
    "{{ 7*7 }}{% raw %}${x}",
    "javascript:alert(1)//data:text/html,x",
    "&lt;b&gt;&#60;i&#62;\x00\x0b\u2028\u202e\ufeff",
)  # fmt: skip


def said(tree: Any, say: Say, keys: bool = False) -> Any:
    """The tree with every text exchanged, and the names that a run gives: of settings, suites, metrics, terms."""
    if isinstance(tree, str):
        return say(tree)
    if isinstance(tree, list):
        return [said(entry, say, keys) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    out = {}
    for key, entry in tree.items():
        if key in OURS:
            out[key] = entry
        elif key in NAMED and not keys:
            out[key] = renamed(entry, say, NAMED[key])
        else:
            out[key] = said(entry, say, keys)
    return out


def renamed(tree: Any, say: Say, levels: int) -> Any:
    """The names of the upper levels exchanged too, each followed by a number so that they stay apart."""
    if not isinstance(tree, dict) or not levels:
        return said(tree, say, keys=True)
    return {
        f"{say(key)}{place}": renamed(entry, say, levels - 1)
        for place, (key, entry) in enumerate(tree.items())
    }


def run_files(say: Say) -> dict[str, bytes]:
    made = [said(tree, say) for tree in (whole_results(), whole_history(), token_weights())]
    return files(*made, yaml=say("x"))


def run_report(say: Say, folder: Path) -> str:
    return html.render(load_run(write_files(folder / "run", run_files(say))))


def report_of_many(say: Say, folder: Path) -> str:
    runs = [write_files(folder / name, run_files(say)) for name in ("run", "other")]
    return render_site(summarise(runs), folder)


def search_page(say: Say, folder: Path) -> str:
    trials = [
        Tried(
            0,
            {say("objective.alpha"): say("1")},
            "completed",
            Trade(0.5, 0.9),
            "train/trials/000/report.html",
        ),
        Tried(1, {say("objective.alpha"): 2.0}, say("failed"), None, "train/trials/001/report.html"),
    ]
    block = {"block": 0, "median": 1.0, "sinks": 0.0, "first": 0.0, "apart": 0.9}
    look = {"blocks": [block], "texts": {"forget": 8, "retain": 8}, "rms": {say("mlp"): 0.1}, "trained": 0.1}
    return render_search(
        Search(say("title"), say("found"), [say("fact")], [(say("do"), say("this"))], trials, 0, look)
    )


def table_page(say: Say, folder: Path) -> str:
    return as_html(table(say))


def table(say: Say) -> Any:
    row = Row(say("row"), (Step(say("train"), "train", (say("a=1"),)),), reading=True)
    column = Column(say("title"), f"{say('suite')}/{say('metric')}")
    published = Published(row.name, say("model"), column.title, say("1"), say("s"))  # type: ignore[arg-type]
    words = [say(word) for word in ("name", "scale", "title", "about")]
    spec = TableSpec(*words, (say("model"),), (0,), {}, (column,), (row,), (published,), notes=(say("note"),))
    came = {
        "commit": say("c"),
        "dirty": True,
        "versions": {say("v"): say("1")},
        "hardware": {"gpus": [say("g")]},
    }
    return build(spec, lambda member: {"provenance": came, "after": {}})


PRODUCERS: dict[str, tuple[str, int, Callable[[Say, Path], str]]] = {  # source, scripts, what makes it
    "report of a run": ("reporting/templates/report.html.j2", 2, run_report),
    "report of many": ("reporting/templates/site/page.html.j2", 2, report_of_many),
    "search": ("reporting/templates/search.html.j2", 2, search_page),
    "table": ("tables/render.py", 0, table_page),
}


def plain_word(hostile: str) -> str:
    """Harmless, but a metric's name if the other is: what follows a slash is a subject."""
    return "w/w" if "/" in hostile else "w"


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", PRODUCERS)
def test_hostile_text_is_text(name: str, hostile: str, tmp_path: Path) -> None:
    _, scripts, make = PRODUCERS[name]
    page = check_page(make(lambda text: hostile, tmp_path / "a"), scripts)
    assert page.shape == check_page(make(lambda text: plain_word(hostile), tmp_path / "b"), scripts).shape
    assert hostile.split("\x00")[0][:20] in "".join(page.text)


@pytest.mark.parametrize("name", PRODUCERS)
def test_nothing_is_asked_of_the_network(name: str, tmp_path: Path) -> None:
    _, scripts, make = PRODUCERS[name]
    page = check_page(make(lambda text: text, tmp_path), scripts)
    assert not LOADS & {name for _, names in page.shape for name in names}
    for place in (attributes.get("href", "#") for _, attributes in page.elements):
        assert not place.startswith("/")
        assert ":" not in place
    for _, source in page.sources:
        assert "://" not in source.replace("http://www.w3.org/2000/svg", "")
        assert not any(
            word in source for word in ("@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML", "eval(")
        )


def test_every_producer_is_walked() -> None:
    sources = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".j2", ".html")]
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in sources
        if "<!doctype html>" in path.read_text().lower()
    }
    assert found == {source for source, _, _ in PRODUCERS.values()}


def lines_of(text: str) -> Iterator[str]:
    """Lines of Markdown outside its header and outside code."""
    body = text.split("---\n", 2)[-1] if text.startswith("---\n") else text
    for line in body.splitlines():
        yield "" if line.startswith("    ") else "".join(line.split("`")[::2])


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markdown_holds_no_element_either(hostile: str, tmp_path: Path) -> None:
    run = write_files(tmp_path / "run", run_files(lambda text: hostile))
    card, summary = model_card(load_run(run).results), summary_markdown(summarise([run]))
    for text in (card, summary, markdown(table(lambda text: hostile))):
        assert not any("<" in line for line in lines_of(text))
    header = yaml.safe_load(card.split("---\n")[1])
    assert {"library_name", "tags"} <= set(header) <= {"base_model", "library_name", "tags"}
    assert latex(table(lambda text: hostile)).count(r"\begin{document}") == 1


def test_a_terminal_gets_no_escapes(tmp_path: Path) -> None:
    run = load_run(write_files(tmp_path / "run", run_files(lambda text: "\x1b[31m\x07[red]\rX")))
    console = Console(file=io.StringIO(), width=200)
    print_comparison(run.results, console)
    print_robustness(run.results, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]" in text
    assert not {"\x1b", "\x07", "\r"} & set(text)


ODD = (LARGEST, -1e308, 1e308, float("nan"), float("inf"), 5e-324, 0, None)


@pytest.mark.parametrize("value", ODD)
def test_a_number_of_any_size_is_drawn(value: float | None, tmp_path: Path) -> None:
    body = whole_results()
    for scores in (body["after"], *(attack["scores"] for attack in body["attacks"])):
        for entry in (entry for metrics in scores.values() for entry in metrics.values()):
            entry |= dict.fromkeys(("value", "stderr", "n", "chance"), value) | {"interval": [value, value]}
    body["flags"][0] |= {"value": value, "bound": value}
    body["attacks"][0]["settings"] |= {"lr": value, "step": value}
    rows = [
        {"kind": "train", "step": n, "loss": value, "terms": {"a": value}, "grad_norm": value} for n in (1, 2)
    ]
    run = write_files(tmp_path / "run", files(body, rows, token_weights()))
    check_page(html.render(load_run(run)), 2)
    write_report(run)


@pytest.mark.parametrize("value", [10**400, True, "0.5", [0.5]])
def test_what_is_no_number_is_refused(value: object, tmp_path: Path) -> None:
    body = whole_results()
    body["after"]["tinyworld"]["hazard_acc"]["value"] = value
    run = write_files(tmp_path / "run", files(body, [], token_weights()))
    with pytest.raises(
        UserError, match=r"results.json: after.tinyworld.hazard_acc.value=.*: must be a number or null"
    ):
        load_run(run)
