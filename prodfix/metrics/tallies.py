"""What this process counts, from its begin on: one look into a table and two sums for each request and each command.

A series is a list: how many observations fell into each bucket, and at its end the sum of their microseconds; of what has no
duration it is one number. No lock is held: each step is one that Python's own lock lets no other thread come between (as in
:mod:`prodfix.operations.command_stats`); new series are made under one.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping

from prodfix.metrics.families import DB_BOUNDS, HTTP_BOUNDS
from prodfix.process.native import allocate_lock
from prodfix.process.per_process import in_each_process
from prodfix.statistics.counts import OTHER

Key = tuple[str | int, ...]
Series = list[int]
Marks = dict[int, tuple[str, int, float]]
"""Of one series, by the place of a bucket: a trace, its microseconds, and when (seconds since the epoch)."""

MOST_REQUESTS = 1_000  # series; routes are the code's, but an application may make some while it runs
MOST_COMMANDS = 600
MOST_ERRORS = 300
METHODS = frozenset("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY".split())
OTHER_METHOD = "_OTHER"  # as the conventions call what is none of these

_HTTP = tuple(round(bound * 1e6) for bound in HTTP_BOUNDS)
_DB = tuple(round(bound * 1e6) for bound in DB_BOUNDS)
DIVIDER = "\x1f"  # between the words of a key that is one text
WIDTHS: Mapping[str, int] = {"requests": len(_HTTP) + 2, "commands": len(_DB) + 2}
"""Numbers in a series of what has durations; all others have one."""


def joined(key: Key) -> str:
    """A key as one text, which is looked for in half of the time."""
    return DIVIDER.join(str(word).replace(DIVIDER, " ") for word in key)


class Tallies:
    """The tables of one process: ``requests`` by method, route and status, ``commands`` by operation, collection and error,
    ``errors`` by category and code, ``scrapes`` by what became of them. ``marks`` are those of requests."""

    def __init__(self) -> None:
        self.requests: dict[Key, Series] = {}
        self.commands: dict[Key, Series] = {}
        self.errors: dict[Key, Series] = {}
        self.scrapes: dict[Key, Series] = {}
        self.marks: dict[Key, Marks] = {}
        in_each_process(self.clear)

    def clear(self) -> None:
        """Begin at nothing, in a child process or for another boot. The tables stay the same objects: who counts has them at
        hand."""
        self._lock = allocate_lock()
        for table in (self.requests, self.commands, self.errors, self.scrapes, self.marks):
            table.clear()

    def subtract(self, tables: Mapping[str, Mapping[str, Series]]) -> None:
        """Count no more what these tables have; what was counted since stays."""
        for name, table in self.tables.items():
            known = tables.get(name, {})
            for key, series in list(table.items()):
                for place, count in enumerate(known.get(joined(key), ())):
                    series[place] -= count

    def marked(self) -> dict[Key, Marks]:
        """A copy of the marks."""
        return {key: marks.copy() for key, marks in list(self.marks.items())}

    @property
    def tables(self) -> Mapping[str, Mapping[Key, Series]]:
        return {
            "requests": self.requests,
            "commands": self.commands,
            "errors": self.errors,
            "scrapes": self.scrapes,
        }

    def request(self, method: str, route: str, status: int, micros: int, trace: str = "") -> None:
        """Count one answered request. ``trace``: the ID of a trace that somebody keeps."""
        key = (method, route, status)
        series = self.requests.get(key)
        if series is None:
            series = self._met(self.requests, _request_keys(method, route, status), MOST_REQUESTS, len(_HTTP) + 2)
        place = bisect_left(_HTTP, micros)
        series[place] += 1
        series[-1] += micros
        if trace and key in self.requests:
            self.marks.setdefault(key, {})[place] = (trace, micros, round(time.time(), 3))

    def command(self, operation: str, collection: str | None, micros: int, error: str = "") -> None:
        """Count one command. ``error``: the server's code or the driver's class, of one that failed."""
        series = self.commands.get((operation, collection or "", error))
        if series is None:
            series = self._met(
                self.commands, _command_keys(operation, collection or "", error), MOST_COMMANDS, len(_DB) + 2
            )
        series[bisect_left(_DB, micros)] += 1
        series[-1] += micros

    def error(self, category: str, code: str) -> None:
        """Count one recorded error."""
        series = self.errors.get((category, code))
        if series is None:
            series = self._met(self.errors, ((category, code), (category, OTHER)), MOST_ERRORS, 1)
        series[0] += 1

    def scrape(self, result: str) -> None:
        """Count one request for the metrics. ``result`` is one of few."""
        series = self.scrapes.get((result,))
        if series is None:
            series = self._met(self.scrapes, ((result,),), 10, 1)
        series[0] += 1

    def _met(self, table: dict[Key, Series], keys: tuple[Key, ...], most: int, width: int) -> Series:
        """The series of the first of ``keys``, made now; once there are ``most``, that of a later key, which takes many."""
        with self._lock:
            for key in keys[:-1]:
                if key in table or len(table) < most:
                    return table.setdefault(key, [0] * width)
                most += most // 10  # there is room for those that take many
            return table.setdefault(keys[-1], [0] * width)


def _request_keys(method: str, route: str, status: int) -> tuple[Key, ...]:
    known = method if method in METHODS else OTHER_METHOD
    return (known, route, status), (known, OTHER, status), (known, OTHER, status // 100 * 100)


def _command_keys(operation: str, collection: str, error: str) -> tuple[Key, ...]:
    return (operation, collection, error), (operation, OTHER, error), (OTHER, OTHER, OTHER if error else "")
