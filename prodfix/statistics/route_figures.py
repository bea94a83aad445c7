"""How the routes of the application are: how many requests, how many of them failed, how long they took, and what each asked of
the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from prodfix.serialization import INLINE, Description, Millis, Serializable
from prodfix.slotted import frozen
from prodfix.statistics.counts import Counts
from prodfix.statistics.route_counts import RouteCounts


@frozen
class Latency(Serializable):
    """The durations under which that many percent of the requests were."""

    p50: Millis
    p95: Millis
    p99: Millis


@frozen
class RequestRates(Serializable):
    """Requests, and those that were answered with 5xx."""

    requests: int
    failed_requests: int
    error_rate: Annotated[float | None, Description("Failed (5xx) of all; null without requests")]


@frozen
class EndpointFigures(Serializable):
    """Of one route."""

    endpoint: str
    errors: int
    rates: Annotated[RequestRates, INLINE]
    latency_ms: Annotated[Latency, Description("Each within a tenth")]
    commands: Annotated[float | None, Description("Commands that a request sends to the database, on average")]
    database_ms: Annotated[Millis, Description("What they take together, on average")]


RouteSort = Literal["errors", "failing", "slowest", "busiest", "database"]

_Key = Callable[[EndpointFigures], tuple[float, ...]]

_ORDERS: Mapping[RouteSort, _Key] = {
    "errors": lambda one: (one.errors, one.rates.requests),
    "failing": lambda one: (one.rates.failed_requests, one.rates.error_rate or 0, one.errors, one.rates.requests),
    "slowest": lambda one: (one.latency_ms.p95 or 0, one.rates.requests),
    "busiest": lambda one: (one.rates.requests, one.errors),
    "database": lambda one: ((one.database_ms or 0) * one.rates.requests, one.commands or 0, one.rates.requests),
}
"""The figures by which they are sorted, largest first: ``database`` by all the time that a route takes of it."""


def routes_of(counts: Counts, sort: RouteSort = "errors") -> list[EndpointFigures]:
    """All of them."""
    errors, known = counts.errors_by(2), counts.routes
    found = [_figures(name, errors.get(name, 0), known.get(name) or RouteCounts()) for name in {*errors, *known}]
    order = _ORDERS[sort]
    return sorted(found, key=lambda one: ([-value for value in order(one)], one.endpoint))


def _figures(endpoint: str, errors: int, route: RouteCounts) -> EndpointFigures:
    measured = route.measured
    return EndpointFigures(
        endpoint,
        errors,
        rates_of(route.requests, route.failed),
        Latency(*route.millis(0.5, 0.95, 0.99)),
        commands=round(route.commands / measured, 2) if measured else None,
        database_ms=round(route.command_micros / measured / 1e3, 2) if measured else None,
    )


def rates_of(requests: int, failed: int) -> RequestRates:
    return RequestRates(requests, failed, round(failed / requests, 6) if requests else None)
