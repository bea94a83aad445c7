"""The rows of one minute in the document of an instance's hour: one of each worker, together.

They are sent again each time that one of them has grown, so they are told as briefly as they can be, column by column: what is
alike then stands together, which compression likes. A kind's words stand once for all of its devices; times are milliseconds
since the minute began; and of durations there is a run of counts from the first place on, as text: the sign of a small number
is one byte, and a number in JSON with its comma is two or more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prodfix.statistics.packing import packed, unpacked
from prodfix.statistics.window import Counted

_NOTHING = ord("#")  # the sign of 0: what follows is none that JSON escapes, but for one
_SIGNS = 0xD800 - _NOTHING  # numbers that have a sign: what follows are surrogates

Run = str | Sequence[int]


def packed_rows(rows: Iterable[Counted]) -> bytes:
    """The times of errors in whole milliseconds."""
    return packed([[one.worker, one.revision, _errors(one), *_traffic(one.traffic)] for one in rows])


def rows_of(minute: int, value: bytes) -> list[Counted]:
    """Raises ``ValueError``, ``TypeError`` or ``LookupError`` for what :func:`packed_rows` has not made."""
    found = []
    for worker, revision, errors, devices, routes in unpacked(value):
        rows = _error_rows(minute * 60, errors)
        found.append(Counted(worker, minute, revision, revision, rows, _traffic_of(devices, routes)))
    return found


def _errors(row: Counted) -> list[Any]:
    kinds: dict[tuple[str, str, str], int] = {}
    begun, columns = row.minute * 60, []
    for category, device, endpoint, fingerprint, title, count, first, last, releases, *more in row.errors:
        place = kinds.setdefault((endpoint, fingerprint, title), len(kinds))
        times = (round((first - begun) * 1000), round((last - first) * 1000))
        columns.append((place, category, device, count, *times, releases, more[1:]))  # a minute has no steps
    return [list(kinds), *zip(*columns, strict=True)]


def _error_rows(begun: int, columns: Sequence[Any]) -> list[list[Any]]:
    kinds, *columns = columns
    found = []
    for place, category, device, count, first, span, releases, more in zip(*columns, strict=True):
        times = [round(begun + first / 1000, 3), round(begun + (first + span) / 1000, 3)]
        row = [category, device, *kinds[place], count, *times, releases]
        found.append([*row, [], *more] if more else row)
    return found


def _traffic(traffic: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    devices = []
    for device, requests, failed, pairs in traffic.get("devices", ()):
        bins = dict(pairs)
        first = min(bins, default=0)
        counts = [bins.get(place, 0) for place in range(first, max(bins, default=-1) + 1)]
        devices.append([device, requests, failed, first, _run(counts)])
    routes = traffic.get("routes", ())
    told = []
    for place, endpoint in enumerate(traffic.get("endpoints", ())):
        # Of what an earlier release has counted of a route there is no more than how often.
        more = routes[place] if place < len(routes) else ()
        told.append((*endpoint, *more[:3], _run(more[3:])) if more else (*endpoint, 0, 0, 0, ""))
    return devices, list(zip(*told, strict=True))


def _traffic_of(devices: Iterable[Sequence[Any]], routes: Sequence[Any]) -> dict[str, Any]:
    endpoints, more = [], []
    for name, requests, failed, commands, micros, first, run in zip(*routes, strict=True):
        counts = _counts(run)
        endpoints.append([name, requests, failed])
        more.append([commands, micros, first, *counts] if counts else [])
    found = []
    for device, requests, failed, first, run in devices:
        bins = [[place, count] for place, count in enumerate(_counts(run), first) if count]
        found.append([device, requests, failed, bins])
    return {"devices": found, "endpoints": endpoints, "routes": more}


def _run(counts: Sequence[int]) -> Run:
    if max(counts, default=0) >= _SIGNS:
        return counts
    return "".join([chr(_NOTHING + count) for count in counts])


def _counts(run: Run) -> Sequence[int]:
    return [ord(sign) - _NOTHING for sign in run] if isinstance(run, str) else run
