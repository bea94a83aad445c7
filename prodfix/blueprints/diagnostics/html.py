"""HTML, by an environment of the diagnostics' own: an application's templates, filters, globals and delimiters are its own.

What it has called ``asset`` or ``diagnostics/base.html`` is not taken for ours, nor ours for its.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from flask import url_for
from jinja2 import Environment, FileSystemLoader

from prodfix import iso
from prodfix.blueprints.diagnostics.guard import guarded

_HERE = Path(__file__).parent
ASSETS = _HERE / "assets"


def rendered(template: str, **values: Any) -> str:
    """A page, or a part of one. It is for a request to the diagnostics."""
    return _environment().get_template(f"diagnostics/{template}").render(values)


def asset(name: str) -> str:
    """The address of a stylesheet or script, which changes with its content."""
    return url_for(f"{guarded().name}.sign_in.assets", name=name, v=_digest(name))


@cache
def _environment() -> Environment:
    """Made for the first admin who looks."""
    made = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True)
    made.globals |= {"url_for": url_for, "asset": asset}
    made.filters["iso"] = _written
    return made


@cache
def _digest(name: str) -> str:
    return blake2b((ASSETS / name).read_bytes(), digest_size=6).hexdigest()


def _written(moment: datetime | str) -> str:
    """As all moments are written; one that was asked for is text already."""
    return iso(moment) if isinstance(moment, datetime) else moment
