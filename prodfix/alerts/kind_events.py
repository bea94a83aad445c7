"""What happens to a kind of error: it is new, it escalates, it is back, or ignored no more. And what admins have decided of it,
which ends it.

Whether a kind is new is told by the groups (:meth:`prodfix.statistics.groups.Groups.begun`): a database that was not watched
before knows no kind. So in the hour after any instance first watched it the first one is told as at any time, for whoever waits
to see an alert, and the others gather for longer. A new instance of a service that is known has no such hour.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo.synchronous.database import Database

from prodfix.alert_settings import AlertKind
from prodfix.alerts.alert import Alert
from prodfix.alerts.conditions import EVENTS
from prodfix.slotted import frozen
from prodfix.statistics.decisions import Decision, decision_of
from prodfix.statistics.groups import ERROR_GROUPS

GATHERED = 10.0  # seconds in which new kinds become one alert, after the first of them
PAUSE = 300.0  # seconds after such an alert in which others gather for the next one
EARLY_PAUSE = 1800.0  # the same of kinds of the first hour
OF_CLIENTS = frozenset({"validation", "authentication", "authorization", "duplicate_key", "conflict", "client"})
"""Categories that clients are to blame for, not the service."""


def event_key(kind: AlertKind, fingerprint: str) -> str:
    return f"{kind}:{fingerprint}"


def row_key(kind: AlertKind, fingerprint: str) -> str:
    """Of the journal's row; that of a regression has always been its fingerprint."""
    return fingerprint if kind == "regression" else event_key(kind, fingerprint)


def event_of_row(key: str) -> tuple[AlertKind, str] | None:
    """The kind of event, and the fingerprint; None of one that another release has written."""
    kind, divided, fingerprint = key.rpartition(":")
    if not divided:
        return "regression", key
    return (kind, fingerprint) if kind in EVENTS else None


@frozen
class KnownKind:
    """What MongoDB knows of a kind. ``escalates``: nobody has looked and found that it does not any more. ``decided_at``: when an
    admin has said last what state it is in, in seconds since the epoch."""

    decision: Decision
    escalates: bool
    decided_at: float = 0.0


def decisions(database: Database[Any], fingerprints: Collection[str]) -> dict[str, KnownKind]:
    """What admins have decided of these kinds. Raises what MongoDB says."""
    return {row["_id"]: _known(row) for row in database[ERROR_GROUPS].find({"_id": {"$in": sorted(fingerprints)}})}


def _known(row: Mapping[str, Any]) -> KnownKind:
    at = (row.get("decided") or {}).get("state")
    decided_at = _seconds(at) if isinstance(at, datetime) else 0.0
    return KnownKind(decision_of(row), row.get("escalation") is not None, decided_at)


def over(alert: Alert, known: Mapping[str, KnownKind]) -> bool:
    """Whether an admin has decided of all that the event is of, or it has escalated and does not any more, or nobody wanted to
    hear of it in the first place."""
    calm = all(fingerprint in known and not known[fingerprint].escalates for fingerprint in alert.members)
    escalated = alert.kind == "escalating" and bool(alert.members)
    return decided(alert, known) or (escalated and calm) or (alert.notified is None and unheard(alert, known))


def decided(alert: Alert, known: Mapping[str, KnownKind]) -> bool:
    """Whether all that the event is of was resolved or ignored after it happened; or, of one that is open again, opened. A
    kind that MongoDB does not have was not."""
    return bool(alert.members) and all(
        fingerprint in known and _after(known[fingerprint], alert) for fingerprint in alert.members
    )


def unheard(alert: Alert, known: Mapping[str, KnownKind]) -> bool:
    """Whether nobody wants to hear of it: it is ignored, and not only until it escalates."""
    kinds = [known.get(fingerprint) for fingerprint in alert.members]
    found = [kind.decision if kind is not None else None for kind in kinds]
    return bool(found) and all(
        one is not None and one.ignored is not None and not (alert.kind == "escalating" and one.ignored.escalates)
        for one in found
    )


def _after(known: KnownKind, alert: Alert) -> bool:
    one = known.decision
    if one.status == "ignored" and one.ignored is not None:
        return _seconds(one.ignored.at) >= alert.since
    if one.status == "open" and alert.kind in (
        "regression",
        "unignored",
    ):  # it is open work now, and nobody said that it was done
        return known.decided_at >= alert.since
    return one.status == "resolved" and one.resolved_at is not None and _seconds(one.resolved_at) >= alert.since


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
