"""What the workers answer of alerts: the same in each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from prodfix.alerts.alert import Alert, Notified
from prodfix.alerts.conditions import AlertKind
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.messages import WORDS, AlertPart
from prodfix.alerts.notifications import KEPT, Delivery, DeliveryState, Notification, newest
from prodfix.errors import Severity
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen
from prodfix.statistics.windows import Scope
from prodfix.workers.worker_state import WorkerState

Told = Literal["by this instance", "by another instance", "not yet", "no channels"]

_TOLD: dict[Notified, Told] = {
    "alone": "by this instance",
    "claimed": "by this instance",
    "joined": "by another instance",
}


@frozen
class FiringAlert(Serializable):
    """Something that is wrong now."""

    key: str
    kind: AlertKind
    severity: Severity
    title: str
    since: datetime
    facts: Annotated[Mapping[str, Any], Description("Codes and counts")]
    told: Told


@frozen
class ChannelDelivery(Serializable):
    """What became of a notification on one channel."""

    channel: Annotated[str, Description("The scheme and number of its URL")]
    state: DeliveryState
    attempts: int
    reason: str | None
    next_try_at: datetime | None


@frozen
class SentAlert(Serializable):
    """What was told, with what became of it on each channel."""

    id: str
    key: str
    kind: AlertKind
    part: AlertPart
    severity: Severity
    title: str
    at: datetime
    channels: tuple[ChannelDelivery, ...]


@frozen
class LeadingWorker(Serializable):
    worker: str
    pid: int


@frozen
class AlertsReport(Serializable):
    """What fires, and what was told of it. ``complete`` is false if the leader's file cannot be read, or is not as it was
    written."""

    scope: Annotated[Scope, Description("`instance` while MongoDB cannot be asked")]
    complete: Annotated[bool, Description("False if the disk did not tell all")]
    channels: tuple[str, ...]
    sender: Annotated[LeadingWorker | None, Description("The worker that tells")]
    alarms: Annotated[tuple[FiringAlert, ...], Description("The oldest first")]
    alerts: Annotated[tuple[SentAlert, ...], Description("The newest first")]
    sent: int
    failed: int
    held_back: int


def reported(
    state: LeaderState, workers: Sequence[WorkerState], *, channels: Mapping[str, str], complete: bool
) -> AlertsReport:
    leading = [LeadingWorker(one.worker, one.pid) for one in workers if one.alerts.sender]
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
    return FiringAlert(alert.key, alert.kind, alert.severity, title, since, alert.facts, told)


def _sent(one: Notification) -> SentAlert:
    deliveries = tuple(_delivery(name, delivery) for name, delivery in one.channels.items())
    return SentAlert(
        one.id, one.key, one.kind, one.part, Severity(one.severity), one.title, _moment(one.at), deliveries
    )


def _delivery(channel: str, one: Delivery) -> ChannelDelivery:
    next_at = _moment(one.next_at) if one.state == "waiting" and one.attempts else None
    return ChannelDelivery(channel, one.state, one.attempts, one.reason, next_at)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
