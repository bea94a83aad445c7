"""The settings as a table for people: ``python -m prodfix.settings_table`` prints it in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from prodfix import settings_values
from prodfix.checked_record import AfterValidator, BeforeValidator, Field, FieldInfo, SecretStr
from prodfix.settings import Settings
from prodfix.settings_sources import HOSTS_URI, PLATFORM, SERVED_ONLY

MEGABYTE = 1024 * 1024
_FORMS: Mapping[Any, str] = {
    settings_values.byte_size: "size, such as `10m` or `512k`",
    settings_values.names: "names such as `orders.status`, divided by commas",
    settings_values.words: "words, divided by commas or white space",
    settings_values.signals: "`traces`, `logs`, `metrics`, divided by commas; `off`; `all`",
    settings_values.pem: "PEM",
    settings_values.moment: "moment, in ISO 8601 or seconds since 1970",
    settings_values.rate: "rate, such as `300/minute`",
    settings_values.trace_template: "address with `{traceId}` in it",
    settings_values.web_address: "address, `http://` or `https://`",
}
_KINDS: Mapping[Any, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret",
    datetime: "moment",
    frozenset[str]: "words",
}

_MILLISECONDS: list[Any] = list(Settings.model_fields["body_timeout_ms"].metadata)


def settings_table(descriptions: Mapping[str, str] | None = None) -> str:
    """Every setting: its name, what it takes, its default, where it is read; and what it is for, by name, if that is given."""
    head = ["name", "takes", "default", "where it is read"] + ["what it is for"] * (descriptions is not None)
    lines = [_row(head), _row(["---"] * len(head))]
    for field, info in Settings.model_fields.items():
        name = field.upper()
        cells = [f"`{name}`", kind_of(info), default_of(info), _place(field)]
        lines.append(_row(cells if descriptions is None else [*cells, descriptions.get(name, "")]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _place(field: str) -> str:
    if field in SERVED_ONLY:
        return "served"
    if field in PLATFORM:
        return "served, host; there also without the prefix"
    if field == "mongodb_uri":
        return f"served, host; there `uri=` comes before it, and `{'`, `'.join(HOSTS_URI)}` of `app.config` after it"
    return "served, host"


def default_of(info: FieldInfo) -> str:
    """As one writes it into the environment; empty where there is none."""
    default = info.default
    if default is None or default in ("", frozenset()):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, Enum):
        return f"`{default.value}`"
    if isinstance(default, frozenset):
        return f"`{','.join(sorted(default))}`"
    if isinstance(default, int) and default >= MEGABYTE and not default % MEGABYTE:
        return f"`{default // MEGABYTE}m`"
    return f"`{default}`"


def kind_of(info: FieldInfo) -> str:
    """What a setting takes, in words."""
    kind, metadata = _unwrapped(info.annotation, list(info.metadata))
    form = next((_FORMS[one.func] for one in metadata if _validates(one) and one.func in _FORMS), None)
    if form is None:
        form = "milliseconds" if metadata == _MILLISECONDS else _kind(kind)
    return form + _limits(metadata)


def _unwrapped(kind: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """What is within ``Annotated`` and beside ``None``, with all that stands on the way."""
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        return _unwrapped(inner, [*metadata, *more])
    if get_origin(kind) in (Union, UnionType):
        return _unwrapped(next(one for one in get_args(kind) if one is not type(None)), metadata)
    return kind, metadata


def _validates(one: Any) -> bool:
    return isinstance(one, (BeforeValidator, AfterValidator))


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{one}`" for one in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"`{one.value}`" for one in kind)
    return _KINDS[kind]


def _limits(metadata: list[Any]) -> str:
    words = [
        f"{word} {limit}{unit}"
        for one in metadata
        if isinstance(one, Field)
        for word, limit, unit in _bounds(one)
        if limit is not None
    ]
    return f", {' '.join(words)}" if words else ""


def _bounds(limits: Field) -> list[tuple[str, float | None, str]]:
    return [
        ("from", limits.ge, ""),
        ("more than", limits.gt, ""),
        ("to", limits.le, ""),
        ("to", limits.lt, ""),
        ("from", limits.min_length, ""),
        ("to", limits.max_length, " characters"),
    ]


if __name__ == "__main__":
    sys.stdout.write(settings_table())
