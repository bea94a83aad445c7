"""Which metrics there are: name, kind, unit, and what each says. What a scrape shows is these, with their samples.

Names are those of OpenTelemetry's stable semantic conventions where they have one (``http.server.request.duration`` and
``db.client.operation.duration``, opentelemetry.io/docs/specs/semconv), written as its Prometheus exporters write them;
``prodfix_`` stands before the rest. Units are base units (prometheus.io/docs/practices/naming).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, NamedTuple

from prodfix.slotted import frozen

MetricKind = Literal["counter", "gauge", "histogram", "info"]
Labels = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are shown."""

HTTP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds, as OpenTelemetry's conventions advise for requests."""
DB_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""And for database operations."""

CONVENTIONS: Mapping[str, str] = {
    "http_server_request_duration_seconds": "http.server.request.duration",
    "db_client_operation_duration_seconds": "db.client.operation.duration",
    "http_request_method": "http.request.method",
    "http_response_status_code": "http.response.status_code",
    "http_route": "http.route",
    "error_type": "error.type",
    "db_system_name": "db.system.name",
    "db_operation_name": "db.operation.name",
    "db_collection_name": "db.collection.name",
    "db_response_status_code": "db.response.status_code",
}
"""The names of metrics and labels that are the conventions', as these write them."""


class Exemplar(NamedTuple):
    """One of the requests that a bucket counts. ``value`` in the family's unit, ``at`` in seconds since the epoch."""

    trace_id: str
    value: float
    at: float


class Distribution(NamedTuple):
    """How many observations fell between the bounds of the family (each count for itself, the last one beyond all bounds), their
    sum, and by the place of its bucket an exemplar."""

    counts: Sequence[int]
    total: float
    exemplars: Mapping[int, Exemplar] = MappingProxyType({})


class MetricSample(NamedTuple):
    """One series, as it is now. A tuple, since a scrape makes hundreds."""

    labels: Labels
    value: float | Distribution


@frozen
class MetricFamily:
    """A metric with all its series. A counter's ``name`` is without ``_total``, an info's without ``_info``; ``unit`` is the end
    of the name, or empty; ``bounds`` are a histogram's, without the last one, which is infinite."""

    name: str
    kind: MetricKind
    unit: str
    help: str
    bounds: tuple[float, ...] = ()
    samples: tuple[MetricSample, ...] = ()

    def of(self, samples: Sequence[MetricSample]) -> MetricFamily:
        """The same with these samples."""
        return replace(self, samples=tuple(samples))


CATALOGUE: dict[str, MetricFamily] = {}
"""All of them, by name, in the order in which they are shown."""


def _family(name: str, kind: MetricKind, text: str, unit: str = "", *, bounds: tuple[float, ...] = ()) -> MetricFamily:
    made = CATALOGUE[name] = MetricFamily(name, kind, unit, text, bounds)
    return made


# -- counted, and kept over restarts ------------------------------------------------------------------------------------------

REQUESTS = _family(
    "http_server_request_duration_seconds",
    "histogram",
    "Requests of the application by route template, method and status, and how long they took until their answer.",
    "seconds",
    bounds=HTTP_BOUNDS,
)
COMMANDS = _family(
    "db_client_operation_duration_seconds",
    "histogram",
    "Commands that the application sent to MongoDB, and how long they took.",
    "seconds",
    bounds=DB_BOUNDS,
)
ERRORS = _family("prodfix_errors", "counter", "Errors that were recorded, by category and code.")
RETRIES = _family("prodfix_retries", "counter", "Tries after the first, of operations and transactions.")
TRIES = _family("prodfix_first_tries", "counter", "First tries, which the budget of retries is a share of.")
RETRIES_REFUSED = _family("prodfix_retries_refused", "counter", "Retries that the budget did not allow.")
RECOVERED = _family("prodfix_operations_recovered", "counter", "Operations that a retry has saved.")
BREAKER_OPENED = _family("prodfix_breaker_opened", "counter", "Times that a circuit breaker has opened.")
BREAKER_REFUSED = _family("prodfix_breaker_refused", "counter", "Operations that an open circuit breaker has refused.")
DEFERRED_REFUSED = _family("prodfix_deferred_refused", "counter", "Writes that found no room to wait in.")
LINES_DROPPED = _family("prodfix_log_lines_dropped", "counter", "Log lines that no sink has kept, by sink.")
LINES_HELD = _family(
    "prodfix_log_lines_suppressed", "counter", "Log lines of floods, which one line tells of together."
)
RECORDS_DROPPED = _family("prodfix_records_dropped", "counter", "Errors, events and counted requests that are gone.")
SCRAPES = _family("prodfix_scrapes", "counter", "Requests for these metrics, by what became of them.")

# -- as it is now -------------------------------------------------------------------------------------------------------------

BUILD = _family("prodfix_build", "info", "The versions that run.")
WORKERS = _family("prodfix_workers", "gauge", "Worker processes of the instance that live.")
WHOLE = _family(
    "prodfix_metrics_complete",
    "gauge",
    "1 if all journals could be read. 0: one could not, and what is counted is left out so that it does not fall.",
)
SHARED = _family(
    "prodfix_metrics_shared",
    "gauge",
    "1 if the disk holds what is counted. 0: this worker's disk fails, and its counts are its own until that works again.",
)
DATABASE_UP = _family("prodfix_database_up", "gauge", "1 if every worker reaches the database.")
PING = _family(
    "prodfix_database_ping_seconds", "gauge", "The last ping's round trip, the longest of all workers.", "seconds"
)
POOL = _family("prodfix_pool_connections", "gauge", "Connections to the database over all workers, by state.")
POOL_LIMIT = _family("prodfix_pool_connections_max", "gauge", "Connections that the pools may have.")
POOL_WAITING = _family("prodfix_pool_pending_requests", "gauge", "Operations that wait for a connection.")
BREAKERS = _family("prodfix_breaker_workers", "gauge", "Workers by the state of their circuit breaker.")
INCIDENTS = _family("prodfix_incidents_open", "gauge", "1 while an incident of that cause is open.")
ALERTS = _family("prodfix_alerts_firing", "gauge", "Alerts that fire, by kind.")
DEFERRED = _family("prodfix_deferred_writes", "gauge", "Deferred writes on disk: those that wait, and those put aside.")
DEFERRED_BYTES = _family("prodfix_deferred_size_bytes", "gauge", "What they take of the journals.", "bytes")
DEFERRED_AGE = _family(
    "prodfix_deferred_oldest_age_seconds",
    "gauge",
    "How long the oldest write that waits has waited; 0 without any.",
    "seconds",
)
BUDGET = _family("prodfix_retry_budget_remaining", "gauge", "Retries that the workers may make now.")
LINES_WAITING = _family("prodfix_log_lines_waiting", "gauge", "Log lines that wait for their sink.")
SINKS_FAILING = _family("prodfix_log_sinks_failing", "gauge", "Log sinks that fail in at least one worker.")
JOURNALS_FAILING = _family("prodfix_journals_failing", "gauge", "Workers whose journal the disk does not take.")
MEMORY = _family(
    "prodfix_memory_resident_bytes", "gauge", "Memory of all workers, what they share counted once.", "bytes"
)
MEMORY_LIMIT = _family(
    "prodfix_memory_limit_bytes", "gauge", "Memory that the instance may have, if it is limited.", "bytes"
)
LAG = _family("prodfix_loop_lag_seconds", "gauge", "How late background work wakes up, in the worst worker.", "seconds")
