"""What people are told, and what became of it in each channel. It knows no disk and no network.

One that fails is tried again after 1, 2, 4 ... minutes for an hour; a channel that has it is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, Literal

from prodfix.alerts.messages import AlertPart, NotificationKind
from prodfix.slotted import frozen, mutable

DeliveryState = Literal["waiting", "delivered", "failed"]

FIRST_PAUSE = 60.0  # seconds; then twice as long each time
LIFE = 3600.0  # seconds in which a channel is tried
LATE = 2 * LIFE  # seconds after which it is no news
KEPT = 50  # that are shown


@frozen
class DeliveryResult:
    """What became of one delivery. ``reason`` is a key of ``prodfix.alerts.delivery.REASONS``, None for one that arrived."""

    notification: str
    channel: str
    ok: bool
    reason: str | None = None


@mutable
class Delivery:
    """To one channel. ``next_at`` is when it is tried (again); ``begun``: a try was begun whose result is not known."""

    state: DeliveryState = "waiting"
    attempts: int = 0
    next_at: float = 0.0
    reason: str | None = None
    begun: bool = False

    def begin(self) -> None:
        """It is being sent."""
        self.begun, self.attempts = True, self.attempts + 1

    def end(self, state: DeliveryState, reason: str | None) -> None:
        self.state, self.reason, self.begun = state, reason, False


@mutable
class Notification:
    """``id`` is the episode's and the part's: ``<episode>:begin``. ``at`` is in seconds since the epoch. ``event``: the same as
    ``title`` and ``body``, for programs (:func:`prodfix.alerts.hook_events.event_of`)."""

    id: str
    key: str
    kind: NotificationKind
    part: AlertPart
    severity: str
    title: str
    body: str
    at: float
    channels: dict[str, Delivery] = field(default_factory=dict)
    event: dict[str, Any] = field(default_factory=dict)

    @property
    def episode(self) -> str:
        return self.id.partition(":")[0]

    @property
    def waiting(self) -> list[str]:
        return [name for name, delivery in self.channels.items() if delivery.state == "waiting"]


Notifications = dict[str, Notification]


def due(found: Notifications, now: float, channels: Mapping[str, str]) -> list[tuple[Notification, str]]:
    """What is to be sent now, oldest first. An end waits for its beginning, in each channel."""
    wanted = []
    for one in sorted(found.values(), key=lambda one: (one.at, one.id)):
        for name in one.waiting:
            delivery = one.channels[name]
            if name not in channels:
                delivery.end("failed", "removed")
            elif now - one.at > LATE:
                delivery.end("failed", "late")
            elif not delivery.begun and _has_come(delivery.next_at, now) and not _waits_for_another(found, one, name):
                wanted.append((one, name))
    return wanted


def _has_come(moment: float, now: float) -> bool:
    """One further away than a try is ever put off means that the clock was turned back."""
    return moment <= now or moment > now + LIFE


def _waits_for_another(found: Notifications, one: Notification, channel: str) -> bool:
    return any(
        channel in other.waiting and other.episode == one.episode and (other.at, other.id) < (one.at, one.id)
        for other in found.values()
    )


def record(
    found: Notifications, results: Iterable[DeliveryResult], now: float
) -> list[tuple[Notification, DeliveryResult, DeliveryState]]:
    """What became of tries that were begun; each with the state of its channel now."""
    known: list[tuple[Notification, DeliveryResult, DeliveryState]] = []
    for result in results:
        one = found.get(result.notification)
        delivery = one.channels.get(result.channel) if one is not None else None
        if one is None or delivery is None or delivery.state != "waiting" or not delivery.begun:
            continue
        if result.ok:
            delivery.end("delivered", None)
        elif now >= one.at + LIFE:
            delivery.end("failed", result.reason)
        else:
            delivery.end("waiting", result.reason)
            delivery.next_at = min(now + FIRST_PAUSE * 2 ** max(0, delivery.attempts - 1), one.at + LIFE)
        known.append((one, result, delivery.state))
    return known


def try_again(found: Notifications) -> None:
    """Those at once that have no result: the program that had them is dead."""
    for one in found.values():
        for name in one.waiting:
            one.channels[name].begun = False


def prune(found: Notifications, now: float) -> None:
    """Keep the newest, and all that may still be sent."""
    for one in newest(found)[KEPT:]:
        if one.at < now - LATE:
            del found[one.id]


def newest(found: Notifications) -> list[Notification]:
    """All of them, the newest first."""
    return sorted(found.values(), key=lambda one: (-one.at, one.id))
