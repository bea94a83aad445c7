"""Validation errors of libraries that an application may use instead of pydantic, recognised without importing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prodfix.classification import by_name
from prodfix.classification.by_name import Name

MOST = 50

Problem = tuple[tuple[str, ...], str, str]  # path, code, message
Reader = Callable[[Any], Iterable[Problem]]


def problems(error: BaseException) -> list[Problem] | None:
    """What is wrong with which field; ``None`` if ``error`` is no validation error that is known here."""
    reader = by_name.found(READERS, error)
    if reader is None:
        return None
    try:
        return list(reader(error))[:MOST]
    except Exception:  # noqa: BLE001 - another version's: what it is, is known, and only what it says is not
        return []


def _marshmallow(error: Any) -> Iterable[Problem]:
    """``messages``: a dict of lists, nested as the data are (marshmallow.ValidationError)."""
    return _nested(error.messages, ())


def _nested(messages: Any, path: tuple[str, ...]) -> Iterable[Problem]:
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from _nested(inner, path if name == "_schema" else (*path, str(name)))
    else:
        yield path, "invalid", "This value is not valid"


def _jsonschema(error: Any) -> Iterable[Problem]:
    """``absolute_path`` and ``validator`` (jsonschema.ValidationError); its message holds the value."""
    yield tuple(str(part) for part in error.absolute_path), str(error.validator), "This value is not valid"


def _mongoengine(error: Any) -> Iterable[Problem]:
    """``to_dict()``: field names to messages (mongoengine.ValidationError)."""
    return _nested(error.to_dict(), ())


def _pydantic_1(error: Any) -> Iterable[Problem]:
    """``errors()`` of the first pydantic, which the second still has as ``pydantic.v1``; its messages may hold values."""
    for problem in error.errors():
        yield tuple(str(part) for part in problem["loc"]), str(problem["type"]), "This value is not valid"


READERS: dict[Name, Reader] = {
    ("marshmallow", "ValidationError"): _marshmallow,
    ("jsonschema", "ValidationError"): _jsonschema,
    ("mongoengine", "ValidationError"): _mongoengine,
    ("pydantic", "ValidationError"): _pydantic_1,
}
KNOWN = tuple(READERS)
"""Package and name of each class that is known here."""
