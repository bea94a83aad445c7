"""Events of kinds of errors on their way: put into its journal by the worker that saw one, and made an alert by the leader."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from prodfix.alert_settings import AlertKind
from prodfix.alerts.alert import MOST_MEMBERS, Alert
from prodfix.alerts.kind_events import EARLY_PAUSE, GATHERED, PAUSE, event_key, event_of_row, row_key
from prodfix.alerts.leader import DISK_LIMIT
from prodfix.alerts.leader_state import LeaderState
from prodfix.journal.journal import Journal
from prodfix.journal.news import News
from prodfix.workers.workers import KNOWN

MOST_ALERTS = 500  # each event of a kind of error is one
FURTHER = (
    "further:new_kind"  # the row of kinds that are not told apart: no event of a kind, so an older release skips it
)
NEWS = 3600.0  # seconds in which such an event is told by the worker that saw it
_ESCALATION = ("seen", "expected", "bound", "minutes", "days")  # how it was decided that a kind escalates, in figures

# The table is called after the first event that there was.
_PUT = (
    "INSERT INTO regressions (fingerprint, at, entry) VALUES (?, ?, ?) ON CONFLICT (fingerprint)"
    " DO UPDATE SET at = excluded.at, entry = excluded.entry"
)
_OLD = "DELETE FROM regressions WHERE at < ?"
_READ = f"SELECT fingerprint, at, entry FROM regressions WHERE at > ? ORDER BY at LIMIT {2 * MOST_MEMBERS}"  # noqa: S608


class EventRows:
    """Of one worker. ``version`` is another one whenever a journal has changed, None while nobody can say."""

    def __init__(self, journal: Journal, version: Callable[[], object | None]) -> None:
        self._journal = journal
        self.unread: str | None = None
        """Why the journals do not tell; None while they do."""
        self._changes = News(version, rest=KNOWN)

    def put(self, kind: AlertKind, group: Mapping[str, Any], now: float) -> None:
        """Seen by this worker, and to be told by the leader."""
        entry = {"fingerprint": group["fingerprint"], "error": group["message"], "releases": group["releases"]}
        entry |= {"early": True} if group.get("early") else {}
        entry |= {"ignoredUntil": group["ignoredUntil"]} if "ignoredUntil" in group else {}
        figures = group.get("escalation") or {}
        entry |= {name: figures[name] for name in _ESCALATION if name in figures}
        row = (row_key(kind, group["fingerprint"]), now, orjson.dumps(entry))
        self._journal.offer([(_OLD, (now - NEWS,)), (_PUT, row)], limit=DISK_LIMIT)

    def put_further(self, number: int, now: float) -> None:
        """So many kinds are not told apart beside the new ones that were put just before."""
        row = (FURTHER, now, orjson.dumps({"further": number}))
        self._journal.offer([(_OLD, (now - NEWS,)), (_PUT, row)], limit=DISK_LIMIT)

    def forget(self) -> None:
        """Whoever led before knew what was news."""
        self._changes.forget()

    def see(self, state: LeaderState, on: frozenset[AlertKind], now: float) -> list[Alert]:
        """Make alerts of what is news, by the rules that are ``on``; those that have begun."""
        begun = []
        told = {member for alert in state.alerts.values() if alert.kind == "new_kind" for member in alert.members}
        for row, at, content in self._rows(now):
            if row == FURTHER and "new_kind" in on:
                _add_further(state, int(orjson.loads(content)["further"]), at)
            event = event_of_row(row)
            if event is None or event[0] not in on:
                continue
            entry = orjson.loads(content)
            if event[0] == "new_kind":
                if event[1] not in told:
                    told.add(event[1])
                    begun.append(_gathered(state, entry, at, now))
            else:
                begun.append(_happened(state, Alert(event_key(*event), event[0]), entry, at))
        return [alert for alert in begun if alert is not None]

    def _rows(self, now: float) -> list[tuple[Any, ...]]:
        """Those that may be news: none, while no journal has changed since this worker has seen them."""
        found = self._changes.begin()
        if found is None:
            return []
        try:
            rows = self._journal.read(_READ, (now - NEWS,))
        except (OSError, sqlite3.Error) as error:  # a TimeoutError is one
            self.unread = type(error).__name__
            return []
        self.unread = None
        self._changes.done(found)
        return sorted(rows, key=lambda row: float(row[1]))


def _happened(state: LeaderState, made: Alert, entry: Mapping[str, Any], at: float) -> Alert | None:
    if made.key not in state.alerts and len(state.alerts) >= MOST_ALERTS:
        return None  # the log has them all
    alert = state.alerts.setdefault(made.key, made)
    return alert if alert.happen(entry, at) else None


def _gathered(state: LeaderState, entry: Mapping[str, Any], at: float, now: float) -> Alert | None:
    """Many new kinds at once are one alert, which waits a moment for others, and longer if one was told just before."""
    pause = EARLY_PAUSE if entry.get("early") else PAUSE
    entry = {name: fact for name, fact in entry.items() if name != "early"}
    fingerprint = str(entry["fingerprint"])
    others = [one for one in state.alerts.values() if one.kind == "new_kind"]
    if any(one.covers(at) for one in others):
        return None
    waiting = next((one for one in others if one.owed == "begin"), None)
    if waiting is not None:
        waiting.join(entry, at)
        return None
    made = _happened(state, Alert(event_key("new_kind", fingerprint), "new_kind"), entry, at)
    if made is not None:
        rest = state.gathered_at + pause if 0 <= now - state.gathered_at < pause else 0.0
        made.due = max(now + GATHERED, rest)
    return made


def _add_further(state: LeaderState, number: int, at: float) -> None:
    """To the alert of the new kinds that came with them: rows of one hour are read again and again, so it must be that one."""
    begun = [one for one in state.alerts.values() if one.kind == "new_kind" and one.since <= at <= one.since + NEWS]
    if begun:
        max(begun, key=lambda one: one.since).add_further(number)
