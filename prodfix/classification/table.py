"""The table of errors as it is printed: every type, server's code, label and HTTP status with its meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prodfix.classification import outbound, wrappers
from prodfix.classification.by_name import Name
from prodfix.classification.classifications import INTERNAL_ERROR, INVALID, Classification, Row
from prodfix.classification.classifier import Classifier
from prodfix.classification.error_types import LABELS, NOTES
from prodfix.classification.foreign import KNOWN
from prodfix.classification.rows import LATER
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.classification.web_errors import NAMED, STATUSES

_OF_AN_OUTCOME = ("kind", "key", "name", "outcome", "own", "note")
_RULES = {
    "always": "decides",
    "vague": "decides if the code says no more than DATABASE_ERROR and the connection was not lost",
    "outcome": "only the outcome, where it was unknown",
}


def entries(classifier: Classifier) -> list[dict[str, Any]]:
    """Rows with ``kind`` (``type``, ``code``, ``label`` or ``status``), ``key``, ``name``, ``own`` (an application's), and what
    the error means: ``category``, ``status``, ``code``, ``severity``, ``transient``, ``retryable``, ``outcome``. A type
    whose errors are looked into one by one has only a ``note``, and a label that gives an outcome has only that and one."""
    return [*_types(classifier), *_codes(), *_labels(), *_statuses()]


def _types(classifier: Classifier) -> Iterator[dict[str, Any]]:
    known: dict[str, tuple[Row, bool, str]] = {
        ".".join(name): (row, False, NOTES.get(name, "")) for name, row in LATER.items()
    }
    for kind, row in dict(classifier.rows).items():
        own = kind in classifier.own
        note = NOTES.get(kind) or NOTES.get((kind.__module__, kind.__name__), "")
        known[_name(kind)] = (row, own, "" if own else note)
    known |= {f"{module}.{name}": (row, False, "") for (module, name), row in NAMED.items()}
    known |= {f"{package}.{name}": (INVALID, False, "") for package, name in KNOWN}
    elsewhere: dict[Name, Row] = {**outbound.ROWS, **outbound.RULES, **wrappers.ROWS}
    known |= {".".join(name): (row, False, outbound.NOTES.get(name, "")) for name, row in elsewhere.items()}
    for (package, name), note in wrappers.NOTES.items():
        row, own, _ = known.get(f"{package}.{name}", (INTERNAL_ERROR, False, ""))
        known[f"{package}.{name}"] = (row, own, note)
    for name, (row, own, note) in sorted(known.items()):
        if isinstance(row, Classification):
            yield _entry("type", name, name, row, own=own) | ({"note": note} if note else {})
        else:
            yield {"kind": "type", "key": name, "name": name, "own": own, "note": note or "decided error by error"}


def _codes() -> Iterator[dict[str, Any]]:
    for code, (name, row) in SERVER_CODES.items():
        yield _entry("code", code, name, row)


def _labels() -> Iterator[dict[str, Any]]:
    for label, (row, rule) in LABELS.items():
        entry = _entry("label", label, label, row) | {"note": _RULES[rule]}
        yield {key: value for key, value in entry.items() if rule != "outcome" or key in _OF_AN_OUTCOME}


def _statuses() -> Iterator[dict[str, Any]]:
    for status, row in STATUSES.items():
        yield _entry("status", status, row.code, row)


def _entry(kind: str, key: str | int, name: str, row: Classification, *, own: bool = False) -> dict[str, Any]:
    return {
        "kind": kind,
        "key": key,
        "name": name,
        "category": str(row.category),
        "status": row.status,
        "code": row.code,
        "severity": str(row.severity),
        "transient": row.transient,
        "retryable": row.retryable,
        "outcome": str(row.outcome) if row.outcome else None,
        "own": own,
    }


def _name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
