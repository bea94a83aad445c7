"""What an admin decides of a kind of error by the forms of its page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import request

from prodfix import current_prodfix
from prodfix.blueprints.diagnostics import change_bodies, parameters
from prodfix.blueprints.diagnostics.guard import admin
from prodfix.blueprints.diagnostics.pages.shell import DONE
from prodfix.models import TimeRange, TriageResult

WINDOWS: dict[TimeRange, str] = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days"}
_WORDS = {
    "resolve": "It is resolved.",
    "reopen": "It is open again.",
    "ignore": "It is ignored: it is counted, and nobody hears of it.",
    "pending": "It is kept on this instance's disk, and holds for all instances when MongoDB is back.",
}


def done_words(change: str | None) -> str | None:
    """What is told of a change that was just made."""
    return _WORDS.get(change or "") or DONE.get(change or "")


def _resolve(fingerprint: str) -> TriageResult:
    later = request.form.get("inNextRelease") == "true"
    return current_prodfix.errors.triage.resolve(fingerprint, _week(), by=admin(), in_next_release=later)


def _reopen(fingerprint: str) -> TriageResult:
    return current_prodfix.errors.triage.reopen(fingerprint, _week(), by=admin())


def _ignore(fingerprint: str) -> TriageResult:
    wanted = parameters.form_of(request, change_bodies.IgnoringFor)
    until = datetime.now(UTC) + timedelta(days=int(wanted.days)) if wanted.days else None
    return current_prodfix.errors.triage.ignore(
        fingerprint, _week(), by=admin(), until=until, more=wanted.more, escalates=bool(wanted.escalates)
    )


def _note(fingerprint: str) -> TriageResult:
    given = parameters.form_of(request, change_bodies.NotingForm).model_dump()
    return current_prodfix.errors.triage.note(fingerprint, _week(), by=admin(), **given)


def _week() -> Any:
    return current_prodfix.requests.statistics.read("7d").window


CHANGES: dict[str, Callable[[str], TriageResult]] = {
    "resolve": _resolve,
    "reopen": _reopen,
    "ignore": _ignore,
    "note": _note,
}
