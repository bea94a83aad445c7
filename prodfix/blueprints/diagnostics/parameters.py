"""What may be asked: the queries of the API and its pages, and how queries, bodies and forms are read.

Whatever is not here or in :mod:`prodfix.blueprints.diagnostics.change_bodies`, or has another form, is answered with 422.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from flask import Request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from prodfix import ConnectionState, DeviceType, ErrorCategory, FieldError, Severity, ValidationFailed
from prodfix.blueprints.diagnostics.paging import NUMBER, PLACE
from prodfix.models import (
    SERVICE,
    BacklogState,
    CountedErrors,
    GroupFilter,
    GroupSort,
    GroupState,
    IncidentCause,
    IncidentState,
    QuerySort,
    RouteSort,
    TimeRange,
)

Asked = TypeVar("Asked", bound="Parameters")

CURSOR = "The `next` of the page before"
Words = Annotated[str, Field(min_length=1, max_length=200)]
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(?:([Zz])|([+\- ])(\d\d:\d\d))", re.ASCII
)
_WHOLE = re.compile(r"[0-9]{1,6}")


def _written(value: Any) -> Any:
    """A date-time as RFC 3339 section 5.6 writes it; a ``+`` that was not encoded has become a blank on the way. A number is
    none: seconds, milliseconds and a year look alike."""
    found = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError("datetime", "must be a date and a time with its zone, such as 2026-11-26T12:00:00Z")
    local, utc, sign, offset = found.groups()
    return local + (utc or sign.replace(" ", "+") + offset)


def digits(value: Any) -> Any:
    """Nothing but digits: ``5.0``, ``1_0`` and ``+5`` are no whole numbers of a query."""
    if isinstance(value, str) and _WHOLE.fullmatch(value) is None:
        raise PydanticCustomError("int_parsing", "must be a whole number")
    return value


def whole(value: Any) -> Any:
    """A whole number of JSON, which ``15.0`` is too (JSON Schema 2020-12, section 6.1.1), and neither a text nor a boolean."""
    if value is None or (isinstance(value, float) and value.is_integer()):
        return None if value is None else int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise PydanticCustomError("int_parsing", "must be a whole number")
    return value


def _in_time(moment: datetime) -> datetime:
    """In UTC, and no earlier or later than anything can have happened: before and after that there is nothing to be found."""
    return min(max(moment, _EARLIEST), _LATEST).astimezone(UTC)


Moment = Annotated[
    AwareDatetime, BeforeValidator(_written), AfterValidator(_in_time), Field(examples=["2026-11-26T12:00:00Z"])
]
Limit = Annotated[int, Field(ge=1, le=200, description="Entries of one page"), BeforeValidator(digits)]


class Parameters(BaseModel):
    """Base of all: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False, defer_build=True)


class InTimeRange(Parameters):
    time_range: Annotated[TimeRange, Field(alias="timeRange", description="The last hour, day or week")] = "1h"


class InPages(Parameters):
    limit: Limit = 50
    cursor: Annotated[str | None, Field(pattern=NUMBER, description=CURSOR)] = None


class InTime(Parameters):
    begin: Annotated[Moment | None, Field(alias="from", description="Inclusive")] = None
    end: Annotated[Moment | None, Field(alias="to", description="Exclusive")] = None


class InPlaces(InTime):
    limit: Limit = 50
    cursor: Annotated[str | None, Field(pattern=PLACE, description=CURSOR)] = None

    def asked(self) -> dict[str, Any]:
        """For :class:`prodfix.records.lookup.Lookup`, whose names for what is asked are the same."""
        values = self.model_dump()
        return {"after": values.pop("cursor"), **values}


class RecordsFilter(InPlaces):
    category: ErrorCategory | None = None
    severity: Severity | None = None
    code: Annotated[str | None, Field(max_length=100)] = None
    fingerprint: Annotated[str | None, Field(pattern=r"^[0-9a-f]{16}$", description="Of a group")] = None
    endpoint: Annotated[Words | None, Field(description="The route's template")] = None
    device: DeviceType | None = None
    user: Annotated[str | None, Field(min_length=1, max_length=128, description="The user's ID")] = None
    errors: Annotated[
        CountedErrors | None,
        Field(
            description="Only what the statistics count: errors of the `service`, or `all`; without warnings of what was "
            "retried or deferred"
        ),
    ] = None

    def asked(self) -> dict[str, Any]:
        values = super().asked()
        return {"counted": values.pop("errors"), **values}


class GroupsFilter(InTimeRange, InPages):
    status: Annotated[GroupState | None, Field(description="`open` finds what is unknown, too")] = None
    category: ErrorCategory | None = None
    endpoint: Annotated[Words | None, Field(description="The template of a route on which it has happened")] = None
    device: Annotated[DeviceType | None, Field(description="On which it has happened")] = None
    release: Annotated[Words | None, Field(description="In which it has happened")] = None
    user: Annotated[
        str | None, Field(min_length=1, max_length=128, description="The ID of a user, by the records that are kept")
    ] = None
    q: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="Words that stand in its headline, place, endpoints, code or fingerprint, each of them",
        ),
    ] = None
    sort: Annotated[
        GroupSort,
        Field(description="Seen first the latest, most often, by most users, or rising most"),
    ] = "most"

    def wanted(self) -> GroupFilter:
        """Which kinds are asked for, whatever part of them in whatever order."""
        return GroupFilter(self.status, self.category, self.endpoint, self.device, self.release, self.user, self.q)


class EndpointsFilter(InTimeRange, InPages):
    sort: Annotated[
        RouteSort, Field(description="Largest first; `database`: by all the time that an endpoint takes of it")
    ] = "failing"


class ConnectionEventsFilter(InPlaces):
    event: ConnectionState | None = None


class IncidentsFilter(InTime, InPages):
    cause: IncidentCause | None = None
    status: IncidentState | None = None


class QueriesFilter(InPages):
    sort: Annotated[QuerySort, Field(description="Largest first")] = "total"
    operation: Words | None = None
    collection: Words | None = None


class Overview(InTimeRange):
    """``errors``: those that the service is to blame for, or all."""

    errors: CountedErrors = "service"


class Shown(InTimeRange):
    """Of a page for eyes: what was done a moment ago is told once."""

    done: Annotated[str | None, Field(max_length=20)] = None


class KindsShown(GroupsFilter):
    """Of the page for eyes: what is to be done comes first."""

    time_range: Annotated[TimeRange, Field(alias="timeRange")] = "24h"
    status: Literal["open", "ignored", "resolved"] = "open"
    sort: GroupSort = "newest"
    errors: CountedErrors = "service"

    def wanted(self) -> GroupFilter:
        """What is back after it was resolved is open, too. Who names a category means that one, whoever is to blame."""
        states: tuple[GroupState, ...] = ("open", "regressed") if self.status == "open" else (self.status,)
        asked = replace(super().wanted(), status=states)
        everything = self.errors == "all" or self.category is not None
        return asked if everything else replace(asked, category=SERVICE)


class Deferred(InPages):
    state: BacklogState | None = None
    operation: Annotated[Words | None, Field(description="The name that the application registered")] = None


class DeferredShown(Deferred):
    limit: Limit = 25
    done: Annotated[str | None, Field(max_length=20)] = None
    count: Annotated[int | None, Field(ge=0), BeforeValidator(digits)] = None
    left: Annotated[int | None, Field(ge=0), BeforeValidator(digits)] = None


class AlertsShown(Parameters):
    done: Annotated[str | None, Field(max_length=20)] = None


class WorkersShown(Parameters):
    stacks: bool = False


def query_of(request: Request, kind: type[Asked]) -> Asked:
    """The query string as ``kind``. Raises ``ValidationFailed``, also for a name that comes twice."""
    _refuse_twice(request)
    return _checked(kind, request.args.to_dict())


def shown_of(request: Request, kind: type[Asked]) -> Asked:
    """As :func:`query_of`, of a form of the page, which sends its empty fields too."""
    _refuse_twice(request)
    return _checked(kind, {name: value for name, value in request.args.items() if value.strip()})


def body_of(request: Request, kind: type[Asked]) -> Asked:
    """The JSON body as ``kind``; none is an empty object. Raises ``ValidationFailed`` and what Flask says of no JSON."""
    return _checked(kind, request.get_json() if request.get_data() else {})


def form_of(request: Request, kind: type[Asked]) -> Asked:
    """A form of the page as ``kind``, without what the page itself puts there. Raises ``ValidationFailed``."""
    return _checked(kind, {name: value for name, value in request.form.items() if name != "csrf"})


def _refuse_twice(request: Request) -> None:
    twice = [name for name in request.args if len(request.args.getlist(name)) > 1]
    if twice:
        problems = tuple(FieldError(name[:100], "once", "must be given once") for name in twice[:50])
        raise ValidationFailed("given twice", problems=problems)


def _checked(kind: type[Asked], given: Any) -> Asked:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ValidationFailed.from_pydantic(error) from None
