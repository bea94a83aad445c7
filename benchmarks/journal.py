"""``python -m benchmarks.journal``: how soon a deferred write is on disk, and how soon a thousand of them are applied.

Two processes under gevent, as two workers of an instance, each with its own file: writes come at a steady rate, each in a
greenlet of its own, and count from the moment they were due. "acknowledged" is after fsync. The lag of the event loop is
how late a timer of 5 ms comes. The drain needs a database: ``--uri``, or an embedded one that is started for it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORKERS = 2
RATES = (1_000, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate (default 5)")
    parser.add_argument("--uri", help="of a MongoDB for the drain (default: an embedded one)")
    parser.add_argument("--worker", nargs=3, metavar=("FOLDER", "RATE", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        folder, rate, seconds = options.worker
        print(json.dumps(_worker(Path(folder), float(rate), float(seconds))))
        return
    for rate in RATES:
        _print(rate, instance(rate, options.seconds))
    if options.uri:
        _drain(options.uri)
        return
    from tests.support.servers import DatabaseServer

    with DatabaseServer() as server:
        _drain(server.uri)


def instance(rate: int, seconds: float) -> list[dict[str, Any]]:
    """What each worker of an instance took, at so many writes a second."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "benchmarks.journal", "--worker", folder, str(rate / WORKERS), str(seconds)]
        running = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(WORKERS)]
        return [json.loads(process.communicate()[0]) for process in running]


def _print(rate: int, workers: list[dict[str, Any]]) -> None:
    took = sorted(value for worker in workers for value in worker["took"])
    lag = sorted(value for worker in workers for value in worker["lag"])
    done = len(took) / max(worker["seconds"] for worker in workers)
    failed = sum(worker["failed"] for worker in workers)
    print(f"{rate:>6} writes a second offered: {done:8.0f} acknowledged a second, {failed} failed")
    for name, values in (("acknowledged after", took), ("event loop late by", lag)):
        p99 = statistics.quantiles(values, n=100)[98]
        print(
            f"       {name} {statistics.median(values):7.2f} ms (median) {p99:7.2f} ms (p99) {values[-1]:7.2f} ms (most)"
        )


def _worker(folder: Path, rate: float, seconds: float) -> dict[str, Any]:
    from gevent import monkey

    monkey.patch_all()
    import gevent

    from prodfix import ProdFixError
    from prodfix.deferral.queue import DeferredQueue
    from prodfix.deferral.writes import Insert, Write
    from prodfix.journal.journal import Journal

    journal = Journal(folder)
    journal.open()
    bounds = {"max_entries": 10**7, "max_bytes": 2**31}
    deferred = DeferredQueue(journal, lambda: None, enabled=True, durable=True, **bounds)  # type: ignore[arg-type, return-value]
    deferred.register("note", lambda arguments: [Insert("notes", arguments)])
    took: list[float] = []
    lag: list[float] = []

    failed = 0

    def put(due: float) -> None:
        nonlocal failed
        try:
            deferred.put(Write("note", {"title": "A title", "body": "x" * 250}))
        except ProdFixError:  # a disk that is asked for more than it can do may not answer in time
            failed += 1
        else:
            took.append((time.monotonic() - due) * 1000)

    def watch() -> None:
        while True:
            begun = time.monotonic()
            gevent.sleep(0.005)
            lag.append((time.monotonic() - begun) * 1000 - 5)

    put(time.monotonic())
    took.clear()
    watcher = gevent.spawn(watch)
    begun = time.monotonic()
    putting = []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        if (wait := due - time.monotonic()) > 0:
            gevent.sleep(wait)
        putting.append(gevent.spawn(put, due))
    gevent.joinall(putting, raise_error=True)
    watcher.kill()
    return {"took": took, "lag": lag, "failed": failed, "seconds": time.monotonic() - begun}


def _drain(uri: str) -> None:
    from pymongo import MongoClient

    from prodfix.classification.classifier import Classifier
    from prodfix.deferral.drainer import Drainer
    from prodfix.deferral.queue import DeferredQueue
    from prodfix.deferral.writes import Insert, Update, Write
    from prodfix.journal.journal import Journal
    from prodfix.settings import Settings

    rate = float(Settings.model_fields["deferred_drain_rate"].default)
    client: MongoClient[Any]
    with tempfile.TemporaryDirectory() as folder, MongoClient(uri, tz_aware=True) as client:
        database = client[f"bench_{time.time_ns()}"]
        for name, limit in (("as set", rate), ("unlimited", 1e9)):
            journal = Journal(Path(folder) / name)
            journal.open()
            deferred = DeferredQueue(
                journal, lambda: database, enabled=True, durable=True, max_entries=10**6, max_bytes=2**30
            )
            deferred.register(
                "note",
                lambda given: [
                    Insert("notes", given),
                    Update("books", {"_id": given["book"]}, {"$inc": {"n": 1}}, upsert=True),
                ],
            )
            for number in range(1000):
                deferred.put(Write("note", {"body": "x" * 250, "book": number % 10}))
            drainer = Drainer(deferred, journal, Classifier(), max_attempts=3, max_age=3600, rate=limit)
            begun = time.monotonic()
            applied = drainer.drain()
            print(f"{applied} writes of two steps applied by one worker in {time.monotonic() - begun:.2f} s ({name})")
            journal.close()
        client.drop_database(database.name)


if __name__ == "__main__":
    main()
