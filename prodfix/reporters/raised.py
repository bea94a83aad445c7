"""The exceptions of a record as trackers want them: each with its type, its words and its frames."""

from __future__ import annotations

import re
from typing import Any

from prodfix.records.records import ErrorRecord
from prodfix.redaction.redactor import redact_text
from prodfix.settings import Settings
from prodfix.slotted import frozen

_FRAME = re.compile(r"  (.{1,500}):(\d{1,9}) in (.{1,200})")


@frozen
class RaisedFrame:
    """``application``: the frame is one of the application's own."""

    file: str
    line: int
    function: str
    application: bool


@frozen
class Raised:
    """One exception. ``module`` is that of its class."""

    module: str
    kind: str
    words: str
    frames: tuple[RaisedFrame, ...]


def raised(record: ErrorRecord) -> list[Raised]:
    """What was raised, the first cause first, the error itself last; frames with the outermost first.

    All of it is what the record has for a log: places without a source line, and words that are redacted.
    """
    parts = [part for part in record.stack.split("\nwhich led to\n") if part]
    told = record.summary.split(" <- ")
    own = frozenset(record.places)
    if not parts:
        return [Raised("", record.error_type, _words(told[0], record.error_type), ())]
    found = []
    for number, part in enumerate(reversed(parts)):  # as the summary has them
        head, *lines = part.splitlines()
        module, _, kind = head.rpartition(".")
        words = _words(told[number], kind) if number < len(told) else ""
        found.append(Raised(module, kind, words, _frames(lines, own)))
    return found[::-1]


def _words(told: str, kind: str) -> str:
    return told.removeprefix(kind).removeprefix(":").strip()


def _frames(lines: list[str], own: frozenset[str]) -> tuple[RaisedFrame, ...]:
    found = [match for line in lines if (match := _FRAME.fullmatch(line)) is not None]
    return tuple(
        RaisedFrame(file, int(line), function, f"{file}:{function}" in own)
        for file, line, function in (match.groups() for match in found)
    )


def tags_of(record: ErrorRecord) -> dict[str, str]:
    """By what trackers search: short words, of which each has few values but the request's ID."""
    tags = {
        "request_id": record.request_id,
        "prodfix.code": record.meaning.code,
        "prodfix.category": str(record.meaning.category),
        "outcome": None if record.outcome is None else str(record.outcome),
        "http.status_code": None if record.answered is None else str(record.status),
    }
    return {name: value for name, value in tags.items() if value}


def known_of(record: ErrorRecord) -> dict[str, Any]:
    """What else the record has of use to who looks at it elsewhere: the shape of the operation, and facts."""
    document = record.to_document()
    kept = {name: document[name] for name in ("database", "facts", "retryable", "answeredBy")}
    if document["recovery"]["attempted"]:
        kept["recovery"] = document["recovery"]
    return {name: value for name, value in kept.items() if value not in (None, {}, "")}


def server_of(settings: Settings) -> str:
    """The name of this instance, as alerts tell it."""
    return redact_text(settings.instance)
