"""Records found again: those that MongoDB has, and those that still wait for it in the journals of this instance.

While MongoDB is down, all that the journals hold: what waits, and the newest of what it has stored. A page is found by its
place in time and not by its number, so that what happens meanwhile moves nothing from one page to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypedDict, Unpack

import bson
import pymongo
from bson.codec_options import DatetimeConversion
from pymongo.synchronous.database import Database

from prodfix.connection.status import ConnectionEvent, ConnectionState
from prodfix.errors import UNANSWERED
from prodfix.journal.journal import Journal
from prodfix.records.records import ErrorSummary
from prodfix.records.storage import CONNECTION_EVENTS, ERROR_LOG
from prodfix.serialization import iso
from prodfix.slotted import frozen
from prodfix.statistics.windows import Scope

LIMIT = 3.0  # seconds for MongoDB's part of one answer
CHUNK = 200  # rows that are looked at together
CHUNKS = 60  # of one answer: 12,000 rows; more are not waited for
LATE = 5.0  # seconds between a record's own time and that of its row, at most
OF_REQUEST = 50  # records of one request

# One record with a date or a text that Python cannot hold must not hide all the others.
_FORGIVING: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
    unicode_decode_error_handler="replace",
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_370_764_800_000  # milliseconds: the year 9999

_FIELDS = {
    "category": "category",
    "severity": "severity",
    "code": "code",
    "fingerprint": "fingerprint",
    "endpoint": "context.endpoint",
    "device": "context.deviceType",
    "user": "context.userId",
    "event": "event",
}


class RecordFields(TypedDict, total=False):
    """The fields by which error records are found, and the values that are asked for; None is any."""

    category: str | None
    severity: str | None
    code: str | None
    fingerprint: str | None
    endpoint: str | None
    device: str | None
    user: str | None


class Place(NamedTuple):
    """Where a record stands among all of them: its time, and its ID among those of the same millisecond."""

    at: datetime
    identity: str

    @classmethod
    def parse(cls, cursor: str) -> Place:
        """What :attr:`cursor` has made."""
        millis, _, identity = cursor.partition("-")
        return cls(_EPOCH + timedelta(milliseconds=min(int(millis), _LATEST)), identity)

    @property
    def cursor(self) -> str:
        """As text: milliseconds since the epoch, a hyphen, the ID."""
        return f"{(self.at - _EPOCH) // timedelta(milliseconds=1)}-{self.identity}"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Place:
        return cls(document["timestamp"], str(document["_id"]))


@frozen
class Wanted:
    """Which records are asked for: from ``begin`` (inclusive) to ``end`` (exclusive), and with these fields' values.

    ``fields`` has names of :class:`RecordFields` or ``event``.
    """

    begin: datetime | None = None
    end: datetime | None = None
    fields: tuple[tuple[str, str], ...] = ()

    def query(self, after: Place | None) -> dict[str, Any]:
        """For MongoDB."""
        times = {"$gte": self.begin, "$lt": self.end, "$lte": after.at if after else None}
        query: dict[str, Any] = {_FIELDS[name]: value for name, value in self.fields}
        if known := {operator: moment for operator, moment in times.items() if moment is not None}:
            query["timestamp"] = known
        if after is not None:
            earlier = {"timestamp": {"$lt": after.at}}
            query["$or"] = [earlier, {"timestamp": after.at, "_id": {"$lt": bson.ObjectId(after.identity)}}]
        return query

    def has(self, document: Mapping[str, Any]) -> bool:
        """The same for a record of a journal."""
        at = document["timestamp"]
        inside = (self.begin is None or at >= self.begin) and (self.end is None or at < self.end)
        return inside and all(_value(document, _FIELDS[name]) == value for name, value in self.fields)


@frozen
class StoredEvent(ConnectionEvent):
    """A change of the connection, as it is found again."""

    _id: str = ""


@frozen
class Page:
    """Documents, newest first; ``next`` is the cursor of the page that follows. ``scope`` says what was looked at."""

    records: list[dict[str, Any]]
    next: str | None
    scope: Scope

    @property
    def summaries(self) -> list[ErrorSummary]:
        """Of a page of errors."""
        return [ErrorSummary.of(record) for record in self.records]

    @property
    def events(self) -> list[StoredEvent]:
        """Of a page of changes of the connection."""
        return [StoredEvent.from_json({**record, "_id": str(record["_id"])}) for record in self.records]


class Lookup:
    """Finds records. ``answering`` is our own database while it answers. Raises ``TimeoutError`` if the disk does not."""

    def __init__(self, journal: Journal, answering: Callable[[], Database[Any] | None]) -> None:
        self._journal, self._answering = journal, answering

    def errors(
        self,
        *,
        begin: datetime | None = None,
        end: datetime | None = None,
        after: str | None = None,
        limit: int = 50,
        **fields: Unpack[RecordFields],
    ) -> Page:
        """Error records, newest first, from ``begin`` (inclusive) to ``end`` (exclusive). ``after`` is the ``next`` of the page
        before."""
        values = tuple((name, str(value)) for name, value in fields.items() if value)
        return self._page(ERROR_LOG, Wanted(begin, end, values), after, limit)

    def connection_events(
        self,
        *,
        begin: datetime | None = None,
        end: datetime | None = None,
        event: ConnectionState | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Changes of the connection's state, newest first. Each worker tells of its own."""
        wanted = Wanted(begin, end, (("event", event),) if event else ())
        return self._page(CONNECTION_EVENTS, wanted, after, limit)

    def request(self, request_id: str, most: int = OF_REQUEST) -> list[dict[str, Any]]:
        """All error records of one request, newest first, from whichever worker served it."""
        return self.of_request(request_id, most)[0]

    def of_request(self, request_id: str, most: int = OF_REQUEST) -> tuple[list[dict[str, Any]], Scope]:
        """The same, and what was looked at."""
        query = "SELECT entry FROM records WHERE collection = ? AND request_id = ? ORDER BY at DESC LIMIT ?"
        rows = self._journal.read(query, (ERROR_LOG, request_id, most))
        here = [_decoded(entry) for (entry,) in rows]
        stored, scope = self._stored(ERROR_LOG, {"requestId": request_id}, most)
        return _merged([here, stored])[:most], scope

    def _page(self, collection: str, wanted: Wanted, cursor: str | None, limit: int) -> Page:
        after = Place.parse(cursor) if cursor is not None else None
        stored, scope = self._stored(collection, wanted.query(after), limit + 1)
        here = self._here(collection, wanted, after, limit + 1, everything=scope == "instance")
        found = _merged([stored, here])
        following = Place.of(found[limit - 1]).cursor if len(found) > limit else None
        return Page(found[:limit], following, scope)

    def _stored(self, collection: str, query: Mapping[str, Any], most: int) -> tuple[list[dict[str, Any]], Scope]:
        database = self._answering()
        if database is None:
            return [], "instance"
        try:
            with pymongo.timeout(LIMIT):
                stored = database[collection].with_options(codec_options=_FORGIVING)
                newest = stored.find(query).sort([("timestamp", -1), ("_id", -1)])
                return list(newest.limit(most)), "all"
        except UNANSWERED:
            return [], "instance"  # what this instance holds is still right, and the answer says what it covers

    def _here(
        self, collection: str, wanted: Wanted, after: Place | None, most: int, *, everything: bool
    ) -> list[dict[str, Any]]:
        """What the journals hold of it: only what MongoDB cannot have, unless it is ``everything``."""
        found: dict[Place, dict[str, Any]] = {}
        for documents, at in self._chunks(collection, wanted, after, everything=everything):
            found |= {Place.of(document): document for document in documents}
            if len(found) >= most:
                oldest = sorted(found, reverse=True)[most - 1]
                # Rows are in the order of their own times, which are a little later than those of their records.
                if at + LATE < oldest.at.timestamp():
                    break
        return [found[place] for place in sorted(found, reverse=True)[:most]]

    def _chunks(
        self, collection: str, wanted: Wanted, after: Place | None, *, everything: bool
    ) -> Iterator[tuple[list[dict[str, Any]], float]]:
        """What is wanted of the newest rows, of those that follow ..., and the time of the last row that was looked at."""
        ends = [end.timestamp() for end in (wanted.end, after.at if after else None) if end is not None]
        begin, end, identity = wanted.begin.timestamp() if wanted.begin else 0.0, min(ends, default=1e12) + LATE, "~"
        query = (
            "SELECT at, id, entry FROM records WHERE collection = ? AND at >= ? AND (stored = 0 OR ?)"
            " AND (at < ? OR (at = ? AND id < ?)) ORDER BY at DESC, id DESC LIMIT ?"
        )
        for _ in range(CHUNKS):
            rows = self._journal.read(query, (collection, begin - LATE, everything, end, end, identity, CHUNK))
            # Each file gives its newest; the newest of all of them are complete, the others come again.
            rows = sorted(rows, reverse=True)[:CHUNK]
            if not rows:
                return
            end, identity, _ = rows[-1]
            # Not on the hub: some hundred records take as many milliseconds.
            yield self._journal.aside(_chosen, [entry for _, _, entry in rows], wanted, after), end


def _chosen(entries: Sequence[bytes], wanted: Wanted, after: Place | None) -> list[dict[str, Any]]:
    documents = [_decoded(entry) for entry in entries]
    return [one for one in documents if wanted.has(one) and (after is None or Place.of(one) < after)]


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON has it."""
    return {**document, "_id": str(document["_id"]), "timestamp": iso(document["timestamp"])}


def _decoded(entry: bytes) -> dict[str, Any]:
    document: dict[str, Any] = bson.decode(entry, bson.CodecOptions(tz_aware=True))
    return document


def _value(document: Mapping[str, Any], path: str) -> Any:
    found: Any = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _merged(parts: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each record once, newest first."""
    found = {str(document["_id"]): document for part in parts for document in part}
    return sorted(found.values(), key=Place.of, reverse=True)
