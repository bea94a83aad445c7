"""What the leader knows: one file, which it alone writes and every worker answers from, so that all say the same.

It is replaced as a whole, by renaming, once its content is on the disk: whoever reads it, and whoever leads after a kill or a
loss of power, has all of one moment. A checksum tells what is not as it was written.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from prodfix.alerts import notifications
from prodfix.alerts.alert import Alert
from prodfix.alerts.conditions import EVENTS, SEVERITIES
from prodfix.alerts.notifications import Notification
from prodfix.journal.file import sync_folder
from prodfix.slotted import mutable

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE = "alerts.json"
LOCK = "alerts.leader"
KEPT = 2 * 86_400.0  # seconds in which what is resolved is remembered, for the cool-down
KEPT_EVENTS = 7 * 86_400.0  # seconds in which an event that was told waits for its end
MOST_HELD = 50  # alerts that the summary of the hours of quiet lists, or of a mute


@mutable
class Totals:
    """Deliveries that arrived and that were given up, and notifications that were held back; ``untold`` of these no
    notification has told; ``muted``: beginnings that nobody wanted to hear of."""

    sent: int = 0
    failed: int = 0
    held: int = 0
    untold: int = 0
    muted: int = 0


@mutable
class LeaderState:
    """Alerts by key, notifications by ID. ``quiet``: what the hours of quiet have held back, and is over; ``quiet_dropped`` more
    are not kept. ``muted`` and ``muted_dropped``: the same of events that a mute holds back. ``gathered_at``: when a new kind of
    error was told last. ``routes``: the channels of who leads, by name, with their rules, for a command that does not have the
    URLs."""

    alerts: dict[str, Alert] = field(default_factory=dict)
    notifications: dict[str, Notification] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    quiet: list[dict[str, Any]] = field(default_factory=list)
    quiet_dropped: int = 0
    muted: list[dict[str, Any]] = field(default_factory=list)
    muted_dropped: int = 0
    gathered_at: float = 0.0
    routes: dict[str, list[str]] = field(default_factory=dict)

    def hold_quiet(self, alert: Alert) -> None:
        """It was there in the hours of quiet, and is told after them."""
        self.quiet_dropped += _held(self.quiet, alert)

    def hold_muted(self, alert: Alert) -> None:
        """It has happened while nobody wanted to hear of it, and is told when that ends."""
        self.muted_dropped += _held(self.muted, alert)

    def prune(self, now: float) -> None:
        """Forget what is old: the file is bounded."""
        for key, alert in list(self.alerts.items()):
            told = alert.kind in EVENTS and alert.notified is not None  # and its end is yet to come
            kept = KEPT_EVENTS if told else KEPT
            if alert.state == "resolved" and alert.owed is None and max(alert.until or 0.0, alert.since) < now - kept:
                del self.alerts[key]
        notifications.prune(self.notifications, now)


def _held(entries: list[dict[str, Any]], alert: Alert) -> bool:
    """Whether there are too many already, and it is only counted."""
    if len(entries) >= MOST_HELD:
        return True
    known = {"key": alert.key, "kind": alert.kind, "severity": str(alert.severity)}
    kinds = {"kinds": len(alert.members) or 1, "more": "more" in alert.facts, "error": alert.facts.get("error", "")}
    entries.append({**known, "since": alert.since, "until": alert.until, **kinds})
    return False


@cache
def _adapter() -> TypeAdapter[LeaderState]:
    """What checks a state that is read. It takes longer to make than the rest of this room, and not every worker leads."""
    from pydantic import TypeAdapter

    return TypeAdapter(LeaderState)


def encode(state: LeaderState) -> bytes:
    content = orjson.dumps(state)
    return orjson.dumps({"crc": zlib.crc32(content), "state": orjson.Fragment(content)})


def decode(content: bytes) -> LeaderState:
    """Raises ``ValueError`` if it is not what was written. What a later release has added is left out."""
    return _adapter().validate_python(_checked(content))


def _checked(content: bytes) -> dict[str, Any]:
    try:
        found: Any = orjson.loads(content)
        state, crc = found["state"], found["crc"]
        known = {key: one for key, one in state["alerts"].items() if one["kind"] in SEVERITIES}
        told = {
            key: one for key, one in state.get("notifications", {}).items() if one["kind"] in {*SEVERITIES, "summary"}
        }
        right = crc == zlib.crc32(orjson.dumps(state))
    except (TypeError, KeyError, AttributeError) as error:  # a TypeError is also what is too deep for orjson
        raise ValueError("it is something else") from error
    if not right:
        raise ValueError("the checksum is another one")
    found_state: dict[str, Any] = state | {"alerts": known, "notifications": told}
    return found_state


def firing(folder: Path) -> dict[str, int]:
    """How many alerts of each kind fire, for who wants no more of it. Raises as :func:`read`."""
    counts = dict.fromkeys(SEVERITIES, 0)
    with contextlib.suppress(FileNotFoundError):
        for one in _checked((folder / FILE).read_bytes())["alerts"].values():
            counts[one["kind"]] += one.get("firing") is True
    return {str(kind): count for kind, count in counts.items()}


def read(folder: Path) -> LeaderState:
    """What stands in the file of ``folder``; nothing if nobody has led there yet. Raises ``OSError`` and ``ValueError``."""
    try:
        return decode((folder / FILE).read_bytes())
    except FileNotFoundError:
        if (folder / LOCK).exists():
            raise
        return LeaderState()


def write(folder: Path, content: bytes) -> None:
    """Replace the file, unless it is just that. Raises ``OSError``."""
    path = folder / FILE
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(folder)
