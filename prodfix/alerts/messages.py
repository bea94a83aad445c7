"""What an alert says: our own words, with codes and counts. No text of an error, host, URI or user is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from prodfix.alerts.conditions import AlertKind
from prodfix.redaction.redactor import redact_text
from prodfix.serialization import iso
from prodfix.slotted import frozen

AlertPart = Literal["begin", "more", "end"]

LONGEST = 4000  # characters of a text
LONGEST_FACT = 300


@frozen
class Words:
    """``begin`` and ``end`` are titles; ``meaning`` says what it means and what to do."""

    begin: str
    end: str
    meaning: str


WORDS: dict[AlertKind, Words] = {
    "database_lost": Words(
        "The database does not answer",
        "The database answers again",
        "Requests that need it are answered with 503; writes that may wait are kept on disk where that is switched on.",
    ),
    "connection_failures": Words(
        "The connection to the database fails again and again",
        "The connection to the database holds",
        "It was lost several times within minutes: look at the network, and at restarts or elections of the database.",
    ),
    "error_rate": Words(
        "Far more requests fail than before",
        "No more requests fail than before",
        "The share of answers with 5xx has jumped. The diagnostics list the kinds of errors and their releases.",
    ),
    "regression": Words(
        "A resolved error is back",
        "",
        "An admin had marked this kind of error as done. The diagnostics have its records.",
    ),
    "dead_letters": Words(
        "Deferred writes were put aside",
        "No deferred write is put aside",
        "They were accepted from clients and cannot be applied. An admin replays or discards them: flask prodfix deferred.",
    ),
    "log_sink": Words(
        "A log cannot be written",
        "All logs are written again",
        "Lines are missing there; the other sinks go on. Look at the disk, and at what reads the console.",
    ),
    "journal_failing": Words(
        "The journal cannot be written",
        "The journal is written again",
        "No write can be deferred; counts and errors are in memory only, which a restart loses. Look at the disk of STATE_DIR.",
    ),
    "journal_full": Words(
        "A journal is nearly full",
        "The journals have room again",
        "Once it is full, writes are refused instead of deferred (DEFERRED_MAX_ENTRIES, DEFERRED_MAX_BYTES).",
    ),
    "journal_damaged": Words(
        "A journal was damaged",
        "No damaged journal is kept",
        "What was whole in it has come home. The file is kept in STATE_DIR/journal until somebody has looked at it: flask prodfix"
        " deferred salvage.",
    ),
    "memory": Words(
        "Server crash imminent: memory",
        "Memory is below the limit again",
        "The workers use nearly all memory that they may have; beyond it the kernel kills them.",
    ),
}

# In their order.
_LABELS = {
    "failed": "failed", "before": "failed before that", "workers": "workers", "losses": "losses", "minutes": "within minutes",
    "dead": "put aside", "sinks": "sinks", "reason": "reason", "percent": "percent used", "files": "damaged files",
    "lost": "acknowledged writes that are gone, at least", "usedMb": "used MB", "limitMb": "limit MB",
    "fingerprint": "fingerprint", "error": "error", "releases": "releases",
}  # fmt: skip


@frozen
class Origin:
    """Where an alert comes from. ``link`` leads to the diagnostics; empty if nobody has said where the service is, or where
    the diagnostics are in it. It is asked with each alert: plug-ins are registered later."""

    instance: str
    release: str = ""
    link: Callable[[], str] = str


def title(kind: AlertKind, part: AlertPart, severity: str) -> str:
    words = WORDS[kind]
    if part == "end":
        return f"[over] {words.end}"
    return f"[{severity}] {words.begin}{': more of them' if part == 'more' else ''}"


def subject(kind: AlertKind, part: AlertPart, severity: str, origin: Origin) -> str:
    """The title of an alert, which may stand among those of other services."""
    return clean(f"{title(kind, part, severity)} ({_shown(origin.instance)})")


def body(
    kind: AlertKind,
    part: AlertPart,
    facts: Mapping[str, Any],
    origin: Origin,
    *,
    severity: str,
    since: float,
    until: float | None = None,
    held: int = 0,
    most: int = 0,
) -> str:
    """The text. ``held``: how many alerts were not sent before it, because ``most`` are sent in an hour."""
    lines = [] if part == "end" else [WORDS[kind].meaning, ""]
    rows: list[tuple[str, Any]] = [("severity", severity), ("since", moment(since))]
    if part == "end" and until is not None:
        rows += [("until", moment(until)), ("lasted seconds", max(0, round(until - since)))]
    else:
        rows += [(_LABELS[name], _shown(facts[name])) for name in _LABELS if facts.get(name)]
    lines += _lines([*rows, *_whence(origin)])
    if held:
        lines += ["", f"not sent before this one: {held} (ALERT_MAX_PER_HOUR is {most})"]
    return clean("\n".join(lines))


def trial(origin: Origin, now: float) -> tuple[str, str]:
    """The title and the text of `flask prodfix alerts test`."""
    rows = _lines([("sent", moment(now)), *_whence(origin)])
    text = "\n".join(["This is a test: alerts of this service arrive here.", "", *rows])
    return clean(f"[test] Alerts arrive ({_shown(origin.instance)})"), clean(text)


def _whence(origin: Origin) -> list[tuple[str, Any]]:
    return [("instance", origin.instance), ("release", origin.release), ("details", origin.link())]


def _lines(rows: list[tuple[str, Any]]) -> list[str]:
    return [f"{label}: {value}" for label, value in rows if value != ""]


def clean(text: str) -> str:
    """Redacted like a log line, though nothing in it should need that."""
    return redact_text(text)[:LONGEST]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name} ({detail})" for name, detail in value.items()]
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return "".join(char for char in str(value) if char.isprintable())[:LONGEST_FACT]


def moment(seconds: float) -> str:
    """``seconds`` since the epoch as ISO 8601 in UTC."""
    return iso(datetime.fromtimestamp(seconds, UTC))
