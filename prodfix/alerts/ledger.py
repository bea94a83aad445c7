"""What the sender remembers: alarms, alerts and counts, in its journal, so that the next one goes on where it stopped.

Every row has a revision and is whole, so that of several files' rows of one thing the highest counts. Rows are never missed
because one was removed: what is old enough to be removed is passed over wherever it still stands.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from prodfix.alerts.alarms import Alarm
from prodfix.alerts.outbox import PRUNE, YOUNG, Outbox
from prodfix.alerts.rules import SEVERITIES
from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal, Statement

TOTALS = "totals"
KEPT = 2 * 86_400.0  # seconds in which an alarm's row counts
TOUCHED = 3600.0  # seconds after which the row of one that fires is written again
REGRESSIONS_KEPT = 3600.0  # seconds

_UPSERT = (
    "INSERT INTO alarms (key, revision, at, entry) VALUES (?, ?, ?, ?) ON CONFLICT (key)"
    " DO UPDATE SET revision = excluded.revision, at = excluded.at, entry = excluded.entry WHERE excluded.revision > revision"
)
_REGRESSION = (
    "INSERT INTO regressions (fingerprint, at, entry) VALUES (?, ?, ?) ON CONFLICT (fingerprint)"
    " DO UPDATE SET at = excluded.at, entry = excluded.entry"
)


@dataclass(slots=True)
class Totals:
    """Deliveries that arrived and that were given up, and alerts that were held back; ``untold`` of these no alert has told."""

    sent: int = 0
    failed: int = 0
    held: int = 0
    untold: int = 0


class Ledger:
    """The rows of all workers, and this one's changes of them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._failures: dict[str, str] = {}
        self.clear()

    @property
    def failure(self) -> str | None:
        """Why the journal did not take or tell something; None while it does. What it did not take comes again."""
        return self._failures.get("write") or self._failures.get("read")

    def clear(self) -> None:
        """Forget all: another worker changes it now."""
        self.alarms: dict[str, Alarm] = {}
        self.outbox = Outbox()
        self.totals = Totals()
        self._totals_revision = 0
        self._written: dict[str, tuple[int, float]] = {}
        self._known_totals: dict[str, int] = asdict(self.totals)

    def load(self, now: float) -> bool:
        """Read what the workers before have left; whether the disk has told all."""
        self.clear()
        rows = self._ask("SELECT key, revision, at, entry FROM alarms WHERE at > ?", (now - KEPT,))
        for key, revision, at, entry in sorted(rows, key=lambda row: row[1]):
            values = orjson.loads(entry)
            if key == TOTALS:
                self.totals = Totals(**{name: values.get(name, 0) for name in Totals.__slots__})
                self._totals_revision = revision
            elif values["kind"] in SEVERITIES:  # not one of a later version, before it was taken back
                self.alarms[key] = Alarm.from_json(values | {"revision": revision})
            self._written[key] = (revision, at)
        self._known_totals = asdict(self.totals)
        self.outbox = Outbox.of(self._ask("SELECT revision, entry FROM alerts"))
        return "read" not in self._failures

    def save(self, now: float) -> None:
        """Write what has changed, in one transaction. Never raises: what is refused comes again, and is told by ``failure``."""
        due = [alarm for alarm in self.alarms.values() if self._due(alarm, now)]
        statements: list[Statement] = [
            (_UPSERT, (alarm.key, alarm.revision, now, orjson.dumps(alarm.to_json()))) for alarm in due
        ]
        totals = asdict(self.totals)
        if totals != self._known_totals:
            self._totals_revision += 1
            statements.append((_UPSERT, (TOTALS, self._totals_revision, now, orjson.dumps(totals))))
        statements += self.outbox.statements()
        if statements and self._write(statements):
            self._written |= {alarm.key: (alarm.revision, now) for alarm in due}
            self._known_totals = totals
            self.outbox.saved()

    def _due(self, alarm: Alarm, now: float) -> bool:
        revision, at = self._written.get(alarm.key, (0, 0.0))
        if alarm.revision == revision and (alarm.firing or alarm.want) and now - at > TOUCHED:
            alarm.revision += 1
        return alarm.revision > revision

    def prune(self, now: float) -> None:
        """Remove what is old, of this worker's own file: also of what it has adopted. Every worker does so."""
        self._write(
            [
                ("DELETE FROM alarms WHERE at < ?", (now - KEPT,)),
                ("DELETE FROM regressions WHERE at < ?", (now - REGRESSIONS_KEPT,)),
                (PRUNE, (now - YOUNG,)),
            ]
        )
        self.outbox.forget(now)
        for key in [key for key, alarm in self.alarms.items() if not alarm.firing and not alarm.want]:
            if self._written.get(key, (0, now))[1] < now - KEPT:
                del self.alarms[key]

    # -- resolved errors that are back: told to one worker of all, sent by another --------------------------------------------

    def put_regression(self, fingerprint: str, facts: dict[str, Any], at: float) -> None:
        self._write([(_REGRESSION, (fingerprint, at, orjson.dumps(facts)))])

    def regressions(self) -> Iterable[tuple[str, float, dict[str, Any]]]:
        """Fingerprint, moment and facts of each, oldest first."""
        rows = self._ask("SELECT fingerprint, at, entry FROM regressions ORDER BY at LIMIT 1000")
        return [(row[0], row[1], orjson.loads(row[2])) for row in sorted(rows, key=lambda row: row[1])]

    # -- the disk -----------------------------------------------------------------------------------------------------------

    def _ask(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            rows = self._journal.read(query, values)
        except (TimeoutError, OSError, sqlite3.Error) as error:
            self._failures["read"] = type(error).__name__
            return []
        self._failures.pop("read", None)
        return rows

    def _write(self, statements: list[Statement]) -> bool:
        try:
            self._journal.write(statements)
        except (JournalUnavailable, TimeoutError) as error:
            self._failures["write"] = type(error).__name__
            return False
        self._failures.pop("write", None)
        return True
