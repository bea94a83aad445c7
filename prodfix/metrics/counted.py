"""The families of what was counted, made of the sums over all boots."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prodfix.metrics import families
from prodfix.metrics.families import Distribution, Exemplar, Labels, MetricFamily, MetricSample
from prodfix.metrics.tallies import DIVIDER, Marks, Series
from prodfix.metrics.totals import Sums

Words = list[str]
NONE: Mapping[int, Exemplar] = {}

LINES = "log_lines_dropped:"  # before a sink's name

COUNTS: Mapping[str, MetricFamily] = {
    "retries": families.RETRIES,
    "first_tries": families.TRIES,
    "retries_refused": families.RETRIES_REFUSED,
    "recovered": families.RECOVERED,
    "breaker_opened": families.BREAKER_OPENED,
    "breaker_refused": families.BREAKER_REFUSED,
    "deferred_refused": families.DEFERRED_REFUSED,
    "lines_suppressed": families.LINES_HELD,
    "records_dropped": families.RECORDS_DROPPED,
}
"""What other parts of a worker count, by the names under which they tell it."""


def counted_families(sums: Sums) -> list[MetricFamily]:
    """All of them; those without labels are there from the beginning."""
    tables = sums.tables()
    counts = tables.get("counts", {})
    found = [
        families.REQUESTS.of(_timed(tables.get("requests", {}), _request, sums.marks)),
        families.COMMANDS.of(_timed(tables.get("commands", {}), _command, {})),
        families.ERRORS.of(_counted(tables.get("errors", {}), lambda key: (("category", key[0]), ("code", key[1])))),
    ]
    found += [family.of([MetricSample((), float(counts.get(name, [0])[0]))]) for name, family in COUNTS.items()]
    lines = [
        MetricSample((("sink", name.removeprefix(LINES)),), float(series[0]))
        for name, series in sorted(counts.items())
        if name.startswith(LINES)
    ]
    found.append(families.LINES_DROPPED.of(lines))
    found.append(families.SCRAPES.of(_counted(tables.get("scrapes", {}), lambda key: (("result", key[0]),))))
    return found


def _counted(table: Mapping[str, Series], labels: Callable[[Words], Labels]) -> list[MetricSample]:
    return [MetricSample(labels(key.split(DIVIDER)), float(series[0])) for key, series in sorted(table.items())]


def _timed(
    table: Mapping[str, Series], labels: Callable[[Words], Labels], marks: Mapping[str, Marks]
) -> list[MetricSample]:
    return [
        MetricSample(
            labels(key.split(DIVIDER)), Distribution(series[:-1], series[-1] / 1e6, _exemplars(marks.get(key)))
        )
        for key, series in sorted(table.items())
    ]


def _exemplars(marks: Marks | None) -> Mapping[int, Exemplar]:
    if marks is None:
        return NONE
    return {place: Exemplar(trace, micros / 1e6, at) for place, (trace, micros, at) in marks.items()}


def _request(words: Words) -> Labels:
    method, route, status = words
    labels = (("http_request_method", method), ("http_response_status_code", status), ("http_route", route))
    # As the conventions want it of an answer that is a failure of the server.
    return (("error_type", status), *labels) if status >= "500" else labels


def _command(words: Words) -> Labels:
    operation, collection, error = words
    labels = (("db_collection_name", collection), ("db_operation_name", operation), ("db_system_name", "mongodb"))
    if not error:
        return labels
    status = (("db_response_status_code", error),) if error.isdigit() else ()
    return (*labels[:2], *status, labels[2], ("error_type", error))
