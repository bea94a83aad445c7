"""The indexes of what is stored: one for each field that few errors have in common, newest first, and one for all else.

In that one all fields by which errors are found stand behind the time: MongoDB compares what is asked for with the keys, and
reads the documents that fit and no others. It is hinted at: the planner may prefer a shorter one, and read others as well. Each
index costs room and time with each record, so that there is none for a field with few values.

Making them may take minutes where a collection is large already: that goes on in a thread of its own, beside the writer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.synchronous.database import Database

from prodfix.incidents.incident_log import INCIDENTS
from prodfix.statistics.closed_hours import ERROR_DAYS, ERROR_HOURS
from prodfix.statistics.groups import ERROR_GROUPS
from prodfix.statistics.instance_hours import ERROR_MINUTES

ERROR_LOG = "error_log"
CONNECTION_EVENTS = "connection_events"

FILTERS = {
    "category": "category",
    "severity": "severity",
    "code": "code",
    "fingerprint": "fingerprint",
    "endpoint": "context.endpoint",
    "device": "context.deviceType",
    "user": "context.userId",
    "event": "event",
}
"""The fields by which records are found, and where they stand in a document."""

ALONE = ("category", "fingerprint", "endpoint", "user")
"""The fields with an index of their own."""
SEVERAL = "prodfix_list"
MINUTES_KEPT = timedelta(hours=50)
SOON = 1.0  # seconds in which they are usually made
BUILD_LIMIT = 1800.0  # seconds
OTHERWISE = (85, 86)  # an index of that name or key, with other options: an operator's choice, or an earlier setting's

# Either direction serves the newest first. Of a descending field within a key the embedded server leaves out what is equal to the
# bound of a $gte.
_TIME = [("timestamp", ASCENDING), ("_id", ASCENDING)]
_OF_ERRORS = [field for name, field in FILTERS.items() if name != "event"]


def _expiry(kept: timedelta, field: str = "timestamp") -> IndexModel:
    seconds = int(kept.total_seconds())
    return IndexModel([(field, DESCENDING)], name="prodfix_expiry", expireAfterSeconds=seconds)


def _by(name: str) -> IndexModel:
    """Equal values together, the newest first. Most requests have no user, and no place in that user's index."""
    field, options = FILTERS[name], {}
    if name == "user":
        options["partialFilterExpression"] = {field: {"$gt": ""}}
    return IndexModel([(field, ASCENDING), *_TIME], name=f"prodfix_{name}", **options)


def _by_several(fields: Sequence[str]) -> IndexModel:
    return IndexModel([*_TIME, *((field, ASCENDING) for field in fields)], name=SEVERAL)


class RecordIndexes:
    """``groups``: those of the kinds of errors. ``begin`` is called while MongoDB answers, until ``made``."""

    def __init__(self, retention_days: int, groups: Callable[[], list[IndexModel]]) -> None:
        self._kept, self._groups = timedelta(days=retention_days), groups
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self.made = False

    def wanted(self) -> dict[str, list[IndexModel]]:
        """Those of each collection that the writer writes."""
        kept = self._kept
        by_request = IndexModel([("requestId", ASCENDING), *_TIME], name="prodfix_request")
        each = [_by(name) for name in ALONE]
        return {
            ERROR_LOG: [_expiry(kept), by_request, *each, _by_several(_OF_ERRORS)],
            CONNECTION_EVENTS: [_expiry(kept), _by_several(["event"])],
            ERROR_MINUTES: [_expiry(min(kept, MINUTES_KEPT))],
            ERROR_HOURS: [_expiry(kept)],
            ERROR_DAYS: [_expiry(kept)],
            ERROR_GROUPS: self._groups(),
            INCIDENTS: [_expiry(kept, "to")],
        }

    def differences(self, database: Database[Any]) -> list[str]:
        """What :func:`make` would change, for an operator. Raises what MongoDB says."""
        changes = []
        for name, indexes in self.wanted().items():
            found = database[name].index_information()
            changes += [
                f"{name}: create index {index.document['name']}"
                for index in indexes
                if difference(index, found) == "missing"
            ]
        return changes

    def apply(self, database: Database[Any]) -> list[str]:
        """Make those that are missing, and wait for it; what was done. Raises what MongoDB says."""
        changes = self.differences(database)
        if changes:
            make(database, self.wanted())
        return changes

    def begin(self, database: Database[Any]) -> None:
        """Make them; what takes longer than a moment goes on beside. Raises what MongoDB has said of it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, args=(database,), name="prodfix-indexes", daemon=True)
            self._thread.start()
            self._thread.join(SOON)
        if self._thread.is_alive():
            return
        self._thread, failure = None, self._failure
        self._failure = None
        if failure is not None:
            raise failure
        self.made = True

    def _work(self, database: Database[Any]) -> None:
        try:
            # Not the caller's limit, which a new thread does not know: a server gives up what a client no longer waits for.
            with pymongo.timeout(BUILD_LIMIT):
                make(database, self.wanted())
        except Exception as error:  # noqa: BLE001 - raised by begin, which is asked again
            self._failure = error


def make(database: Database[Any], wanted: Mapping[str, Sequence[IndexModel]]) -> None:
    """Make those that are not there. One with other options stays as it is, and keeps no other from being made."""
    for name, indexes in wanted.items():
        try:
            database[name].create_indexes(list(indexes))
        except OperationFailure as error:
            if error.code not in OTHERWISE:
                raise
            for index in indexes:
                _make_one(database, name, index)


def _make_one(database: Database[Any], name: str, index: IndexModel) -> None:
    try:
        database[name].create_indexes([index])
    except PyMongoError as error:
        if getattr(error, "code", None) not in OTHERWISE:
            raise


def difference(index: IndexModel, found: Mapping[str, Any]) -> str:
    """What ``found`` (of ``index_information``) has of it: ``same``, ``other`` (another length, or other options) or ``missing``;
    by its key, whatever its name is. Of one that removes what is old any direction will do."""
    wanted = dict(index.document)
    key, option = list(dict(wanted["key"]).items()), "expireAfterSeconds"
    if option in wanted:
        alike = [one for one in found.values() if [one["key"][0][0]] == [key[0][0]] and option in one]
    else:
        option = "partialFilterExpression"
        alike = [one for one in found.values() if [tuple(part) for part in one["key"]] == key]
    if not alike:
        return "missing"
    return "same" if any(one.get(option) == wanted.get(option) for one in alike) else "other"
