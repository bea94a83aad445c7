"""HTML, by an environment of the diagnostics' own: an application's templates, filters, globals and delimiters are its own.

What it has called ``asset`` or ``diagnostics/base.html`` is not taken for ours, nor ours for its.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from flask import url_for
from jinja2 import Environment, FileSystemLoader, pass_context
from jinja2.runtime import Context

from prodfix import current_prodfix, iso
from prodfix.blueprints.diagnostics.compiled_templates import CompiledTemplates
from prodfix.blueprints.diagnostics.guard import guarded
from prodfix.blueprints.diagnostics.sparklines import sparks

_HERE = Path(__file__).parent
ASSETS = _HERE / "assets"
FIRST = (
    *("base", "overview", "_overview", "_macros", "_plot", "_counted", "_kinds", "_workers"),
    *("groups", "group", "_kind_plot", "_stack", "errors", "request", "error"),
)
"""Templates of the pages that somebody opens who is told of an error."""
HEADLINE = 140  # characters of a text that is read at a glance
AGO = (("min", 60, 3600), ("h", 3600, 48 * 3600), ("days", 86400, 60 * 86400))
"""The unit, its seconds, and the seconds up to which it is used."""


def rendered(template: str, **values: Any) -> str:
    """A page, or a part of one. It is for a request to the diagnostics."""
    return _environment().get_template(f"diagnostics/{template}").render(values)


def templates() -> Iterator[None]:
    """Have :data:`FIRST` at hand, one by one; another page needs one more."""
    for name in FIRST:
        _environment().get_template(f"diagnostics/{name}.html")
        yield


def asset(name: str) -> str:
    """The address of a stylesheet or script, which changes with its content."""
    return url_for(f"{guarded().name}.sign_in.assets", name=name, v=_digest(name))


@cache
def _environment() -> Environment:
    """Made for the first admin who looks."""
    kept = CompiledTemplates(_HERE / "__pycache__")
    made = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, bytecode_cache=kept)
    made.globals |= {"url_for": url_for, "asset": asset}
    made.filters |= {"named": named}
    made.filters |= {"iso": _written, "unit": "{:.1f}".format}
    made.filters |= {"brief": brief, "clock": clock, "ago": ago, "sparks": sparks, "category_name": category_name}
    return made


@cache
def _digest(name: str) -> str:
    return blake2b((ASSETS / name).read_bytes(), digest_size=6).hexdigest()


@pass_context  # or Jinja would call it once, when it compiles the template, for whatever application that is
def named(context: Context, text: str) -> str:
    """With the names that settings have in the application that is asked."""
    return current_prodfix.named(text)


def _written(moment: datetime | str) -> str:
    """As all moments are written; one that was asked for is text already."""
    return iso(moment) if isinstance(moment, datetime) else moment


def category_name(name: str) -> str:
    """A category as people call it: what nobody has expected is a bug. The API keeps the code."""
    return "bug" if name == "unknown" else name.strip("_").replace("_", " ")


def brief(text: str) -> str:
    """What fits into three lines or so; the whole belongs into the ``title`` beside it."""
    return text if len(text) <= HEADLINE else f"{text[: HEADLINE - 1].rstrip()}…"


def clock(moment: datetime | str, seconds: bool = False) -> str:
    """``2026-11-26 10:04 UTC``."""
    written = _written(moment)
    return f"{written[:10]} {written[11 : 19 if seconds else 16]} UTC"


def ago(moment: datetime | str) -> str:
    """``4 min ago``, as ``shell.js`` goes on to say it."""
    then = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    passed = max(0.0, (datetime.now(UTC) - then).total_seconds())
    if passed < 60:
        return "just now"
    for word, seconds, end in AGO:
        if passed < end:
            count = int(passed // seconds)
            return f"{count} {word} ago"
    return f"on {_written(moment)[:10]}"
