"""``python -m benchmarks.drain``: how soon a backlog is applied, and what live requests notice of it.

The application as served (two workers) on a database that is killed and comes back, as often as there are rounds. In each
round first nobody asks anything, and the time from the return until all is applied is told; then a steady load reads one
note after another, before another outage and again from the return until all is applied. The ratio of the two p99 is of
one run, so that a slow machine counts in both. All of it once for each network delay, behind a proxy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

from benchmarks.load import Load
from tests.support.proxy import Proxy
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

CLIENTS = 8
WARM = 1.5  # seconds of load before it counts: after a return the driver itself looks for its server for that long
LONGEST = 120.0  # seconds until a backlog is applied


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drain", description=__doc__)
    parser.add_argument("--backlog", type=int, default=1000, help="writes that wait in each outage (default 1000)")
    parser.add_argument("--rate", type=float, default=50.0, help="live requests a second (default 50)")
    parser.add_argument("--rounds", type=int, default=3, help="of both measurements (default 3)")
    parser.add_argument(
        "--delays", type=float, nargs="+", default=[0.0, 20.0], help="of each answer, in ms (default 0 20)"
    )
    options = parser.parse_args()
    took = {delay: measure(options.backlog, options.rate, options.rounds, delay / 1000) for delay in options.delays}
    least = min(options.delays)
    for delay in options.delays:
        if delay != least:
            times = took[delay] / took[least]
            print(f"beside requests {times:.2f} times as long with {delay:.0f} ms of delay as with {least:.0f} ms")


def measure(backlog: int, rate: float, rounds: int, delay: float) -> float:
    """Print the figures with so many seconds of delay; the median of how long a backlog took beside requests."""
    before: list[float] = []
    during: list[float] = []
    beside: list[float] = []
    print(f"with {delay * 1000:.0f} ms of delay:")
    with (
        tempfile.TemporaryDirectory() as folder,
        DatabaseServer(Path(folder) / "data") as server,
        Proxy(server.port) as proxy,
        Served(Path(folder) / "served", proxy.database_uri("drain"), application="tests.hosts.probe:app") as served,
    ):
        proxy.delay = delay
        made = served.post("/api/v1/notes", {"slug": "a", "title": "A", "body": "x" * 250, "notebook": "n"})
        path = made.headers["Location"]
        for done in range(rounds):
            _outage(server, served, range(2 * done * backlog, (2 * done + 1) * backlog))
            print(f"{backlog} writes of two steps applied {_drained(served):.2f} s after the return, while nobody asks")
            _load(served, path, rate, lambda: time.sleep(10), before)
            _outage(server, served, range((2 * done + 1) * backlog, (2 * done + 2) * backlog))
            took = _load(served, path, rate, lambda: _drained(served), during)
            beside.append(took)
            print(f"{backlog} writes of two steps applied in {took:.2f} s, while {rate:.0f} requests a second come")
    p99 = {"before": _told("before", before), "during": _told("while a backlog drains", during)}
    print(f"p99 during / before: {p99['during'] / p99['before']:.2f}")
    return statistics.median(beside)


def _outage(server: DatabaseServer, served: Served, numbers: range) -> None:
    """An outage in which these writes come; ends when both workers know that the database is back."""
    server.kill()
    until(lambda: _health(served) == {503}, what="the loss")
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = set(pool.map(lambda number: served.post("/probe/deferrable", {"number": number}).status, numbers))
    assert statuses == {HTTPStatus.ACCEPTED}, statuses
    server.start()
    until(lambda: _health(served) == {200}, every=0.02, what="the return")


def _health(served: Served) -> set[int]:
    return {served.get("/health/db").status for _ in range(4)}


def _drained(served: Served) -> float:
    begun, token = time.monotonic(), served.bearer()

    def waiting() -> int:
        return int(served.get("/api/v1/diagnostics/deferred", token).body["waiting"])

    until(lambda: waiting() == 0, limit=LONGEST, every=0.2, what="an empty journal")
    return time.monotonic() - begun


def _load(served: Served, path: str, rate: float, work: Callable[[], object], took: list[float]) -> float:
    """Adds what the requests took while ``work`` went on; how many seconds the load lasted."""
    begun = time.monotonic()
    with Load(served, [path] * CLIENTS, rate=rate) as load:
        time.sleep(WARM)
        first = len(load.seen)
        work()
        seconds = time.monotonic() - begun
        took += [one.took for one in load.seen[first:]]
    if failed := sum(one.status != HTTPStatus.OK for one in load.seen):
        print(f"{failed} requests failed")
    return seconds


def _told(name: str, took: list[float]) -> float:
    hundredths = statistics.quantiles(took, n=100, method="inclusive")
    print(
        f"{name:<24} {len(took):6} requests   p50 {hundredths[49]:6.1f}   p99 {hundredths[98]:6.1f}   max {max(took):6.1f} ms"
    )
    return hundredths[98]


if __name__ == "__main__":
    main()
