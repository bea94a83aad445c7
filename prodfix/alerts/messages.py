"""What an alert says: our own words, with codes and counts. No text of an error, host, URI or user is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from prodfix.alert_settings import AlertKind
from prodfix.errors import Severity
from prodfix.redaction.redactor import redact_text
from prodfix.serialization import iso
from prodfix.slotted import frozen

HeldBy = Literal["quiet", "muted"]
AlertPart = Literal["begin", "more", "end", "summary"]
NotificationKind = Literal[AlertKind, "summary"]
"""Of what is told: of a rule, or what the hours of quiet have held back."""
Report = Callable[[Severity, str, Mapping[str, Any]], None]
"""Writes a line of the log: a message with its facts."""

LONGEST = 4000  # characters of a text
LONGEST_FACT = 300
LONGEST_NAME = 120  # of a kind of error in a title: Opsgenie takes 130


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
    "new_kind": Words(
        "A new kind of error",
        "The new kind of error is resolved or ignored",
        "Not seen before by any instance. Look at the newest stack and release, and resolve or ignore it: that ends this alert.",
    ),
    "escalating": Words(
        "A kind of error escalates",
        "The kind of error is calm again, resolved or ignored",
        "It happens far more often than its last days predict. It is over when it does not, or when it is resolved or ignored.",
    ),
    "regression": Words(
        "A resolved error is back",
        "The error that was back is resolved, ignored or opened again",
        "An admin had marked this kind of error as done. The diagnostics have its records.",
    ),
    "unignored": Words(
        "An ignored kind of error is open again",
        "The kind of error that was ignored is decided of again",
        "What it was ignored until has come: so many more of it, or a time after which it has happened again. Resolve it,"
        " ignore it again, or open it: that ends this alert.",
    ),
    "dead_letters": Words(
        "Deferred writes became dead letters",
        "No dead letter is left",
        "They were accepted from clients and cannot be applied. An admin replays or discards them: flask prodfix deferred.",
    ),
    "storage_failing": Words(
        "Errors and counts cannot be stored",
        "Errors and counts are stored again",
        "Nobody hears of new kinds, regressions and escalations meanwhile; what happens waits on disk, and is in the logs. By its"
        " reason: make room in MongoDB, give its user back the right to write, or bring the database of DIAGNOSTICS_URI back.",
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
    "failed": "failed", "before": "failed before that", "workers": "workers", "kinds": "kinds of errors",
    "more": "further kinds", "errors": "the first of them", "error": "error",
    "ignoredUntil": "ignored until", "releases": "releases", "seen": "seen",
    "losses": "losses", "minutes": "within minutes", "expected": "expected", "bound": "escalates above",
    "days": "judged by its last days", "fingerprint": "fingerprint", "dead": "put aside", "waiting": "records that wait",
    "sinks": "sinks", "reason": "reason", "percent": "percent used", "files": "damaged files",
    "lost": "acknowledged writes that are gone, at least", "usedMb": "used MB", "limitMb": "limit MB",
}  # fmt: skip
_OF_ONE = ("error", "fingerprint")  # of the first, where an alert is of several kinds of errors, which it names


@frozen
class Origin:
    """Where an alert comes from. ``link`` leads to the diagnostics; empty if nobody has said where the service is, or where
    the diagnostics are in it. It is asked with each alert: plug-ins are registered later. ``service`` is the same in all
    instances, and another one in another service."""

    instance: str
    release: str = ""
    link: Callable[[], str] = str
    service: str = "prodfix"


# Below the diagnostics: the page of what an alert is about.
_PAGES: Mapping[str, str] = {
    "database_lost": "/page/database",
    "connection_failures": "/page/database",
    "error_rate": "?timeRange=1h#incidents",
    "dead_letters": "/page/deferred?state=failed",
    "storage_failing": "",  # its banner
    "log_sink": "/page/database",
    "journal_failing": "/page/deferred",
    "journal_full": "/page/deferred",
    "journal_damaged": "/page/deferred",
    "memory": "?timeRange=1h#workers",
    "summary": "/page/alerts",
}


def link_to(kind: NotificationKind, facts: Mapping[str, Any], origin: Origin) -> str:
    """The address of what it is about; empty if nobody knows where the service is."""
    base = origin.link()
    if not base or kind in _PAGES:
        return f"{base}{_PAGES[kind]}" if base else ""
    if facts.get("kinds", 1) > 1:  # more than one kind of error
        return f"{base}/page/groups?sort=newest"
    return f"{base}/page/groups/{facts.get('fingerprint', '')}?timeRange=7d"


def title(kind: AlertKind, part: AlertPart, severity: str, *, kinds: int = 1, more: bool = False) -> str:
    """``more``: there are more than these ``kinds`` of errors, which are not counted or not told apart."""
    words = WORDS[kind]
    if part == "end":
        return f"[over] {words.end}"
    begin = (
        f"{'at least ' if more else ''}{kinds} new kinds of errors" if kind == "new_kind" and kinds > 1 else words.begin
    )
    return f"[{severity}] {begin}{': more of them' if part == 'more' else ''}"


def subject(kind: AlertKind, part: AlertPart, severity: str, origin: Origin, facts: Mapping[str, Any]) -> str:
    """The title of an alert, which may stand among those of other services. Of one kind of error it says which."""
    kinds = facts.get("kinds", 1)
    error = _shown(facts.get("error", ""))[:LONGEST_NAME] if kinds == 1 else ""
    named = f": {error}" if error else ""
    words = title(kind, part, severity, kinds=kinds, more="more" in facts)
    return clean(f"{words}{named} ({_shown(origin.instance)})")


def body(
    kind: AlertKind,
    part: AlertPart,
    facts: Mapping[str, Any],
    origin: Origin,
    *,
    severity: str,
    since: float,
    first: float | None = None,
    until: float | None = None,
    held: int = 0,
    most: int = 0,
) -> str:
    """The text. ``first``: when it was there first, if it has come back since. ``held``: how many alerts were not sent
    before it, because ``most`` are sent in an hour."""
    lines = [] if part == "end" else [WORDS[kind].meaning, ""]
    again = first is not None and first < since
    rows: list[tuple[str, Any]] = [("severity", severity), ("again, since" if again else "since", moment(since))]
    if again and first is not None:
        rows.append(("first", moment(first)))
    if part == "end" and until is not None:
        rows += [("until", moment(until)), ("lasted seconds", max(0, round(until - since)))]
    else:
        hidden = _OF_ONE if facts.get("kinds", 1) > 1 else ()
        rows += [(_LABELS[name], _shown(facts[name])) for name in _LABELS if facts.get(name) and name not in hidden]
    lines += _lines([*rows, *_whence(origin, link_to(kind, facts, origin))])
    if held:
        lines += ["", f"not sent before this one: {held} (ALERT_MAX_PER_HOUR is {most})"]
    return clean("\n".join(lines))


_MEANWHILE: Mapping[HeldBy, str] = {"quiet": "in the hours of quiet", "muted": "while muted"}
_THE_REST: Mapping[HeldBy, str] = {"quiet": "what is still there is told by itself", "muted": "the mute has ended"}


def summary(entries: Sequence[Mapping[str, Any]], dropped: int, why: HeldBy, origin: Origin) -> tuple[str, str]:
    """The title and the text of what was held back, and is over or only happened. ``dropped``: those that are not listed, to
    which come those for which the text has no room."""
    number = len(entries) + dropped
    told = "alert was" if number == 1 else "alerts were"
    lines = [f"{number} {told} held back {_MEANWHILE[why]}; {_THE_REST[why]}.", ""]
    tail = ["", *_lines(_whence(origin, link_to("summary", {}, origin)))]
    room = LONGEST - len("\n".join([*lines, f"and {number} more", *tail])) - 1
    for listed, one in enumerate(entries):
        words = title(one["kind"], "begin", one["severity"], kinds=one.get("kinds", 1), more=one.get("more", False))
        ended = f" until {moment(one['until'])}" if one.get("until") is not None else ""
        what = f": {_shown(one['error'])}" if one.get("error") else ""
        line = f"{moment(one['since'])}{ended} {words}{what}"
        room -= len(line) + 1
        if room < 0:
            dropped = number - listed
            break
        lines.append(line)
    lines += [f"and {dropped} more"] * bool(dropped)
    return clean(f"[summary] {number} {_MEANWHILE[why]} ({_shown(origin.instance)})"), clean("\n".join([*lines, *tail]))


def trial(origin: Origin, now: float) -> tuple[str, str]:
    """The title and the text of `flask prodfix alerts test`."""
    rows = _lines([("sent", moment(now)), *_whence(origin, origin.link())])
    text = "\n".join(["This is a test: alerts of this service arrive here.", "", *rows])
    return clean(f"[test] Alerts arrive ({_shown(origin.instance)})"), clean(text)


def _whence(origin: Origin, link: str) -> list[tuple[str, Any]]:
    return [("instance", origin.instance), ("release", origin.release), ("details", link)]


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
