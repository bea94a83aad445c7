"""What there is to see, as JSON. Each answer says what it covers."""

from __future__ import annotations

from prodfix import FieldError, NotFound, current_prodfix
from prodfix.blueprints.diagnostics import envelopes, parameters
from prodfix.blueprints.diagnostics.endpoints import blueprint_of, endpoint
from prodfix.blueprints.diagnostics.paging import after_number, number_of
from prodfix.blueprints.diagnostics.routes import application_routes
from prodfix.models import AlertsReport, DatabaseReport, DeferredWrite, ErrorStatistics, RequestReport

blueprint = blueprint_of("api")


@endpoint(blueprint, "GET", "/database", DatabaseReport)
def database() -> DatabaseReport:
    """How the database is: connection, collections, newest errors, and the workers of this instance.

    Counts are estimates. A figure that MongoDB refuses, or that takes too long, is null, and `unavailable` says why.
    """
    return current_prodfix.diagnostics.report.database()


@endpoint(blueprint, "GET", "/errors", ErrorStatistics, query=parameters.InTimeRange, operation="getErrorStatistics")
def errors(query: parameters.InTimeRange) -> ErrorStatistics:
    """How many errors of what kind, from where, out of how many requests.

    While MongoDB is down `scope` is `instance`: what the workers of this instance have counted.
    """
    return current_prodfix.requests.statistics.read(query.time_range).statistics()


@endpoint(
    blueprint, "GET", "/errors/records", envelopes.RecordsPage, query=parameters.RecordsFilter, operation="listErrors"
)
def records(query: parameters.RecordsFilter) -> envelopes.RecordsPage:
    """Single errors, newest first."""
    page = current_prodfix.errors.lookup.errors(**query.asked())
    return envelopes.RecordsPage(page.scope, query.begin, query.end, page.summaries, page.next)


@endpoint(blueprint, "GET", "/errors/groups", envelopes.GroupsPage, query=parameters.GroupsFilter)
def groups(query: parameters.GroupsFilter) -> envelopes.GroupsPage:
    """The kinds of errors: what each is called, how often it happened and whom it met, and what was decided of it.

    A filter chooses kinds; the figures of each are of all that it has in the time range. While MongoDB cannot be asked its
    `status` is `unknown`, and `status=open` finds those, too: they may be open.
    """
    statistics, offset = current_prodfix.requests.statistics.read(query.time_range), number_of(query.cursor)
    found, total = current_prodfix.errors.groups.page(
        statistics.window, query.wanted(), sort=query.sort, limit=query.limit, offset=offset
    )
    following = offset + len(found)
    return envelopes.GroupsPage(
        groups=found,
        total=total,
        next=after_number(following if found and following < total else None),
        coverage=statistics.coverage(),
    )


@endpoint(blueprint, "GET", "/errors/groups/<fingerprint>", envelopes.OneGroup, query=parameters.InTimeRange)
def group(fingerprint: str, query: parameters.InTimeRange) -> envelopes.OneGroup:
    """One kind of error, with its newest records."""
    statistics = current_prodfix.requests.statistics.read(query.time_range)
    found = current_prodfix.errors.groups.find(fingerprint[:64], statistics.window)
    if found is None:
        raise NotFound("no such group")
    newest = current_prodfix.errors.lookup.errors(fingerprint=found.fingerprint, limit=10)
    kept = current_prodfix.errors.lookup.kept(found.fingerprint)
    return envelopes.OneGroup(found, kept, newest.summaries, statistics.coverage())


@endpoint(blueprint, "GET", "/requests/<request_id>", RequestReport)
def request(request_id: str) -> RequestReport:
    """All that is known of one request, from whichever worker or instance served it.

    Its errors, the commands that it sent, what was tried again, what became of its deferred writes, and the incident that it
    fell into. A request that went well leaves no record, and is not found. Of a kind of which there are many errors only a sample
    is kept: `details` say so where it may be one of the others.
    """
    requests = current_prodfix.diagnostics.requests
    found = requests.find(request_id)
    if found is None:
        sampled = requests.sampled()
        kinds = "kinds" if sampled != 1 else "kind"
        told = f"Of {sampled} {kinds} of errors only a sample is kept: this may be one of the others"
        problems = (FieldError("requestId", "perhaps_thinned", told),) if sampled else ()
        raise NotFound("no record of this request", problems=problems)
    return found


@endpoint(blueprint, "GET", "/endpoints", envelopes.EndpointsPage, query=parameters.EndpointsFilter)
def endpoints(query: parameters.EndpointsFilter) -> envelopes.EndpointsPage:
    """The endpoints of the application: which are slow, which fail, and what they ask of the database.

    Of each how many requests there were, how many of them failed, and how long they took; the commands and the time of the
    database are averages of a request. Those of the diagnostics are none of the application's, and left out.
    """
    counted, offset = current_prodfix.requests.statistics.read(query.time_range), number_of(query.cursor)
    found = application_routes(counted.endpoints(query.sort))
    following = offset + query.limit
    return envelopes.EndpointsPage(
        endpoints=found[offset:following],
        total=len(found),
        next=after_number(following if following < len(found) else None),
        coverage=counted.coverage(),
    )


@endpoint(blueprint, "GET", "/queries", envelopes.QueriesPage, query=parameters.QueriesFilter)
def queries(query: parameters.QueriesFilter) -> envelopes.QueriesPage:
    """Every kind of command that the application sends, over the live workers, with advice for slow ones."""
    offset = number_of(query.cursor)
    found = current_prodfix.queries.statistics.read(
        query.sort, operation=query.operation, collection=query.collection, limit=query.limit, offset=offset
    )
    following = offset + len(found.queries)
    return envelopes.QueriesPage(found, after_number(following if following < found.total and found.queries else None))


@endpoint(blueprint, "GET", "/incidents", envelopes.IncidentsPage, query=parameters.IncidentsFilter)
def incidents(query: parameters.IncidentsFilter) -> envelopes.IncidentsPage:
    """From the loss of the database, or a jump of the error rate, to its end: newest first."""
    offset = number_of(query.cursor)
    found = current_prodfix.errors.incident_log.read(
        begin=query.begin, end=query.end, cause=query.cause, status=query.status, limit=query.limit, offset=offset
    )
    following = after_number(offset + query.limit if found.more else None)
    return envelopes.IncidentsPage(found.scope, found.incidents, following)


@endpoint(blueprint, "GET", "/alerts", AlertsReport)
def alerts() -> AlertsReport:
    """What is wrong with this instance now, the last alerts with what became of them, and the rules with what is muted."""
    return current_prodfix.alerts.read()


@endpoint(
    blueprint, "GET", "/connection-events", envelopes.ConnectionEventsPage, query=parameters.ConnectionEventsFilter
)
def connection_events(query: parameters.ConnectionEventsFilter) -> envelopes.ConnectionEventsPage:
    """When the connection of a worker was lost and came back, newest first."""
    page = current_prodfix.errors.lookup.connection_events(**query.asked())
    return envelopes.ConnectionEventsPage(page.scope, page.events, page.next)


@endpoint(blueprint, "GET", "/deferred", envelopes.DeferredPage, query=parameters.Deferred)
def deferred(query: parameters.Deferred) -> envelopes.DeferredPage:
    """Writes that wait on this instance's disk, or were put aside: counts, the oldest's age, and a page of them.

    Arguments are not shown.
    """
    offset, backlog = number_of(query.cursor), current_prodfix.deferral.backlog
    page = backlog.page(state=query.state, operation=query.operation, limit=query.limit, offset=offset)
    return envelopes.DeferredPage(
        scope="instance",
        counts=current_prodfix.diagnostics.report.deferred(),
        groups=backlog.groups.read(query.state, query.operation),
        entries=page.entries,
        orders=envelopes.Orders(backlog.ordered, backlog.orders()),
        next=after_number(offset + query.limit if page.more else None),
    )


@endpoint(blueprint, "GET", "/deferred/<operation_id>", DeferredWrite)
def deferred_write(operation_id: str) -> DeferredWrite:
    """One of them, with the names and types of its arguments and without a value."""
    return current_prodfix.deferral.backlog.show(operation_id)
