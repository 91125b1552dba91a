"""What a page of ours may hold: elements and attributes of our own templates, nothing that loads or runs."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser

ELEMENTS = frozenset(
    "html head meta title style body header main section article table thead tbody tr th td p h1 h2 h3 ul li div span "
    "strong b details summary dl dt dd pre code svg line path circle text g figure figcaption script "
    "nav a label select option input button fieldset legend".split()
)
ATTRIBUTES = frozenset(
    "lang charset http-equiv content name class id scope title role tabindex open type viewbox width height x y x1 x2 "
    "y1 y2 cx cy r d transform text-anchor aria-label aria-hidden aria-live aria-labelledby data-label "
    "data-chart href for value checked selected aria-sort aria-describedby autocomplete placeholder disabled hidden "
    "data-key data-column multiple size aria-controls spellcheck data-run colspan data-first data-value".split()
)


class Page(HTMLParser):
    """All elements with their attributes, the text, and what stands in scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.sources: list[
            tuple[dict[str, str], str]
        ] = []  # of style sheets and scripts: attributes, content
        self.odd: list[str] = []  # comments, declarations other than the doctype
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in ("style", "script") and self.cdata_elem:
            self.sources.append((self.elements[-1][1], data))
        else:
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.odd.append(data)

    def handle_decl(self, decl: str) -> None:
        if decl.lower() != "doctype html":
            self.odd.append(decl)

    def unknown_decl(self, data: str) -> None:
        self.odd.append(data)

    def handle_pi(self, data: str) -> None:
        self.odd.append(data)

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Elements and the names of their attributes, in order."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]

    @property
    def policy(self) -> str:
        """Content-Security-Policy; empty where there is none."""
        found = [
            a["content"]
            for tag, a in self.elements
            if a.get("http-equiv", "").lower() == "content-security-policy"
        ]
        return found[0] if len(found) == 1 else ""


def check_page(html: str, scripts: int) -> Page:
    """Fail on a page that holds anything but our own elements, or that could load or run anything else."""
    page = Page(html)
    tags = [tag for tag, _ in page.elements]
    assert set(tags) <= ELEMENTS, set(tags) - ELEMENTS
    names = {name for _, attributes in page.elements for name in attributes}
    assert names <= ATTRIBUTES, names - ATTRIBUTES
    assert tags.count("script") == scripts
    assert tags.count("style") == tags.count("title") == tags.count("body") == 1
    assert not page.odd, page.odd
    check_policy(page, scripts)
    return page


def check_policy(page: Page, scripts: int) -> None:
    """Nothing is allowed by default; the style sheet and the one script that runs by their hash alone."""
    parts = dict(part.strip().split(" ", 1) for part in page.policy.split(";") if part.strip())
    style, *runs = [hashed(text) for attributes, text in page.sources if "type" not in attributes]
    assert parts.pop("default-src") == "'none'"
    assert parts.pop("base-uri") == parts.pop("form-action") == "'none'"
    assert parts.pop("style-src") == style
    assert [parts.pop("script-src")] == runs if scripts else not runs
    assert not parts, parts


def hashed(text: str) -> str:
    """As a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
