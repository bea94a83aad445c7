"""What the tools may be asked. Whatever is not here, or has another form, is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from prodfix.errors import ErrorCategory
from prodfix.incidents.incident_log import IncidentState
from prodfix.incidents.observed import IncidentCause
from prodfix.queries.query_statistics import QuerySort
from prodfix.statistics.decisions import GroupState
from prodfix.statistics.group_list import GroupSort
from prodfix.statistics.statistics import TimeRange
from prodfix.statistics.triage import LONGEST_LINK, LONGEST_NAME, LONGEST_NOTE, MOST_MORE

MOST = 50  # entries of a page


class Arguments(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, defer_build=True)


Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{16}$", description="16 hexadecimal digits")]
Limit = Annotated[int, Field(ge=1, le=MOST, description="Entries of one page")]
Offset = Annotated[int, Field(ge=0, le=100_000, description="The `next` of the page before")]
Words = Annotated[str, Field(min_length=1, max_length=200)]
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _in_time(moment: datetime) -> datetime:
    """In UTC, and no earlier or later than anything can have happened: there UTC may have no such moment."""
    return min(max(moment, _EARLIEST), _LATEST).astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_time)]


class InRange(Arguments):
    time_range: Annotated[TimeRange, Field(description="The last hour, day or week")] = "24h"


class KindsAsked(InRange):
    q: Annotated[
        str | None,
        Field(
            min_length=1, max_length=200, description="Words of its headline, place, endpoints or code, each of them"
        ),
    ] = None
    status: GroupState | None = None
    category: ErrorCategory | None = None
    endpoint: Annotated[Words | None, Field(description="The template of a route on which it has happened")] = None
    release: Annotated[Words | None, Field(description="In which it has happened")] = None
    sort: Annotated[
        GroupSort, Field(description="Seen first the latest, most often, by most users, or rising most")
    ] = "most"
    limit: Limit = 20
    offset: Offset = 0


class KindAsked(InRange):
    fingerprint: Fingerprint


class RecordsAsked(Arguments):
    begin: Annotated[Moment | None, Field(alias="from", description="Inclusive, ISO 8601 with a zone")] = None
    end: Annotated[Moment | None, Field(alias="to", description="Exclusive")] = None
    fingerprint: Fingerprint | None = None
    category: ErrorCategory | None = None
    code: Words | None = None
    endpoint: Annotated[Words | None, Field(description="The route's template")] = None
    user: Annotated[str | None, Field(min_length=1, max_length=128, description="The user's ID")] = None
    limit: Limit = 20
    cursor: Annotated[str | None, Field(pattern="^[0-9]{1,15}-[0-9a-f]{24}$")] = None


class RequestAsked(Arguments):
    request_id: Annotated[str, Field(pattern="^[A-Za-z0-9._-]{8,64}$", description="Of the header X-Request-ID")]


class IncidentsAsked(Arguments):
    begin: Annotated[Moment | None, Field(alias="from", description="Inclusive, ISO 8601 with a zone")] = None
    end: Annotated[Moment | None, Field(alias="to", description="Exclusive")] = None
    cause: IncidentCause | None = None
    status: IncidentState | None = None
    limit: Limit = 20
    offset: Offset = 0


class QueriesAsked(Arguments):
    sort: Annotated[QuerySort, Field(description="Largest first")] = "total"
    operation: Words | None = None
    collection: Words | None = None
    limit: Limit = 20
    offset: Offset = 0


class QueryAsked(Arguments):
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$", description="Of an `advice` of list_queries")]


class ResolveAsked(Arguments):
    fingerprint: Fingerprint
    in_next_release: Annotated[bool, Field(description="Releases that have the error go on to run for a while")] = False


class ReopenAsked(Arguments):
    fingerprint: Fingerprint


class IgnoreAsked(Arguments):
    fingerprint: Fingerprint
    until: Annotated[Moment | None, Field(description="ISO 8601 with a zone; without any of these for ever")] = None
    more: Annotated[int | None, Field(ge=1, le=MOST_MORE, description="Until so many more of it have happened")] = None
    escalates: Annotated[bool, Field(description="Until it escalates")] = False


class NoteAsked(Arguments):
    fingerprint: Fingerprint
    text: Annotated[
        str | None, Field(max_length=LONGEST_NOTE, description="Replaces the note; empty takes it away")
    ] = None
    owner: Annotated[str | None, Field(max_length=LONGEST_NAME, description="Who looks after it")] = None
    link: Annotated[
        str | None, Field(max_length=LONGEST_LINK, description="An http or https URL of an issue elsewhere")
    ] = None


def now() -> datetime:
    return datetime.now(UTC)
