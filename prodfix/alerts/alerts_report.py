"""What the workers answer of alerts: the same in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from prodfix.alerts.alert import Alert, Notified
from prodfix.alerts.conditions import AlertKind
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.messages import WORDS, AlertPart
from prodfix.alerts.notifications import KEPT, Delivery, DeliveryState, Notification, newest
from prodfix.context import iso

Told = Literal["by this instance", "by another instance", "not yet", "no channels"]

_TOLD: dict[Notified, Told] = {
    "alone": "by this instance",
    "claimed": "by this instance",
    "joined": "by another instance",
}


class _Answer:
    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        return {_camel(one.name): _plain(getattr(self, one.name)) for one in fields(self)}  # type: ignore[arg-type]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return iso(value)
    return value.to_json() if isinstance(value, _Answer) else value


@dataclass(frozen=True, slots=True)
class FiringAlert(_Answer):
    """Something that is wrong now. ``facts`` are codes and counts."""

    key: str
    kind: AlertKind
    severity: str
    title: str
    since: datetime
    facts: Mapping[str, Any]
    told: Told


@dataclass(frozen=True, slots=True)
class ChannelDelivery(_Answer):
    """``channel`` is the scheme and number of its URL."""

    channel: str
    state: DeliveryState
    attempts: int
    reason: str | None
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True)
class SentAlert(_Answer):
    """What was told, with what became of it on each channel."""

    id: str
    key: str
    kind: AlertKind
    part: AlertPart
    severity: str
    title: str
    at: datetime
    channels: tuple[ChannelDelivery, ...]


@dataclass(frozen=True, slots=True)
class LeadingWorker(_Answer):
    worker: str
    pid: int


@dataclass(frozen=True, slots=True)
class AlertsReport(_Answer):
    """``alarms`` are the alerts that fire, the oldest first; ``alerts`` what was told, the newest first. ``complete`` is false if
    the leader's file cannot be read, or is not as it was written. ``sender`` is the worker that leads."""

    scope: Literal["instance"]
    complete: bool
    channels: tuple[str, ...]
    sender: LeadingWorker | None
    alarms: tuple[FiringAlert, ...]
    alerts: tuple[SentAlert, ...]
    sent: int
    failed: int
    held_back: int


def reported(
    state: LeaderState, workers: list[dict[str, Any]], *, channels: Mapping[str, str], complete: bool
) -> AlertsReport:
    leading = [LeadingWorker(one["worker"], one["pid"]) for one in workers if one.get("alerts", {}).get("sender")]
    firing = sorted((alert for alert in state.alerts.values() if alert.firing), key=lambda alert: alert.since)
    totals = state.totals
    return AlertsReport(
        scope="instance",
        complete=complete,
        channels=tuple(channels),
        sender=leading[0] if leading else None,
        alarms=tuple(_firing(alert, configured=bool(channels)) for alert in firing),
        alerts=tuple(_sent(one) for one in newest(state.notifications)[:KEPT]),
        sent=totals.sent,
        failed=totals.failed,
        held_back=totals.held,
    )


def _firing(alert: Alert, *, configured: bool) -> FiringAlert:
    untold: Told = "not yet" if configured else "no channels"
    told = _TOLD[alert.notified] if alert.notified else untold
    title, since = WORDS[alert.kind].begin, _moment(alert.since)
    return FiringAlert(alert.key, alert.kind, str(alert.severity), title, since, alert.facts, told)


def _sent(one: Notification) -> SentAlert:
    deliveries = tuple(_delivery(name, delivery) for name, delivery in one.channels.items())
    return SentAlert(one.id, one.key, one.kind, one.part, one.severity, one.title, _moment(one.at), deliveries)


def _delivery(channel: str, one: Delivery) -> ChannelDelivery:
    next_at = _moment(one.next_at) if one.state == "waiting" and one.attempts else None
    return ChannelDelivery(channel, one.state, one.attempts, one.reason, next_at)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
