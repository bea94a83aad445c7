"""What the workers answer of alerts: the same in each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from prodfix.alert_settings import ALERT_KINDS, AlertKind
from prodfix.alerts.alert import Alert, Notified
from prodfix.alerts.alert_routing import Routing
from prodfix.alerts.conditions import EVENTS, SEVERITIES
from prodfix.alerts.leader_state import LeaderState
from prodfix.alerts.messages import WORDS, AlertPart, NotificationKind
from prodfix.alerts.mutes import EVER, MutedRule, MuteMap, muted_rules, muted_until
from prodfix.alerts.notifications import KEPT, Delivery, DeliveryState, Notification, newest
from prodfix.errors import Severity
from prodfix.redaction.redactor import redact_document
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen
from prodfix.statistics.windows import Scope
from prodfix.workers.worker_state import WorkerState

Told = Literal["by this instance", "by another instance", "not yet", "no channels", "muted", "hours of quiet"]
RuleState = Literal["on", "off", "muted"]

_TOLD: dict[Notified, Told] = {
    "alone": "by this instance",
    "claimed": "by this instance",
    "joined": "by another instance",
}


@frozen
class FiringAlert(Serializable):
    """Something that is wrong now. Of a kind of error that is back or escalates ``facts`` have its fingerprint and title."""

    key: str
    kind: AlertKind
    severity: Severity
    title: str
    since: Annotated[datetime, Description("Its newest beginning")]
    facts: Annotated[Mapping[str, Any], Description("Codes and counts")]
    told: Told
    first: Annotated[datetime | None, Description("Its first one, if it came back before its end was told")] = None


@frozen
class RuleReport(Serializable):
    """A rule, whether it is looked at, and who hears of it."""

    rule: AlertKind
    title: str
    severity: Severity
    event: Annotated[bool, Description("It happens, and is over when an admin has decided of the kind of error")]
    state: RuleState
    muted_until: Annotated[datetime | None, Description("null, if it is not muted, or for ever")]
    channels: tuple[str, ...]


@frozen
class QuietReport(Serializable):
    """The hours in which only critical alerts are told."""

    hours: str
    now: bool
    ends: datetime


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
    kind: NotificationKind
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
    muted: Annotated[int, Description("Beginnings that nobody was told of, as they were muted")] = 0
    mutes: tuple[MutedRule, ...] = ()
    quiet: Annotated[QuietReport | None, Description("null without `ALERT_QUIET_HOURS`")] = None
    rules: tuple[RuleReport, ...] = ()


def reported(
    state: LeaderState,
    workers: Sequence[WorkerState],
    *,
    routing: Routing,
    mutes: MuteMap,
    now: float,
    complete: bool,
) -> AlertsReport:
    channels = routing.channels
    leading = [LeadingWorker(one.worker, one.pid) for one in workers if one.alerts.sender]
    firing = sorted(
        (one for one in state.alerts.values() if one.wrong and one.kind in routing.on), key=lambda alert: alert.since
    )
    totals, quiet = state.totals, routing.quiet
    return AlertsReport(
        scope="instance",
        complete=complete,
        channels=tuple(channels),
        sender=leading[0] if leading else None,
        alarms=tuple(_firing(alert, configured=bool(routing.of(alert.kind))) for alert in firing),
        alerts=tuple(_sent(one) for one in newest(state.notifications)[:KEPT]),
        sent=totals.sent,
        failed=totals.failed,
        held_back=totals.held,
        muted=totals.muted,
        mutes=tuple(muted_rules(mutes, now)),
        quiet=QuietReport(str(quiet), quiet.now(now), _moment(quiet.over(now))) if quiet is not None else None,
        rules=tuple(_rule(kind, routing, muted_until(mutes, kind, now)) for kind in ALERT_KINDS),
    )


def heard_elsewhere(workers: Sequence[WorkerState]) -> str:
    """When other instances hear of what this one was told: the worker that leads brings it into MongoDB."""
    if not workers:
        return "once a worker of this one runs"
    return (
        "within seconds"
        if any(one.connection.state == "connected" for one in workers)
        else "when MongoDB answers again"
    )


def _rule(kind: AlertKind, routing: Routing, muted: float | None) -> RuleReport:
    state: RuleState = "off" if kind not in routing.on else "on" if muted is None else "muted"
    until = _moment(muted) if muted is not None and muted < EVER else None
    title, channels = WORDS[kind].begin, tuple(routing.of(kind))
    return RuleReport(kind, title, SEVERITIES[kind], kind in EVENTS, state, until, channels)


def _firing(alert: Alert, *, configured: bool) -> FiringAlert:
    silent: Mapping[str, Told] = {"quiet": "hours of quiet", "muted": "muted"}
    untold: Told = silent.get(alert.silenced, "not yet") if configured else "no channels"
    told = _TOLD[alert.notified] if alert.notified else untold
    title, since, first = WORDS[alert.kind].begin, _moment(alert.since), _moment(alert.started)
    again = first if alert.again else None
    facts = redact_document(alert.facts) if alert.kind in EVENTS else alert.facts
    return FiringAlert(alert.key, alert.kind, alert.severity, title, since, facts, told, again)


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
