"""Alerts on their way: what was sent where, and what is tried again. The rows are in the journal, so that nobody sends twice.

Each channel has its own state. One that fails is tried again after 1, 2, 4 ... minutes for an hour; one that has it is left
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import orjson

from prodfix.alerts.dispatch import Result
from prodfix.alerts.rules import Kind
from prodfix.alerts.texts import moment
from prodfix.journal.journal import Statement

State = Literal["waiting", "delivered", "failed"]

FIRST_PAUSE = 60.0  # seconds; then twice as long each time
LIFE = 3600.0  # seconds in which a channel is tried
KEPT = 50  # alerts that are shown
YOUNG = 2 * LIFE  # seconds in which no row is removed: an older copy of it, in another file, would be sent again

UPSERT = (
    "INSERT INTO alerts (id, revision, at, entry) VALUES (?, ?, ?, ?) ON CONFLICT (id)"
    " DO UPDATE SET revision = excluded.revision, at = excluded.at, entry = excluded.entry WHERE excluded.revision > revision"
)
_NEWEST = f"SELECT id FROM alerts ORDER BY at DESC LIMIT {KEPT}"  # noqa: S608 - a constant
PRUNE = f"DELETE FROM alerts WHERE at < ? AND id NOT IN ({_NEWEST})"  # noqa: S608


@dataclass(slots=True)
class Delivery:
    """To one channel. ``next_at`` is when it is tried (again); ``begun``: a try was begun whose result is not known."""

    state: State = "waiting"
    attempts: int = 0
    next_at: float = 0.0
    reason: str | None = None
    begun: bool = False


@dataclass(slots=True)
class Alert:
    """``id`` is the episode's and the part's: ``<episode>:begin``."""

    id: str
    key: str
    kind: Kind
    part: str
    severity: str
    title: str
    body: str
    at: float
    channels: dict[str, Delivery]
    revision: int = 1

    @property
    def episode(self) -> str:
        return self.id.partition(":")[0]

    @property
    def waiting(self) -> list[str]:
        return [name for name, delivery in self.channels.items() if delivery.state == "waiting"]

    def statement(self) -> Statement:
        entry = {name: getattr(self, name) for name in _KEPT_FIELDS}
        entry["channels"] = {name: asdict(delivery) for name, delivery in self.channels.items()}
        return (UPSERT, (self.id, self.revision, self.at, orjson.dumps(entry)))

    @classmethod
    def from_row(cls, revision: int, entry: bytes) -> Alert:
        values = orjson.loads(entry)
        channels = {name: Delivery(**_known(Delivery, delivery)) for name, delivery in values["channels"].items()}
        return cls(**_known(cls, values) | {"channels": channels, "revision": revision})

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "key": self.key,
            "kind": self.kind,
            "part": self.part,
            "severity": self.severity,
            "title": self.title,
            "at": moment(self.at),
            "channels": [
                {
                    "channel": name,
                    "state": delivery.state,
                    "attempts": delivery.attempts,
                    "reason": delivery.reason,
                    "nextTryAt": moment(delivery.next_at)
                    if delivery.state == "waiting" and delivery.attempts
                    else None,
                }
                for name, delivery in self.channels.items()
            ],
        }


def _now(moment: float, now: float) -> bool:
    """Whether it has come; one further away than a try is ever put off means that the clock was turned back."""
    return moment <= now or moment > now + LIFE


def _known(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What this version knows of; a later one may have written more."""
    return {field.name: values[field.name] for field in fields(kind) if field.name in values}


_KEPT_FIELDS = ("id", "key", "kind", "part", "severity", "title", "body", "at")


@dataclass(slots=True)
class Outbox:
    """The alerts of the instance, as its sender has them."""

    alerts: dict[str, Alert] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, rows: Iterable[tuple[int, bytes]]) -> Outbox:
        """From the rows of all journals; of one alert the highest revision counts."""
        outbox = cls()
        for revision, entry in sorted(rows, key=lambda row: row[0]):
            alert = Alert.from_row(revision, entry)
            outbox.alerts[alert.id] = alert
        return outbox

    def put(self, alert: Alert) -> None:
        """Put it on its way, once: what has the same ID is the same alert."""
        if self.alerts.setdefault(alert.id, alert) is alert:
            self._changed.add(alert.id)

    def due(self, now: float, channels: Mapping[str, str]) -> list[tuple[Alert, str]]:
        """What is to be sent now, oldest first. An end waits for its beginning, in each channel."""
        found = []
        for alert in sorted(self.alerts.values(), key=lambda alert: (alert.at, alert.id)):
            for name in alert.waiting:
                delivery = alert.channels[name]
                if name not in channels:
                    self._end(alert, name, "failed", "removed")
                elif now - alert.at > YOUNG:
                    self._end(alert, name, "failed", "late")
                elif not delivery.begun and _now(delivery.next_at, now) and not self._waits_for_another(alert, name):
                    found.append((alert, name))
        return found

    def _waits_for_another(self, alert: Alert, channel: str) -> bool:
        return any(
            channel in other.waiting
            for other in self.alerts.values()
            if other.episode == alert.episode and (other.at, other.id) < (alert.at, alert.id)
        )

    def begin(self, alert: Alert, channel: str) -> None:
        """It is being sent."""
        delivery = alert.channels[channel]
        delivery.begun, delivery.attempts = True, delivery.attempts + 1
        self._touch(alert)

    def record(self, results: Iterable[Result], now: float) -> list[tuple[Alert, Result, State]]:
        """What became of tries that were begun; each with the state of its channel now."""
        told: list[tuple[Alert, Result, State]] = []
        for result in results:
            alert = self.alerts.get(result.alert)
            delivery = alert.channels.get(result.channel) if alert is not None else None
            if alert is None or delivery is None or delivery.state != "waiting" or not delivery.begun:
                continue
            delivery.begun = False
            pause = FIRST_PAUSE * 2 ** max(0, delivery.attempts - 1)
            if result.ok:
                self._end(alert, result.channel, "delivered", None)
            elif now >= alert.at + LIFE:
                self._end(alert, result.channel, "failed", result.reason)
            else:
                delivery.next_at, delivery.reason = min(now + pause, alert.at + LIFE), result.reason
                self._touch(alert)
            told.append((alert, result, delivery.state))
        return told

    def unsettled(self) -> list[tuple[str, str]]:
        """Tries that were begun and of which nobody has told the result."""
        return [(a.id, name) for a in self.alerts.values() for name in a.waiting if a.channels[name].begun]

    def again(self) -> None:
        """Try those at once that have no result: the courier that had them is dead."""
        for identity, channel in self.unsettled():
            alert = self.alerts[identity]
            alert.channels[channel].begun = False
            self._touch(alert)

    def _end(self, alert: Alert, channel: str, state: State, reason: str | None) -> None:
        delivery = alert.channels[channel]
        delivery.state, delivery.reason, delivery.begun = state, reason, False
        self._touch(alert)

    def _touch(self, alert: Alert) -> None:
        alert.revision += 1
        self._changed.add(alert.id)

    def sent_since(self, begin: float) -> int:
        return sum(alert.at > begin for alert in self.alerts.values())

    def statements(self) -> list[Statement]:
        """What the journal does not have yet; :meth:`saved` says that it has."""
        return [self.alerts[identity].statement() for identity in sorted(self._changed)]

    def saved(self) -> None:
        self._changed.clear()

    def forget(self, now: float) -> None:
        """Keep the newest, and all that are young."""
        ordered = sorted(self.alerts.values(), key=lambda alert: -alert.at)
        for alert in ordered[KEPT:]:
            if alert.at < now - YOUNG:
                del self.alerts[alert.id]

    def shown(self) -> list[dict[str, Any]]:
        """The newest first."""
        newest = sorted(self.alerts.values(), key=lambda alert: (-alert.at, alert.id))[:KEPT]
        return [alert.to_json() for alert in newest]
