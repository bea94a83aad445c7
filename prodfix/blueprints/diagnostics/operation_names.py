"""What the document calls an endpoint, where its declaration does not say so: made of its method and path.

``GET /errors/groups/<fingerprint>`` is ``getErrorGroup``, ``POST /deferred/<operation_id>/replay`` is
``replayDeferredWrite``, and ``GET`` of what answers pages begins with ``list``.
"""

from __future__ import annotations

import re

_TAGS = {
    "alerts": "Alerts",
    "connection-events": "Database",
    "database": "Database",
    "deferred": "Deferred writes",
    "endpoints": "Requests",
    "errors": "Errors",
    "incidents": "Incidents",
    "log-level": "Workers",
    "queries": "Queries",
    "requests": "Requests",
    "stacks": "Workers",
    "test": "Database",
}
TAGS = {
    "Errors": "What fails, kind by kind, and what is done about it",
    "Requests": "One request, and how routes are",
    "Incidents": "Outages and jumps of the error rate",
    "Alerts": "What is wrong now, and who was told",
    "Queries": "What the application asks of its database",
    "Database": "How the database is, and whether it works",
    "Deferred writes": "What waits on disk, or was put aside",
    "Workers": "What the processes of this instance do now",
    "Health": "For monitors and platforms; no token",
    "Operations": "For the client whose write was deferred",
}
"""Each with a description. What is not here has the first part of its path for a tag."""

_VARIABLE = re.compile(r"<(?:\w+:)?\w+>")
_MORE_WORDS = {"deferred": "deferred-writes"}
_VERBS = {"PUT": "set", "PATCH": "change", "DELETE": "delete"}


def tag_of(rule: str) -> str:
    """By the first part of the path."""
    first = rule.strip("/").partition("/")[0]
    return _TAGS.get(first, first.replace("-", " ").capitalize())


def operation_of(method: str, rule: str, *, paged: bool) -> str:
    """The operationId."""
    parts = rule.strip("/").split("/")
    names = [_MORE_WORDS.get(part, part) for part in parts if not _VARIABLE.fullmatch(part)]
    one = _VARIABLE.fullmatch(parts[-1]) is not None
    if method == "POST" and len(names) > 1:
        # The last part says what is to be done: to one thing, if a variable stands before it.
        verb, names, one = names[-1], names[:-1], _VARIABLE.fullmatch(parts[-2]) is not None
    elif method == "POST":
        verb = "make"
    else:
        verb = _VERBS.get(method, "list" if paged and not one else "get")
    words = [*map(_singular, names[:-1]), _singular(names[-1]) if one else names[-1]]
    return _joined(verb) + "".join(word[:1].upper() + word[1:] for word in map(_joined, words))


def _singular(name: str) -> str:
    if name.endswith("ies"):
        return name[:-3] + "y"
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def _joined(name: str) -> str:
    """``connection-events`` -> ``connectionEvents``."""
    head, *rest = re.split(r"[-_.]", name)
    return head + "".join(map(str.capitalize, rest))


def camel(name: str) -> str:
    """``operation_id`` -> ``operationId``, as a variable of a path is called in the document."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
