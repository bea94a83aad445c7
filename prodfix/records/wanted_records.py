"""Which records are asked for, as a query of MongoDB's and as a test of one from a journal, and a record's place among all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict

import bson

from prodfix.errors import ErrorCategory, Severity
from prodfix.records.record_indexes import ALONE, FILTERS, SEVERAL
from prodfix.slotted import frozen

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_370_764_800_000  # milliseconds: the year 9999

CountedErrors = Literal["service", "all"]
"""Which of the errors that are counted: those that the service is to blame for, or clients' too."""

SERVICE = tuple(
    str(category)
    for category in (
        ErrorCategory.DATABASE_CONNECTION,
        ErrorCategory.TIMEOUT,
        ErrorCategory.DATABASE_QUERY,
        ErrorCategory.NETWORK,
        ErrorCategory.UNKNOWN,
    )
)
"""The categories that the service is to blame for; the others are answered with 4xx."""

WARNING = str(Severity.WARN)  # of a record that tells how a request went well in the end, and that is not counted


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

    ``fields`` has names of :class:`RecordFields` or ``event``. ``counted``: of what the statistics count only.
    """

    begin: datetime | None = None
    end: datetime | None = None
    fields: tuple[tuple[str, str], ...] = ()
    counted: CountedErrors | None = None

    def queries(self, after: Place | None) -> list[dict[str, Any]]:
        """For MongoDB, one after the other: an index serves a range of times, and those of one moment, and no choice of both."""
        fields: dict[str, Any] = self._counted() | {FILTERS[name]: value for name, value in self.fields}
        if after is None:
            return [{**fields, **self._during({"$gte": self.begin, "$lt": self.end})}]
        if (self.begin is not None and after.at < self.begin) or (self.end is not None and after.at >= self.end):
            return [{**fields, **self._during({"$gte": self.begin, "$lt": _earliest(self.end, after.at)})}]
        moment = {"timestamp": after.at, "_id": {"$lt": bson.ObjectId(after.identity)}}
        return [{**fields, **moment}, {**fields, **self._during({"$gte": self.begin, "$lt": after.at})}]

    def _counted(self) -> dict[str, Any]:
        """What is asked for by name comes before it."""
        if self.counted is None:
            return {}
        of_service = {"category": {"$in": list(SERVICE)}} if self.counted == "service" else {}
        return {**of_service, "severity": {"$ne": WARNING}}

    @staticmethod
    def _during(times: Mapping[str, datetime | None]) -> dict[str, Any]:
        known = {operator: moment for operator, moment in times.items() if moment is not None}
        return {"timestamp": known} if known else {}

    @property
    def hint(self) -> str | None:
        """The index that has all of the fields, with whose keys they are compared, for what no other one serves."""
        names = [name for name, _ in self.fields]
        return SEVERAL if self.counted is not None or len(names) > 1 or (names and names[0] not in ALONE) else None

    def has(self, document: Mapping[str, Any]) -> bool:
        """The same for a record of a journal."""
        at = document["timestamp"]
        inside = (self.begin is None or at >= self.begin) and (self.end is None or at < self.end)
        return (
            inside
            and self._counts(document)
            and all(_value(document, FILTERS[name]) == value for name, value in self.fields)
        )

    def _counts(self, document: Mapping[str, Any]) -> bool:
        if self.counted is None:
            return True
        asked = {name for name, _ in self.fields}
        mild = document.get("severity") == WARNING and "severity" not in asked
        return not mild and (self.counted == "all" or "category" in asked or document.get("category") in SERVICE)


def _earliest(*moments: datetime | None) -> datetime:
    return min(moment for moment in moments if moment is not None)


def _value(document: Mapping[str, Any], path: str) -> Any:
    found: Any = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
