"""``python -m benchmarks.first_pages``: what the first page of a worker takes, beside those after it, as served.

Two workers, a week of data on the embedded server. Each page that somebody opens who is told of an error is the first of all
in a worker that has just begun: once as soon as it answers, and once after it has prepared itself. The server's own time and
its CPU are told by the worker, in milliseconds; later pages are the median of some. ``--revision``: the same pages of an earlier
commit, with data that the same code has made in its own form, as far as it has those pages.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pymongo import MongoClient
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.builds import WORKING_TREE, builds, name_of
from tests.support.served import Served
from tests.support.servers import DatabaseServer

PREFIX = "/api/v1/diagnostics"
PAGES = {
    "overview 1h": f"{PREFIX}?timeRange=1h",
    "overview 24h": f"{PREFIX}?timeRange=24h",
    "overview 7d": f"{PREFIX}?timeRange=7d",
    "kinds": f"{PREFIX}/page/groups?timeRange=24h",
    "a kind": f"{PREFIX}/page/groups/{{fingerprint}}?timeRange=24h",
    "a request": f"{PREFIX}/page/requests/{{request}}",
}
TIMED = Path(__file__).with_name("timed_app.py")  # no part of an earlier build
WARM = 12.0  # seconds after which a worker has prepared itself
LATER = 9  # pages of which the median is told
MOST = 2.0  # times the later ones


class Took(NamedTuple):
    """Milliseconds of the server for one answer."""

    worker: int
    wall: float
    cpu: float


class NoSuchPage(Exception):
    """An earlier build has none that answers."""


class Figure(NamedTuple):
    """Of one worker: its first page, its second one, and the median of those that follow."""

    build: str
    page: str
    warm: bool
    first: Took
    second: Took
    later: Took


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_pages", description=__doc__)
    parser.add_argument("--records", type=int, default=5_000, help="stored errors (default 5,000)")
    parser.add_argument("--rounds", type=int, default=2, help="starts of two workers for each page (default 2)")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=list(PAGES), metavar="PAGE", help="(default all)")
    parser.add_argument("--early", action="store_true", help="only the first pages of workers that have just begun")
    parser.add_argument("--late", action="store_true", help="only those of workers that have prepared themselves")
    parser.add_argument("--revision", help="an earlier commit beside it")
    options = parser.parse_args()
    times = [warm for warm, left_out in ((False, options.late), (True, options.early)) if not left_out]
    revisions = [WORKING_TREE, *([options.revision] if options.revision else [])]
    figures: list[Figure] = []
    with builds(*revisions) as folders, Progress() as progress, tempfile.TemporaryDirectory() as folder:
        task = progress.add_task(
            "workers that begin", total=len(folders) * len(times) * len(options.pages) * options.rounds
        )
        for revision, tree in zip(revisions, folders, strict=True):
            with _filled(Path(folder) / str(len(figures)), tree, options.records) as uri:
                for warm in times:
                    for page in options.pages:
                        for _ in range(options.rounds):
                            figures += _of_start(Path(folder), uri, tree, name_of(revision), page, warm=warm)
                            progress.advance(task)
    show(figures, Console(width=140))


@contextlib.contextmanager
def _filled(folder: Path, tree: Path, records: int) -> Iterator[str]:
    """A database with a week in it, as that build has it."""
    with DatabaseServer(folder, ttl_sweep=86_400) as server:
        uri = f"{server.uri}pages"
        fill = f"from tests.browser import week; week.fill({uri!r}, records={records})"
        subprocess.run([sys.executable, "-c", fill], cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, check=True)
        yield uri


def _of_start(folder: Path, uri: str, tree: Path, build: str, page: str, *, warm: bool) -> list[Figure]:
    """Of each worker of one start."""
    with MongoClient[Any](uri) as client:
        record = client.get_default_database()["error_log"].find_one(sort=[("timestamp", -1)]) or {}
    path = PAGES[page].format(fingerprint=record["fingerprint"], request=record["requestId"])
    with tempfile.TemporaryDirectory(dir=folder) as place:
        served = Served(
            Path(place),
            uri,
            application="timed_app:app",
            options=("-c", str(tree / "config" / "gunicorn.conf.py")),
            DIAGNOSTICS_RATE_LIMIT="100000/minute",
            PYTHONPATH=str(tree),
        )
        shutil.copy(TIMED, place)
        with served:
            if warm:
                time.sleep(WARM)
            asked = {"Cookie": f"prodfix_admin={served.token()}", "Accept": "text/html"}
            found = []
            for worker in served.worker_pids():
                connection = _connection_to(served, worker)
                try:
                    took = [_ask(served, connection, path, asked) for _ in range(LATER + 2)]
                except NoSuchPage as error:
                    if build == name_of(WORKING_TREE):
                        raise
                    print(f"{build}: {error}", file=sys.stderr)
                    return []
                later = Took(worker, *(statistics.median(one[place] for one in took[2:]) for place in (1, 2)))
                found.append(Figure(build, page, warm, took[0], took[1], later))
                connection.close()
            return found


def _connection_to(served: Served, worker: int) -> http.client.HTTPConnection:
    """The kernel chooses who has a connection: so it is tried until it is that worker."""
    for _ in range(500):
        connection = served.connection()
        answer = served.request("GET", "/health/live", connection=connection)
        if int(answer.headers["X-Took"].split()[0]) == worker:
            return connection
        connection.close()
    raise RuntimeError(f"worker {worker} took none of 500 connections")


def _ask(served: Served, connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> Took:
    answer = served.request("GET", path, headers=headers, connection=connection)
    if answer.status != http.HTTPStatus.OK:
        raise NoSuchPage(f"{path} answered {answer.status}")
    worker, wall, cpu = answer.headers["X-Took"].split()
    return Took(int(worker), float(wall), float(cpu))


def show(figures: list[Figure], console: Console) -> None:
    """The median of the workers, and the worst ratio."""
    table = Table(
        "build", "page", "worker", "first ms", "CPU", "second ms", "CPU", "later ms", "CPU", "first to second", "CPU"
    )
    by: dict[tuple[str, str, bool], list[Figure]] = {}
    for one in figures:
        by.setdefault((one.build, one.page, one.warm), []).append(one)
    for (build, page, warm), some in by.items():
        values = [
            f"{statistics.median(getattr(getattr(one, which), what) for one in some):.1f}"
            for which in ("first", "second", "later")
            for what in ("wall", "cpu")
        ]
        ratios = [
            sorted(getattr(one.first, what) / getattr(one.later, what) for one in some) for what in ("wall", "cpu")
        ]
        told = [f"{statistics.median(some):.2f} (to {some[-1]:.2f})" for some in ratios]
        table.add_row(build, page, "warm" if warm else "early", *values, *told)
    console.print(table)


if __name__ == "__main__":
    main()
