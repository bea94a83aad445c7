"""What there is to see, as JSON. Each answer says what it covers."""

from __future__ import annotations

from typing import Any

from blueprints.diagnostics import answers, parameters
from blueprints.diagnostics.endpoints import blueprint_of, endpoint
from blueprints.diagnostics.paging import after_number, after_place, number_of, place_of
from prodfix import NotFound, Wanted, current_prodfix, error_summary, iso, shown

blueprint = blueprint_of("api")


@endpoint(blueprint, "GET", "/database", answers.Database)
def database() -> Any:
    """How the database is: connection, collections, newest errors, and the workers of this instance.

    Counts are estimates. A figure that MongoDB refuses, or that takes too long, is null, and `unavailable` says why.
    """
    return current_prodfix.diagnostics.database()


@endpoint(blueprint, "GET", "/errors", answers.Statistics, query=parameters.InTimeRange)
def errors(query: parameters.InTimeRange) -> Any:
    """How many errors of what kind, from where, out of how many requests.

    While MongoDB is down `scope` is `instance`: what the workers of this instance have counted.
    """
    return current_prodfix.statistics.read(query.time_range).to_json()


@endpoint(blueprint, "GET", "/errors/records", answers.Records, query=parameters.Records)
def records(query: parameters.Records) -> Any:
    """Single errors, newest first."""
    page = current_prodfix.lookup.errors(query.wanted(), after=place_of(query.cursor), limit=query.limit)
    return {
        "scope": page.scope,
        "windowFrom": iso(query.begin) if query.begin else None,
        "windowTo": iso(query.end) if query.end else None,
        "records": [error_summary(record) for record in page.records],
        "next": after_place(page.next),
    }


@endpoint(blueprint, "GET", "/errors/groups", answers.Groups, query=parameters.Groups)
def groups(query: parameters.Groups) -> Any:
    """The kinds of errors, the most frequent first, with their releases and whether they are resolved."""
    statistics, offset = current_prodfix.statistics.read(query.time_range), number_of(query.cursor)
    found, total = current_prodfix.groups.page(
        statistics.window, status=query.status, category=query.category, limit=query.limit, offset=offset
    )
    following = offset + len(found)
    return {
        "groups": [group.to_json() for group in found],
        "total": total,
        "next": after_number(following if found and following < total else None),
        **statistics.coverage(),
    }


@endpoint(blueprint, "GET", "/errors/groups/<fingerprint>", answers.OneGroup, query=parameters.InTimeRange)
def group(fingerprint: str, query: parameters.InTimeRange) -> Any:
    """One kind of error, with its newest records."""
    statistics = current_prodfix.statistics.read(query.time_range)
    found = current_prodfix.groups.find(fingerprint[:64], statistics.window)
    if found is None:
        raise NotFound("no such group")
    wanted = Wanted(fields=(("fingerprint", found.fingerprint),))
    newest = current_prodfix.lookup.errors(wanted, limit=10).records
    return {**found.to_json(), "records": [error_summary(record) for record in newest], **statistics.coverage()}


@endpoint(blueprint, "GET", "/requests/<request_id>", answers.Request)
def request(request_id: str) -> Any:
    """All that is known of one request, from whichever worker or instance served it.

    Its errors, the commands that it sent, what was tried again, what became of its deferred writes, and the incident that it
    fell into. A request that went well leaves no record, and is not found.
    """
    found = current_prodfix.requests.find(request_id)
    if found is None:
        raise NotFound("no record of this request")
    return found


@endpoint(blueprint, "GET", "/queries", answers.Queries, query=parameters.Queries)
def queries(query: parameters.Queries) -> Any:
    """Every kind of command that the application sends, over the live workers, with advice for slow ones."""
    offset = number_of(query.cursor)
    found = current_prodfix.queries.read(
        query.sort, operation=query.operation, collection=query.collection, limit=query.limit, offset=offset
    )
    following = offset + len(found["queries"])
    return {**found, "next": after_number(following if following < found["total"] and found["queries"] else None)}


@endpoint(blueprint, "GET", "/incidents", answers.Incidents, query=parameters.Incidents)
def incidents(query: parameters.Incidents) -> Any:
    """From the loss of the database, or a jump of the error rate, to its end: newest first."""
    offset = number_of(query.cursor)
    found = current_prodfix.incident_log.read(
        begin=query.begin, end=query.end, cause=query.cause, status=query.status, limit=query.limit, offset=offset
    )
    more = found.pop("more")
    return {**found, "next": after_number(offset + query.limit if more else None)}


@endpoint(blueprint, "GET", "/alerts", answers.Alerts)
def alerts() -> Any:
    """What is wrong with this instance now, and the last alerts with what became of them."""
    return current_prodfix.alerts.read().to_json()


@endpoint(blueprint, "GET", "/connection-events", answers.ConnectionEvents, query=parameters.ConnectionEvents)
def connection_events(query: parameters.ConnectionEvents) -> Any:
    """When the connection of a worker was lost and came back, newest first."""
    page = current_prodfix.lookup.connection_events(query.wanted(), after=place_of(query.cursor), limit=query.limit)
    return {
        "scope": page.scope,
        "events": [shown(event) for event in page.records],
        "next": after_place(page.next),
    }


@endpoint(blueprint, "GET", "/deferred", answers.DeferredPage, query=parameters.Deferred)
def deferred(query: parameters.Deferred) -> Any:
    """Writes that wait on this instance's disk, or were put aside: counts, the oldest's age, and a page of them.

    Arguments are not shown.
    """
    offset = number_of(query.cursor)
    page = current_prodfix.backlog.page(state=query.state, operation=query.operation, limit=query.limit, offset=offset)
    more = page.pop("more")
    orders = {"waiting": current_prodfix.backlog.ordered, "last": current_prodfix.backlog.orders()}
    following = after_number(offset + query.limit if more else None)
    return {"scope": "instance", **current_prodfix.diagnostics.deferred(), **page, "orders": orders, "next": following}


@endpoint(blueprint, "GET", "/deferred/<operation_id>", answers.DeferredWrite)
def deferred_write(operation_id: str) -> Any:
    """One of them, with the names and types of its arguments and without a value."""
    return current_prodfix.backlog.show(operation_id)
