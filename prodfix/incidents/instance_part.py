"""One instance's part of an incident: the sums of what its workers have seen, which can be made again from their journals.

A worker's totals are absolute, so what has been summed up of each is remembered, in 36 bytes: a total that comes again adds
nothing, and one that has grown what it grew by. Workers that are gone and whose rows are too are in it for ever. Nothing here
reads or writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, get_args

import orjson

from prodfix.incidents.observed import COUNTED, GAP, IncidentCause, IncidentPart
from prodfix.serialization import Serializable
from prodfix.slotted import frozen
from prodfix.sound_fields import FieldTypes, sound

_CAUSES = get_args(IncidentCause)
_NAMES = {"instances", "releases", "lasting"}
_TYPES: FieldTypes = {
    **dict.fromkeys(_NAMES, list),
    **dict.fromkeys(("counts", "parts"), Mapping),
    **dict.fromkeys(("workers", "members"), int),
}
_COUNTS: FieldTypes = dict.fromkeys(COUNTED, int)

KNOWN = 128  # workers whose totals are remembered; of others, that began earlier, only that they were added
GONE = 2048  # of those; the counts of further ones are not added

_WORKER = struct.Struct(f"<QI{len(COUNTED)}I")
_HASH = struct.Struct("<Q")
_MOST = 0xFFFFFFFF

Totals = tuple[int, ...]
"""A revision, and what is counted in the order of :data:`COUNTED`."""


@frozen
class WorkerRow:
    """A worker's part as it stands in a journal, and its revision there."""

    part: IncidentPart
    revision: int

    @property
    def key(self) -> int:
        return int(_HASH.unpack(blake2b(self.part.id.encode(), digest_size=8).digest())[0])

    @property
    def totals(self) -> Totals:
        return (min(self.revision, _MOST), *(min(self.part.counts.get(name, 0), _MOST) for name in COUNTED))


@frozen
class InstancePart(Serializable):
    """What MongoDB keeps of one instance. ``revision`` grows with each change. ``seconds``: for how long the worker saw it that
    saw it longest; ``moved``: a clock was set meanwhile. ``known`` and ``gone`` are of workers."""

    revision: int
    from_: datetime
    to: datetime
    seconds: float = 0.0
    instances: list[str] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    open: bool = False
    moved: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    workers: int = 0
    known: bytes = b""
    gone: bytes = b""

    def totals(self) -> dict[int, Totals]:
        return {found[0]: found[1:] for found in _WORKER.iter_unpack(self.known)}

    def has(self, rows: Iterable[WorkerRow]) -> bool:
        """Whether it knows any of them, whatever of it."""
        known = self.totals().keys() | _hashes(self.gone)
        return any(row.key in known for row in rows)

    def knows(self, rows: Iterable[WorkerRow]) -> bool:
        """Whether it knows all that they say."""
        totals, gone = self.totals(), _hashes(self.gone)
        return all(row.key in gone or totals.get(row.key, (-1,))[0] >= row.totals[0] for row in rows)


def folded(before: InstancePart | None, rows: Sequence[WorkerRow]) -> InstancePart:
    """``before`` with what ``rows`` know more. Storing it in its place changes nothing if they know nothing more."""
    totals = before.totals() if before is not None else {}
    gone = _hashes(before.gone) if before is not None else frozenset()
    counts, new = dict(before.counts) if before is not None else {}, 0
    for row in rows:
        key, now = row.key, row.totals
        full = len(gone) + len(totals) >= GONE + KNOWN
        if key in gone or (full and key not in totals):
            continue
        old = totals.pop(key, None)
        new += old is None
        if old is not None and old[0] >= now[0]:
            now = old
        _add(counts, now, old)
        totals[key] = now  # what has changed stands last
    gone_now = [*totals][: max(0, len(totals) - KNOWN)]
    known = b"".join(_WORKER.pack(key, *totals[key]) for key in [*totals][len(gone_now) :])
    return replace(
        _extended(before, rows),
        counts=counts,
        workers=(before.workers if before is not None else 0) + new,
        known=known,
        gone=(before.gone if before is not None else b"") + b"".join(map(_HASH.pack, gone_now)),
    )


def _extended(before: InstancePart | None, rows: Sequence[WorkerRow]) -> InstancePart:
    """From when to when it was seen, and by whom."""
    parts = [row.part for row in rows]
    begin, end = moment(min(part.begin for part in parts)), moment(max(part.end for part in parts))
    moved = any(part.moved for part in parts)
    seconds = max(part.end - part.begin for part in parts)
    instances, releases = {part.instance for part in parts}, {part.release for part in parts if part.release}
    if before is not None:
        # What has moved with the clock is no longer where it was.
        begin, end = (begin, end) if moved else (min(before.from_, begin), max(before.to, end))
        moved, seconds = moved or before.moved, max(seconds, before.seconds)
        instances, releases = instances | {*before.instances}, releases | {*before.releases}
    return InstancePart(
        revision=before.revision + 1 if before is not None else 1,
        from_=begin,
        to=end,
        seconds=round(seconds, 3),
        instances=sorted(instances),
        releases=sorted(releases),
        open=any(part.open for part in parts),
        moved=moved,
    )


def _add(counts: dict[str, int], now: Totals, old: Totals | None) -> None:
    for name, value, known in zip(COUNTED, now[1:], old[1:] if old else (0,) * len(COUNTED), strict=True):
        if value != known:
            counts[name] = counts.get(name, 0) + value - known


def _hashes(content: bytes) -> frozenset[int]:
    return frozenset(found[0] for found in _HASH.iter_unpack(content))


def worker_rows(rows: Iterable[tuple[Any, ...]]) -> list[WorkerRow]:
    """Of ``(revision, entry)``: each worker's part once, the newest; none that this release cannot read."""
    found: dict[str, WorkerRow] = {}
    for revision, entry in rows:
        part = _readable(entry)
        if part is not None and (part.id not in found or found[part.id].revision < revision):
            found[part.id] = WorkerRow(part, revision)
    return [*found.values()]


def _readable(entry: Any) -> IncidentPart | None:
    try:
        return IncidentPart.from_json(orjson.loads(entry))
    except (ValueError, TypeError):
        return None


def part_in(document: Mapping[str, Any], key: str) -> InstancePart | None:
    """The part that ``document`` has under ``key``, if this release can read it."""
    try:
        part = InstancePart.from_json(document["parts"][key])
    except (KeyError, TypeError, ValueError):
        return None
    return part if not len(part.known) % _WORKER.size and not len(part.gone) % _HASH.size else None


def sound_incidents(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those that have a cause, a begin and an end, with what else of them can be believed. What another release, a hand or a
    damage has left of one must not hide all others, nor keep anybody from storing what happens now."""
    return [_believed(document) for document in documents if _is_incident(document)]


def changeable(document: Mapping[str, Any]) -> bool:
    """Whether MongoDB could add to what is counted in it."""
    counts = document.get("counts", {})
    numbers = [document.get("workers", 0), document.get("members", 0)]
    return isinstance(counts, Mapping) and all(
        isinstance(one, int) and not isinstance(one, bool) for one in (*numbers, *counts.values())
    )


def _is_incident(document: Mapping[str, Any]) -> bool:
    begin, end = document.get("from"), document.get("to")
    timed = isinstance(begin, datetime) and isinstance(end, datetime) and begin <= end
    return timed and document.get("cause") in _CAUSES


def _believed(document: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in sound(document, _TYPES).items() if value is not None}
    for name in _NAMES & found.keys():
        found[name] = [one for one in found[name] if isinstance(one, str)]
    if "counts" in found:
        found["counts"] = sound(found["counts"], _COUNTS)
    return found


def together(rows: Iterable[WorkerRow]) -> Iterator[list[WorkerRow]]:
    """What is of one incident: of one cause, with no longer than :data:`GAP` between."""
    group: list[WorkerRow] = []
    end = 0.0
    for row in sorted(rows, key=lambda row: (row.part.cause, row.part.begin)):
        if group and (row.part.cause != group[0].part.cause or row.part.begin - end > GAP):
            yield group
            group = []
        end = max(end, row.part.end) if group else row.part.end
        group.append(row)
    if group:
        yield group


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
