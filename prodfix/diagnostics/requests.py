"""All that is known of one request, from its ID alone: its errors, what it asked of the database, what was tried again, what
became of its deferred writes, and the incident that it fell into.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pymongo

from prodfix.classification.classifications import NETWORK_TIMED_OUT
from prodfix.context import is_request_id
from prodfix.deferral.traces import Traces
from prodfix.devices import description
from prodfix.errors import UNANSWERED, ErrorCategory, JournalUnavailable, NotKnownNow
from prodfix.records.incident_log import IncidentLog
from prodfix.records.incidents import NOTICED
from prodfix.records.lookup import Lookup, shown
from prodfix.serialization import iso

LIMIT = 0.7  # seconds for all that MongoDB is asked

_SHOWN = ("traceId", "endpoint", "method", "deviceType", "appVersion", "userAgent", "userId", "ip")


class Requests:
    """Puts it together from whatever worker and instance knows of it."""

    def __init__(self, lookup: Lookup, traces: Traces, incidents: IncidentLog, *, configured: bool = True) -> None:
        self._lookup, self._traces, self._incidents = lookup, traces, incidents
        self._configured = configured

    def find(self, request_id: str) -> dict[str, Any] | None:
        """None if there is no record of it: most requests go well, and leave none. Without status and code it had no error for
        an answer: a retry has saved it, or its write waits on disk. ``missing`` names the parts of which MongoDB may know more
        than it tells now. Raises :class:`prodfix.errors.NotKnownNow` if nothing is known here and MongoDB cannot be asked, and
        ``TimeoutError`` if the disk does not answer."""
        if not is_request_id(request_id):
            return None
        with pymongo.timeout(LIMIT):
            return self._find(request_id)

    def _find(self, request_id: str) -> dict[str, Any] | None:
        records, scope = self._lookup.of_request(request_id)
        unasked = self._configured and scope == "instance"
        if not records:
            if unasked:
                raise NotKnownNow
            return None
        deferred = [self._operation(identity) for identity in _operations(records)]
        incidents, of_all = self._touched(records)
        missing = {
            "errors": unasked,
            "deferred": unasked and any(one["status"] == "unknown" for one in deferred),
            "incidents": self._configured and not of_all,
        }
        newest = records[0]
        answered = next((record for record in records if not _survived(record)), {})
        context = next((record["context"] for record in records if record.get("context")), None) or {}
        return {
            "requestId": request_id,
            **{name: context.get(name) for name in _SHOWN},
            "client": description(context.get("userAgent") or ""),
            "timestamp": iso(newest["timestamp"]),
            "status": answered.get("status"),
            "code": answered.get("code"),
            "outcome": answered.get("outcome"),
            "errors": [shown(record) for record in records],
            "commands": next((record["trail"] for record in records if record.get("trail")), []),
            "recovery": newest.get("recovery"),
            "deferred": deferred,
            "incidents": incidents,
            "missing": [part for part, true in missing.items() if true],
        }

    def _operation(self, identity: str) -> dict[str, Any]:
        try:
            found = self._traces.status(identity)
        except (*UNANSWERED, JournalUnavailable):
            found = None
        # Another instance has it, or nobody any more.
        return found.to_json() if found is not None else {"operationId": identity, "status": "unknown"}

    def _touched(self, records: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
        """The incidents during which something of it failed, and whether MongoDB was asked for them."""
        moments = [record["timestamp"] for record in records]
        early, late = min(moments), max(moments)
        found = self._incidents.read(begin=early, end=late + timedelta(seconds=NOTICED))
        fitting = [incident for incident in found["incidents"] if _fits(incident, records)]
        return fitting, found["scope"] == "all"


def _survived(record: Mapping[str, Any]) -> bool:
    return bool((record.get("recovery") or {}).get("successful") or (record.get("facts") or {}).get("operationId"))


def _operations(records: Iterable[Mapping[str, Any]]) -> list[str]:
    found = [(record.get("facts") or {}).get("operationId") for record in records]
    return list(dict.fromkeys(identity for identity in found if isinstance(identity, str)))


def _fits(incident: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> bool:
    """What went wrong for another reason while the database was away is no part of that."""
    return incident["cause"] != "database_lost" or any(map(_of_database, records))


def _of_database(record: Mapping[str, Any]) -> bool:
    """As :attr:`prodfix.classification.classifications.Classification.of_database`, of what is stored."""
    slow = record.get("category") == ErrorCategory.TIMEOUT and record.get("code") != NETWORK_TIMED_OUT.code
    return slow or record.get("category") == ErrorCategory.DATABASE_CONNECTION
