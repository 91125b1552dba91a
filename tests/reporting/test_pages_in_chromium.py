"""The pages in a headless Chromium: no console message, nothing too wide, all of it by keyboard, hostile text inert."""

import io
import tempfile
from pathlib import Path

import matplotlib.image
import pytest
from rich.console import Console

from tests.reporting.browser import EXECUTABLE, NAMES, Browser
from tests.reporting.many import EVIL, write_many
from unlearnctl.reporting.reports import report

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(EXECUTABLE is None, reason=f"no browser (looked for {', '.join(NAMES)})"),
]
TABLES = Path(__file__).parents[2] / "docs" / "tables"  # as `unlearnctl reproduce` made them
SIZES = [(1280, False), (1280, True), (390, False), (390, True)]
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
BLURRED = """[...document.querySelectorAll('.samples p')]
    .filter((p) => getComputedStyle(p).filter !== 'none').length"""
COLUMN = """[...document.querySelectorAll('.members tr')].filter((row) => !row.hidden)
    .map((row) => row.cells[%d].dataset.value)"""


@pytest.fixture(scope="module")
def browser():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Browser(Path(profile)) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory, make):
    """That of one run and that of many, all of them with names that try to get out."""
    root = write_many(tmp_path_factory.mktemp("pages") / "many", make, name=EVIL)
    quiet = Console(file=io.StringIO())
    tables = {path.stem: path for path in TABLES.glob("*.html")}
    return {"one": report([root / "run1"], quiet)[-1], "many": report([root], quiet)[-1], **tables}


def focus(browser, selector):
    """Go to an element with the Tab key; fails where that never gets there."""
    browser.run("document.body.tabIndex = -1, document.body.focus()")
    for _ in range(60):
        browser.press("Tab")
        if browser.run(f"document.activeElement.matches({selector!r})"):
            return
    raise AssertionError(f"{selector} is not reached with Tab")


def heading(browser, name):
    """Its place in the table of runs."""
    heads = browser.run(
        "[...document.querySelectorAll('#table th button')].map((b) => b.title || b.textContent)"
    )
    return heads.index(name)


@pytest.mark.parametrize("name", ["one", "many", *sorted(path.stem for path in TABLES.glob("*.html"))])
@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_no_message_nothing_too_wide_and_something_to_see(browser, pages, tmp_path, name, width, dark):
    browser.problems.clear()
    browser.requests.clear()
    browser.open(pages[name], width, dark=dark)
    assert browser.run(TOO_WIDE) is False
    assert browser.requests == [pages[name].absolute().as_uri()]
    pixels = matplotlib.image.imread(browser.screenshot(tmp_path / "shot.png", whole=False))[..., :3]
    assert pixels.std() > 0.03
    assert (pixels.mean() < 0.4) == dark
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.run(TOO_WIDE) is False
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.problems == []


def test_a_console_message_would_be_seen(browser, tmp_path):
    browser.problems.clear()
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><script>console.warn('seen'); missing()</script>")
    browser.open(page, 1280)
    assert len(browser.problems) == 2
    assert "seen" in browser.problems[0]
    assert "ReferenceError" in browser.problems[1]
    browser.problems.clear()


def test_sorting_by_keyboard(browser, pages):
    browser.open(pages["many"], 1280)
    place = heading(browser, "tinyworld/hazard_acc")
    before = browser.run(COLUMN % place)
    focus(browser, f"#table th:nth-child({place + 1}) button")
    browser.press("Enter")
    assert browser.run(COLUMN % place) == sorted(before, key=float) != before
    assert browser.run(f"document.querySelectorAll('#table th')[{place}].ariaSort") == "ascending"
    browser.press(" ")
    assert browser.run(COLUMN % place) == sorted(before, key=float, reverse=True)
    assert browser.run("document.querySelectorAll('#table [aria-sort]').length") == 1
    assert browser.run("document.querySelector('.base th').textContent") == "before"
    outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_filtering(browser, pages):
    browser.open(pages["many"], 1280)
    focus(browser, "#filter")
    for letter in "npo run1":
        browser.press(letter)
    place = heading(browser, "run")
    assert browser.run(COLUMN % place) == ["run1"]
    assert browser.run("document.getElementById('shown').textContent") == "1 of 3 runs"
    marks = "document.querySelectorAll('#trade-chart svg[tabindex] .mark:not(.origin)').length"
    assert browser.run(marks) == 1
    for _ in "npo run1":
        browser.press("Backspace")
    assert len(browser.run(COLUMN % place)) == browser.run(marks) == 3


def test_the_trade_off_is_read_out_by_keyboard_and_pointer(browser, pages):
    browser.open(pages["many"], 1280)
    focus(browser, "#trade-chart svg")
    browser.press("End")
    said = browser.run("document.querySelector('#trade-chart .tip').textContent")
    assert said == "before\ntinyworld/benign_acc 0.981\ntinyworld/hazard_acc 0.978"
    seen = set()
    for _ in range(5):
        browser.press("ArrowLeft")
        seen.add(browser.run("document.querySelector('#trade-chart .tip').textContent").partition(":")[0])
    assert {"1", "2", "3"} <= seen
    assert browser.run("document.querySelector('#trade-chart .readout').textContent").startswith(tuple(seen))
    browser.press("Escape")
    assert browser.run("document.querySelector('#trade-chart .tip').hidden") is True
    box = browser.run("""(() => { const mark = document.querySelector('#trade-chart svg .mark:not(.origin)');
        mark.scrollIntoView({block: 'center', behavior: 'instant'});
        const {x, y, width, height} = mark.getBoundingClientRect(); return [x + width / 2, y + height / 2]; })()""")
    browser.hover(*box)
    assert browser.run("document.querySelector('#trade-chart .tip').hidden") is False
    assert "hazard_acc" in browser.run("document.querySelector('#trade-chart .tip').textContent")


def test_any_two_scores_can_be_the_axes(browser, pages):
    browser.open(pages["many"], 1280)
    browser.run("""(() => { const pick = byId('trade-y'); pick.value = [...pick.options].findIndex(
        (o) => o.text === 'forgotten share'); pick.dispatchEvent(new Event('change')); })()""")
    labels = browser.run("[...document.querySelectorAll('#trade-chart .label')].map((t) => t.textContent)")
    assert labels[1] == "forgotten share (↑ better)"


@pytest.mark.parametrize("name", ["one", "many"])
def test_toxic_text_is_blurred_until_asked_for(browser, pages, name):
    browser.open(pages[name], 1280)
    assert browser.run(BLURRED) == 2
    assert browser.run("document.querySelectorAll('.samples .toxic')[1].textContent") == "you foul thing"
    focus(browser, "#blur")
    browser.press(" ")
    assert browser.run(BLURRED) == 0
    browser.press(" ")
    assert browser.run(BLURRED) == 2


def test_hostile_text_is_shown_as_it_is(browser, pages):
    browser.open(pages["many"], 1280)
    assert EVIL in browser.run("[...document.querySelectorAll('.samples .side p')].map((p) => p.textContent)")
    assert EVIL in browser.run(
        "[...document.querySelectorAll('#weights-texts span')].map((s) => s.textContent)"
    )
    assert EVIL in browser.run(
        "[...document.querySelectorAll('#trade-chart .keys li')].map((s) => s.textContent.trim())"
    )


def test_settings_of_two_runs_are_compared(browser, pages):
    browser.open(pages["many"], 1280)
    cells = "[...document.querySelectorAll('#diff-rows tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    first = browser.run(cells)
    assert ["objective.layer", "2", "3"] in first
    browser.run("(() => { byId('diff-b').value = 2; byId('diff-b').onchange(); })()")
    assert ["objective.layer", "2", "4"] in browser.run(cells)
    browser.run("(() => { byId('diff-b').value = 0; byId('diff-b').onchange(); })()")
    assert browser.run(cells) == []


def test_bars_curves_and_probes_are_drawn(browser, pages):
    browser.open(pages["many"], 1280)
    bars = browser.run("[...document.querySelectorAll('#subjects-bars li')].map((li) => li.textContent)")
    assert bars[0] == "anatomy0.610 → 0.510 ± 0.039 n 100"
    widths = browser.run(
        "[...document.querySelectorAll('#subjects-bars .after')].map((r) => r.getAttribute('width'))"
    )
    assert [round(float(width.rstrip("%"))) for width in widths] == [51, 24, 62]
    assert browser.run("document.querySelectorAll('#curves-chart path.line').length") == 3
    browser.run("byId('curves-runs').querySelector('input').click()")
    assert browser.run("document.querySelectorAll('#curves-chart path.line').length") == 2
    assert browser.run("document.querySelectorAll('#probes-chart path.line').length") == 2 + 1  # and its key


def test_every_control_has_a_name_and_the_first_link_skips_to_the_content(browser, pages):
    browser.open(pages["many"], 390)
    unnamed = browser.run("""[...document.querySelectorAll('select, input, button, [tabindex="0"]')]
        .filter((e) => !e.hidden)
        .filter((e) => !(e.matches('select, input') ? e.labels.length : e.textContent.trim() || e.ariaLabel))
        .map((e) => e.outerHTML)""")
    assert unnamed == []
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the content"
    browser.press("Enter")
    assert browser.run("document.activeElement.id") == "main"
