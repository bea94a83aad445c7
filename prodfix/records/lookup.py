"""Records found again: those that MongoDB has, and those that still wait for it in the journals of this instance.

While MongoDB is down, all that the journals hold: what waits, and the newest of what it has stored. A page is found by its
place in time and not by its number, so that what happens meanwhile moves nothing from one page to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Unpack

import bson
import pymongo
from bson.codec_options import DatetimeConversion
from pymongo.errors import OperationFailure
from pymongo.synchronous.database import Database

from prodfix.connection.status import ConnectionEvent, ConnectionState
from prodfix.errors import UNANSWERED
from prodfix.journal.journal import Journal
from prodfix.records.keeper import ERROR_SAMPLING, IDENTITY, Kept, kept_of
from prodfix.records.record_indexes import CONNECTION_EVENTS, ERROR_LOG
from prodfix.records.records import ErrorSummary
from prodfix.records.storage import FOR_A_WHILE
from prodfix.records.wanted_records import CountedErrors, Place, RecordFields, Wanted
from prodfix.serialization import iso
from prodfix.slotted import frozen
from prodfix.sound_fields import FieldTypes, sound
from prodfix.statistics.windows import Scope

LIMIT = 3.0  # seconds for MongoDB's part of one answer
CHUNK = 200  # rows that are looked at together
CHUNKS = 60  # of one answer: 12,000 rows; more are not waited for
LATE = 5.0  # seconds between a record's own time and that of its row, at most
OF_REQUEST = 50  # records of one request
NO_SUCH_INDEX = 2  # BadValue, of a hint

# One record with a date or a text that Python cannot hold must not hide all the others.
_FORGIVING: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
    unicode_decode_error_handler="replace",
)

STORED_TYPES: FieldTypes = {
    **dict.fromkeys(("context", "database", "details", "facts", "recovery"), Mapping),
    **dict.fromkeys(("category", "severity", "code", "message", "errorType", "fingerprint", "stack"), str),
    **dict.fromkeys(("requestId", "release", "instance", "outcome", "answeredBy", "event", "worker"), str),
    "status": int,
    "trail": list,
}


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


class OfRequest(NamedTuple):
    """The records of one request. ``thinned``: they are in journals only, for a while, as there are enough of their kind."""

    records: list[dict[str, Any]]
    scope: Scope
    thinned: bool


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
        counted: CountedErrors | None = None,
        **fields: Unpack[RecordFields],
    ) -> Page:
        """Error records, newest first, from ``begin`` (inclusive) to ``end`` (exclusive). ``after`` is the ``next`` of the page
        before. ``counted``: only those that the statistics count, and no warning of what was tried again or deferred."""
        values = tuple((name, str(value)) for name, value in fields.items() if value)
        return self._page(ERROR_LOG, Wanted(begin, end, values, counted), after, limit)

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

    def of_request(self, request_id: str, most: int = OF_REQUEST) -> OfRequest:
        """The same, what was looked at, and whether they will be here for a while only."""
        query = "SELECT entry, stored FROM records WHERE collection = ? AND request_id = ? ORDER BY at DESC LIMIT ?"
        rows = self._journal.read(query, (ERROR_LOG, request_id, most))
        here = [_decoded(entry) for entry, _ in rows]
        stored, scope = self._found(ERROR_LOG, {"requestId": request_id}, most)
        kept = {str(document["_id"]) for document in stored}
        gone = [str(one["_id"]) not in kept and how == FOR_A_WHILE for one, (_, how) in zip(here, rows, strict=True)]
        return OfRequest(_merged([here, stored])[:most], scope, bool(gone) and all(gone) and not stored)

    def thinned(self) -> frozenset[str] | None:
        """The kinds of errors of which only a sample is kept; None if that cannot be learned now, or if it is true of all."""
        known = self._asked_bounds()
        if known is None or known.get("floor"):
            return None
        return frozenset(str(one["kind"]) for one in known.get("levels", ()))

    def kept(self, fingerprint: str) -> int | None:
        """How many records there are in MongoDB of one kind; None while that cannot tell."""
        database = self._answering()
        if database is None:
            return None
        try:
            with pymongo.timeout(LIMIT):
                return int(database[ERROR_LOG].count_documents({"fingerprint": fingerprint}))
        except UNANSWERED:
            return None

    def kinds_of_user(self, user: str, *, begin: datetime | None = None, end: datetime | None = None) -> set[str]:
        """The fingerprints of the errors that a user has met, by the records that are kept: in MongoDB, and here."""
        wanted = Wanted(begin, end, (("user", user),))
        found: set[str] = set()
        database = self._answering()
        if database is not None:
            try:
                with pymongo.timeout(LIMIT):
                    (query,) = wanted.queries(None)
                    found.update(filter(None, database[ERROR_LOG].distinct("fingerprint", query)))
            except UNANSWERED:
                database = None
        here = self._here(ERROR_LOG, wanted, None, CHUNK * CHUNKS, everything=database is None)
        return found | {str(record["fingerprint"]) for record in here if record.get("fingerprint")}

    def sampled(self) -> int:
        """Of how many kinds of errors only a sample is kept in MongoDB, as far as that can be learned now."""
        return len(self._bounds().get("levels", ()))

    def bounds(self) -> Kept | None:
        """What the last worker of all instances to keep the bounds has found; None if that cannot be learned now. Workers
        remember what each of them saw last, which need not be the same."""
        return kept_of(self._bounds())

    def _bounds(self) -> Mapping[str, Any]:
        return self._asked_bounds() or {}

    def _asked_bounds(self) -> Mapping[str, Any] | None:
        """None while MongoDB cannot tell."""
        database = self._answering()
        if database is None:
            return None
        try:
            with pymongo.timeout(LIMIT):
                return database[ERROR_SAMPLING].find_one({"_id": IDENTITY}) or {}
        except UNANSWERED:
            return None

    def _page(self, collection: str, wanted: Wanted, cursor: str | None, limit: int) -> Page:
        after = Place.parse(cursor) if cursor is not None else None
        stored, scope = self._stored(collection, wanted, after, limit + 1)
        here = self._here(collection, wanted, after, limit + 1, everything=scope == "instance")
        found = _merged([stored, here])
        following = Place.of(found[limit - 1]).cursor if len(found) > limit else None
        return Page(found[:limit], following, scope)

    def _stored(
        self, collection: str, wanted: Wanted, after: Place | None, most: int
    ) -> tuple[list[dict[str, Any]], Scope]:
        found: list[dict[str, Any]] = []
        for query in wanted.queries(after):
            some, scope = self._found(collection, query, most - len(found), wanted.hint)
            found += some
            if scope == "instance":
                return found, scope
            if len(found) >= most:
                break
        return found, "all"

    def _found(
        self, collection: str, query: Mapping[str, Any], most: int, hint: str | None = None
    ) -> tuple[list[dict[str, Any]], Scope]:
        database = self._answering()
        if database is None:
            return [], "instance"
        try:
            with pymongo.timeout(LIMIT):
                stored = database[collection].with_options(codec_options=_FORGIVING)
                newest = stored.find(query).sort([("timestamp", -1), ("_id", -1)]).limit(most)
                try:
                    return _sound(newest.clone().hint(hint) if hint else newest), "all"
                except OperationFailure as error:
                    if error.code != NO_SUCH_INDEX or hint is None:
                        raise
                    return _sound(newest), "all"  # it is about to be made, or an operator has removed it
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


def _sound(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those that have a time, without what is of another type than we write."""
    found = [sound(document, STORED_TYPES) for document in documents if isinstance(document.get("timestamp"), datetime)]
    for one in found:
        if one.get("trail"):
            one["trail"] = [command for command in one["trail"] if isinstance(command, Mapping)]
    return found


def _merged(parts: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each record once, newest first."""
    found = {str(document["_id"]): document for part in parts for document in part}
    return sorted(found.values(), key=Place.of, reverse=True)
