"""An hour of one instance: one document, which all its workers' minutes go into, whoever of them writes it.

What it has of each minute it knows by worker and revision. The rows of a minute, one of each worker, stand together in a field
of their own, which is sent again only when one of them has grown. When a part of the hour (five minutes) is over, its rows become
one sum, sent once, and only their revisions are kept. So nothing is lost that whoever writes next cannot see any more: a journal
that is damaged, or gone with its disk.

Each change names the revision that it changes. Of two that write at once, as after a pause of one, the second changes
nothing, reads again, and finds what is there.

An earlier release has other fields: ``parts``, which it sent again with each of their minutes, their revisions in ``final``, and
all that may still grow in ``rows``, by worker, and in ``open``, as parts. They are read, and replaced as far as they change. It
finds no document without ``final``, so that it leaves ours out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from bson import Binary
from pymongo import UpdateOne

from prodfix.statistics.minute_rows import packed_rows, rows_of
from prodfix.statistics.packing import packed, unpacked
from prodfix.statistics.parts import HourPart, part_of
from prodfix.statistics.window import HOUR, STEP, Counted, moment_of

ERROR_MINUTES = "error_minutes"

# Fields of a document. "minutes": rows by minute of the hour, "sums": of parts that are over, by their first minute.
ROWS, SUMS, REVISIONS = "minutes", "sums", "revisions"

Key = tuple[str, int]
"""A worker, and a minute."""


def identity_of(hour: int, instance: str) -> str:
    """The ``_id`` of its document: in the order of the hours."""
    return f"{hour:08}.{instance}"


def hour_of(identity: str) -> int:
    """The hour that stands in such an ``_id``."""
    return int(identity.partition(".")[0])


def within(hours: Iterable[int]) -> dict[str, Any]:
    """The query for these hours of all instances, by the index of their expiry. Left out is what a release has left that had a
    document for each worker and minute, whose ``_id`` is no text."""
    return {"timestamp": {"$in": [moment_of(hour * HOUR) for hour in hours]}, "_id": {"$type": "string"}}


class InstanceHour:
    """It, as stored, and then with what is put into it. ``revision`` is that of the document; 0 while there is none."""

    def __init__(self, hour: int, instance: str, document: Mapping[str, Any] | None = None) -> None:
        self.hour, self.instance = hour, instance
        stored = document or {}
        self.revision: int = stored.get("revision", 0)
        self.workers: set[str] = set(stored.get("workers", ()))
        self._stored_workers = set(self.workers)
        self.final: dict[Key, int] = {}
        """What the sums of its parts have, by revision."""
        self.open: dict[Key, Counted] = {}
        """The rows of parts that are not over."""
        self._sums: dict[int, list[bytes]] = {}
        for name in (SUMS, "parts"):
            for at, value in stored.get(name, {}).items():
                self._sums.setdefault(int(at), []).append(value)
        self._parts: dict[int, HourPart] = {}
        self._changed: set[int] = set()
        self._grown: set[int] = set()
        self._there = {int(offset) for offset in stored.get(ROWS, ())}
        self._replaced = {name for name in ("final", "rows", "open") if name in stored}
        self._earlier = {int(at) for at in stored.get("parts", ())}
        self._lost = False
        for name in (REVISIONS, "final"):
            if name in stored:
                for worker, minutes in unpacked(stored[name]).items():
                    self.final.update(((worker, int(minute)), revision) for minute, revision in minutes.items())
        for offset, value in stored.get(ROWS, {}).items():
            self.open.update(((row.worker, row.minute), row) for row in rows_of(hour * HOUR + int(offset), value))
        if "rows" in stored:
            for worker, minute, revision, errors, traffic in unpacked(stored["rows"]):
                self.open[worker, minute] = Counted(worker, minute, revision, revision, errors, traffic)
                self._grown.add(minute % HOUR)

    # -- changing it ------------------------------------------------------------------------------------------------------

    def put(self, row: Counted, others: Callable[[int], Sequence[Counted]]) -> int:
        """Have a row in it, unless it has that or a later one.

        A minute that was over may have grown all the same, as when a worker was stopped within it. Then it is added up again
        from the rows of all workers, which ``others`` finds. Returns how much of the row is lost, if one of them is gone.
        """
        key = (row.worker, row.minute)
        if row.revision <= self.revision_of(key):
            return 0
        if key not in self.final:
            self.open[key] = row
            self._grown.add(row.minute % HOUR)
        elif (again := self._again(row, others(row.minute))) is None:
            lost = row.revision - self.final[key]
            self.final[key] = row.revision
            self._lost = True
            return lost
        else:
            self._part(row.minute).replace(row.minute, again)
            self.final.update(((one.worker, one.minute), one.revision) for one in again)
            self._changed.add(part_of(row.minute))
        self.workers.add(row.worker.rstrip("+"))
        return 0

    def _again(self, row: Counted, others: Sequence[Counted]) -> list[Counted] | None:
        """All rows of its minute that are over, if each of them is there."""
        newest = {row.worker: row}
        for one in others:
            if one.worker not in newest or newest[one.worker].revision < one.revision:
                newest[one.worker] = one
        over = {worker: revision for (worker, minute), revision in self.final.items() if minute == row.minute}
        if any(worker not in newest or newest[worker].revision < revision for worker, revision in over.items()):
            return None
        return [newest[worker] for worker in over]

    def settle(self, minute: int) -> None:
        """The parts of the hour that end before ``minute``, or with it, are over."""
        over = (minute - self.hour * HOUR) // STEP * STEP
        for key, row in [one for one in self.open.items() if one[0][1] % HOUR < over]:
            self._part(row.minute).add(row)
            self.final[key] = row.revision
            del self.open[key]
            self._grown.discard(row.minute % HOUR)
            self._changed.add(part_of(row.minute))

    def revision_of(self, key: Key) -> int:
        """Of what it has of a worker's minute; 0 if it has nothing."""
        known = self.open.get(key)
        return known.revision if known is not None else self.final.get(key, 0)

    def _part(self, minute: int) -> HourPart:
        at = part_of(minute)
        if at not in self._parts:
            self._parts[at] = HourPart.of(*map(unpacked, self._sums.get(at, ())))
        return self._parts[at]

    # -- storing it -------------------------------------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        return bool(self._grown or self._lost or self._changed)

    def update(self) -> UpdateOne:
        """The change of its document from the revision that it had to the next one, with nothing that is there already."""
        for at in self._changed:
            self._sums[at] = [packed(self._parts[at].to_json())]
        fields: dict[str, Any] = {f"{SUMS}.{at}": Binary(self._sums[at][0]) for at in sorted(self._changed)}
        if self._changed or self._lost or "final" in self._replaced:
            fields[REVISIONS] = Binary(packed(self._revisions()))
        open_ones = self._open_minutes()
        for offset in sorted(self._grown):
            fields[f"{ROWS}.{offset}"] = Binary(packed_rows(open_ones[offset]))
        # Of a document that is there already this makes a second with the same _id, which the server refuses.
        known = {"_id": identity_of(self.hour, self.instance), "revision": self.revision}
        if not self.revision:
            fields |= {"timestamp": moment_of(self.hour * HOUR)}
        if self._stored_workers != self.workers or not self.revision:
            fields["workers"] = sorted(self.workers)
        over = [f"{ROWS}.{offset}" for offset in sorted(self._there.difference(open_ones))]
        over += [*sorted(self._replaced), *(f"parts.{at}" for at in sorted(self._earlier & self._changed))]
        change: dict[str, Any] = {"$set": {**fields, "revision": self.revision + 1}}
        if over:
            change["$unset"] = dict.fromkeys(over, 1)
        return UpdateOne(known, change, upsert=not self.revision)

    def stored(self) -> None:
        """The update was applied."""
        self.revision += 1
        self._stored_workers = set(self.workers)
        self._there = {minute % HOUR for _, minute in self.open}
        self._earlier -= self._changed
        self._replaced, self._lost, self._grown, self._changed = set(), False, set(), set()
        # What is over for long is decoded again if it must be.
        newest = max(self._parts, default=0)
        self._parts = {at: part for at, part in self._parts.items() if at >= newest}

    def _revisions(self) -> dict[str, dict[int, int]]:
        found: dict[str, dict[int, int]] = {}
        for (worker, minute), revision in self.final.items():
            found.setdefault(worker, {})[minute] = revision
        return found

    def _open_minutes(self) -> dict[int, list[Counted]]:
        minutes: dict[int, list[Counted]] = {}
        for row in self.open.values():
            minutes.setdefault(row.minute % HOUR, []).append(row)
        return minutes

    def contents(self) -> list[Mapping[str, Any]]:
        """What it has, part by part, as :meth:`Window.add_part` takes it."""
        over = [self._parts[at].to_json() for at in sorted(self._changed)]
        for at, values in sorted(self._sums.items()):
            if at not in self._changed:
                over += map(unpacked, values)
        return over + sums_of(self.open.values())


def shared(hour: int = 0, first: int = 0) -> dict[str, int]:
    """The projection for who reads an hour of another instance: without what only its own workers ask for, and without what was
    before the minute ``first``."""
    before = range(0, max(0, min(HOUR, first - hour * HOUR)))
    unread = [f"{ROWS}.{offset}" for offset in before]
    unread += [f"{name}.{at}" for name in (SUMS, "parts") for at in before[::STEP] if at + STEP <= len(before)]
    return dict.fromkeys([REVISIONS, "final", "rows", *unread], 0)


def contents_of(document: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """What a stored hour has, part by part, without the rows of parts that are not over (:func:`open_rows_of`)."""
    for name in (SUMS, "parts"):
        for value in document.get(name, {}).values():
            yield unpacked(value)
    if "open" in document:
        yield from unpacked(document["open"]).values()


def open_rows_of(document: Mapping[str, Any]) -> list[Counted]:
    """The rows of a stored hour that are in no sum yet."""
    base = hour_of(document["_id"]) * HOUR
    return [row for offset, value in document.get(ROWS, {}).items() for row in rows_of(base + int(offset), value)]


def sums_of(rows: Iterable[Counted]) -> list[Mapping[str, Any]]:
    """Rows of one instance as parts."""
    parts: dict[int, HourPart] = {}
    for row in rows:
        parts.setdefault(part_of(row.minute), HourPart()).add(row)
    return [part.to_json() for part in parts.values()]


def decoded(row: Sequence[Any]) -> Counted:
    """A row of the journals' table ``minutes``."""
    worker, minute, revision, stored, errors, traffic = row
    return Counted(worker, minute, revision, stored, orjson.loads(errors), orjson.loads(traffic))
