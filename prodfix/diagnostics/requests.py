"""All that is known of one request, from its ID alone: its errors, what it asked of the database, what was tried again, what
became of its deferred writes, and the incident that it fell into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import pymongo

from prodfix.classification.classifications import of_database
from prodfix.deferral.operation_status import OperationAnswer, OperationStatuses
from prodfix.errors import UNANSWERED, ErrorCategory, JournalUnavailable, NotKnownNow, Outcome
from prodfix.incidents.incident_log import Incident, IncidentLog
from prodfix.incidents.observed import NOTICED
from prodfix.logs.request_lines import RequestLines, RequestLog
from prodfix.records.lookup import Lookup, shown
from prodfix.records.records import ErrorSummary, RecoveryAttempts
from prodfix.request.context import ErrorContext
from prodfix.request.devices import description
from prodfix.request.identities import is_request_id
from prodfix.request.notes import SentCommand
from prodfix.serialization import INLINE, Description, Serializable
from prodfix.slotted import frozen
from prodfix.workers.workers import Workers

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
LIMIT = 0.7  # seconds for all that MongoDB is asked

RequestPart = Literal["errors", "deferred", "incidents", "log"]


@frozen
class UnknownOperation(Serializable):
    """A deferred write that another instance has, or nobody any more."""

    operation_id: str
    status: Literal["unknown"] = "unknown"


@frozen
class RequestReport(Serializable):
    """All that is known of one request. ``timestamp`` is that of its newest error. Without status and code it had no error for
    an answer: a retry has saved it, or its write waits on disk."""

    context: Annotated[ErrorContext, INLINE]
    client: Annotated[str | None, Description("The user agent's device, system and client, in words")]
    timestamp: datetime
    status: Annotated[int | None, Description("HTTP status")]
    code: str | None
    outcome: Outcome | None
    errors: Annotated[list[dict[str, Any]], Description("The whole records, newest first")]
    commands: list[SentCommand]
    recovery: RecoveryAttempts | None
    deferred: list[OperationAnswer | UnknownOperation]
    incidents: list[Incident]
    release: Annotated[str | None, Description("What was deployed when it was served")]
    instance: Annotated[str | None, Description("Which instance of the service has served it")]
    pid: Annotated[int | None, Description("Its worker's process")]
    unreachable: Annotated[bool, Description("The database could not be reached in it")]
    log: Annotated[RequestLog | None, Description("Its lines in the log files of the instance that is asked")]
    trace_url: Annotated[str | None, Description("Its trace, as `TRACE_URL_TEMPLATE` says")]
    thinned: Annotated[
        bool, Description("Its records are here for a while only: of their kind there are enough in MongoDB")
    ]
    missing: Annotated[list[RequestPart], Description("Parts of which MongoDB may know more, and cannot be asked now")]


class Requests:
    """Puts it together from whatever worker and instance knows of it."""

    def __init__(
        self,
        lookup: Lookup,
        statuses: OperationStatuses,
        incidents: IncidentLog,
        workers: Workers,
        *,
        configured: bool = True,
        logs: RequestLines | None = None,
        trace_url: str = "",
    ) -> None:
        self._logs, self._trace_url = logs, trace_url
        self._lookup, self._statuses, self._incidents = lookup, statuses, incidents
        self._workers = workers
        self._configured = configured

    def find(self, request_id: str) -> RequestReport | None:
        """None if there is no record of it: most requests go well, and leave none.

        Raises :class:`prodfix.errors.NotKnownNow` if nothing is known here and MongoDB cannot be asked, and
        ``TimeoutError`` if the disk does not answer."""
        if not is_request_id(request_id):
            return None
        with pymongo.timeout(LIMIT):
            return self._find(request_id)

    def _find(self, request_id: str) -> RequestReport | None:
        records, scope, thinned = self._lookup.of_request(request_id)
        unasked = self._configured and scope == "instance"
        if not records and unasked:
            raise NotKnownNow
        return self._report(request_id, records, unasked=unasked, thinned=thinned) if records else None

    def sampled(self) -> int:
        """Of how many kinds of errors only a sample is kept: what is not found may be one of the others. Never raises."""
        here = max((worker.storage.sampled_kinds for worker in self._workers.read()), default=0)
        with pymongo.timeout(LIMIT):
            return max(here, self._lookup.sampled())

    def _report(
        self, request_id: str, records: Sequence[dict[str, Any]], *, unasked: bool, thinned: bool
    ) -> RequestReport:
        identities = _operations(records)
        asked = [self._operation(identity) for identity in identities]
        deferred = [found or UnknownOperation(one) for one, found in zip(identities, asked, strict=True)]
        incidents, of_all = self._touched(records)
        missing: dict[RequestPart, bool] = {
            "errors": unasked,
            "deferred": self._configured and any(found is None for found in asked),
            "incidents": self._configured and not of_all,
        }
        context, recovery = _first(records, "context"), records[0].get("recovery")
        described = replace(ErrorContext.from_json(context), request_id=request_id)
        log = self._log(request_id, described, records)
        missing["log"] = self._logs is not None and log is None
        answered = next((ErrorSummary.of(record) for record in records if not _survived(record)), None)
        return RequestReport(
            context=described,
            client=description(described.user_agent or ""),
            timestamp=records[0]["timestamp"],
            status=answered.status if answered else None,
            code=answered.code if answered else None,
            outcome=answered.outcome if answered else None,
            errors=[shown(record) for record in records],
            commands=[SentCommand.from_json(one) for one in _listed(_first(records, "trail"))],
            recovery=RecoveryAttempts.from_json(recovery) if recovery else None,
            deferred=deferred,
            incidents=incidents,
            release=_text(_first(records, "release")),
            instance=_text(_first(records, "instance")),
            pid=pid if isinstance(pid := _first(records, "pid"), int) else None,
            unreachable=any(one.get("category") == ErrorCategory.DATABASE_CONNECTION for one in records),
            log=log,
            trace_url=self._trace(described.trace_id),
            thinned=thinned,
            missing=[part for part, true in missing.items() if true],
        )

    def log(self, request_id: str, since: datetime) -> RequestLog | None:
        """The lines of a request in this instance's log files, written after ``since``; None if the disk does not answer in time,
        and of what is no request's ID."""
        if self._logs is None or not is_request_id(request_id):
            return None
        return self._logs.find(request_id, since)

    def _log(self, request_id: str, context: ErrorContext, records: Sequence[Mapping[str, Any]]) -> RequestLog | None:
        """From when the request came."""
        if self._logs is None:
            return None
        first: datetime = min(record["timestamp"] for record in records)
        try:
            came = datetime.fromisoformat(context.timestamp or "")
        except ValueError:
            came = first
        return self._logs.find(request_id, min(came, first) if came.tzinfo else first)

    def _trace(self, trace_id: str | None) -> str | None:
        """None without a template, or of what is no ID."""
        if not self._trace_url or trace_id is None or _TRACE_ID.fullmatch(trace_id) is None:
            return None
        return self._trace_url.replace("{traceId}", trace_id)

    def _operation(self, identity: str) -> OperationAnswer | UnknownOperation | None:
        """None if nobody can be asked now: the application's database has it, which may be another one than ours."""
        try:
            found = self._statuses.status(identity)
        except (*UNANSWERED, JournalUnavailable):
            return None
        return found.answer() if found is not None else UnknownOperation(identity)

    def _touched(self, records: Sequence[Mapping[str, Any]]) -> tuple[list[Incident], bool]:
        """The incidents during which something of it failed, and whether MongoDB was asked for them."""
        moments = [record["timestamp"] for record in records]
        early, late = min(moments), max(moments)
        found = self._incidents.read(begin=early, end=late + timedelta(seconds=NOTICED))
        return [incident for incident in found.incidents if _fits(incident, records)], found.scope == "all"


def _text(found: Any) -> str | None:
    return found if isinstance(found, str) and found else None


def _listed(found: Any) -> Sequence[Any]:
    """What a record of whatever release has in a list's place."""
    return found if isinstance(found, list) else ()


def _first(records: Iterable[Mapping[str, Any]], part: str) -> Any:
    """Of the newest record that has it: not each was made while the request was served."""
    return next((record[part] for record in records if record.get(part)), None)


def _survived(record: Mapping[str, Any]) -> bool:
    return bool((record.get("recovery") or {}).get("successful") or (record.get("facts") or {}).get("operationId"))


def _operations(records: Iterable[Mapping[str, Any]]) -> list[str]:
    found = [(record.get("facts") or {}).get("operationId") for record in records]
    return list(dict.fromkeys(identity for identity in found if isinstance(identity, str)))


def _fits(incident: Incident, records: Sequence[Mapping[str, Any]]) -> bool:
    """What went wrong for another reason while the database was away is no part of that."""
    return incident.cause != "database_lost" or any(map(_of_database, records))


def _of_database(record: Mapping[str, Any]) -> bool:
    """Of what is stored, where anything may stand."""
    return of_database(str(record.get("category")), str(record.get("code")))
