"""What the HTML pages share: escaping templates, number formats, style and scripts with their hashes.

A page is one file with no request to anywhere, opened by a double click. Everything shown comes from files that others
may have written, so the templates escape all of it. The policy in a page's head allows the one script and the one style
sheet by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from unlearnctl.utils import numbers

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """Set up jinja2 with autoescape for every file name, and the number formats as filters."""
    env = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    env.trim_blocks = env.lstrip_blocks = True
    env.filters |= {"value": numbers.value, "change": typographic_change, "setting": numbers.setting}
    env.filters["count"] = count
    # keep the order of settings and curves, because it has a meaning
    env.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return env


def typographic_change(number: float | None, metric: str = "") -> str:
    """Format a change with a real minus sign."""
    return numbers.change(number, metric).replace("-", "−")


def count(number: object) -> str:
    """Format `1,234,567` with narrow spaces, which no country reads as a decimal point."""
    whole = numbers.finite(number)
    return numbers.MISSING if whole is None else f"{whole:,.0f}".replace(",", "\u202f")


def own(*names: str) -> Markup:
    """Join files of the package, the only text that goes in unescaped."""
    return Markup("").join(Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in names)


def content_hash(text: str) -> str:
    """Hash a script or style as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
