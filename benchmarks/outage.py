"""``python -m benchmarks.outage``: what a database whose packets are dropped does to a service, and what the service does to it.

The application as served (two workers), behind it a proxy that swallows everything for a while, and a steady load on a route
that needs no database and on one that does. Told are: how long both take before and during the outage, when each request
that discovers the loss is answered, and how many commands reached the proxy for each request.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.load import Load, Seen
from tests.support.proxy import Proxy
from tests.support.served import Served
from tests.support.servers import DatabaseServer

IDLE, DATABASE = "/probe/idle", "/probe/find?status=new"
DISCOVERED = 0.1  # seconds; who waits longer has waited for the database


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of the outage (default 60)")
    parser.add_argument("--healthy", type=float, default=15, help="seconds before it (default 15)")
    parser.add_argument("--clients", type=int, default=8, help="for each of the two routes (default 8)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        DatabaseServer() as server,
        Proxy(server.port) as proxy,
        Served(Path(folder), proxy.database_uri("outage"), application="tests.hosts.probe:app") as served,
        Load(served, [IDLE, DATABASE] * options.clients) as load,
    ):
        _wait("healthy", options.healthy)
        lost, before = time.monotonic(), proxy.work
        proxy.set("blackhole")
        _wait("outage", options.seconds)
        back, commands = time.monotonic(), proxy.work - before
        proxy.set("pass")
        _wait("after", 5)
    _tell(load.seen, lost, back, commands)


def _wait(name: str, seconds: float) -> None:
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        print(f"\r{name}: {passed:.0f} of {seconds:.0f} s ", end="", file=sys.stderr, flush=True)
        time.sleep(min(0.5, seconds - passed))
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)


def _tell(seen: list[Seen], lost: float, back: float, commands: int) -> None:
    healthy = [one for one in seen if one.at + one.took / 1000 < lost]
    outage = [one for one in seen if lost <= one.at < back]
    for route in (IDLE, DATABASE):
        _line(f"{route} healthy", [one for one in healthy if one.route == route])
    _line(f"{IDLE} in the outage", [one for one in outage if one.route == IDLE])
    failed = [one for one in outage if one.route == DATABASE]
    discovering = [one for one in failed if one.took > DISCOVERED * 1000]
    known = max((one.at + one.took / 1000 for one in discovering), default=lost)
    _line(f"{DATABASE} that discover the loss", discovering)
    _line(f"{DATABASE} later", [one for one in failed if one.at >= known])
    print(f"the loss was known everywhere after {known - lost:.2f} s")
    print(f"commands for each request in the outage: {commands} / {len(failed)} = {commands / max(1, len(failed)):.3f}")
    good = [one for one in seen if one.at > back and one.route == DATABASE and one.status == http.client.OK]
    print(f"first good answer {min((one.at for one in good), default=float('nan')) - back:.2f} s after the return")


def _line(name: str, seen: list[Seen]) -> None:
    took = sorted(one.took for one in seen)
    if len(took) < 2:
        print(f"{name:<45} {len(took)} requests")
        return
    hundredths = statistics.quantiles(took, n=100, method="inclusive")
    statuses = ", ".join(str(status) for status in sorted({one.status for one in seen}))
    figures = f"p50 {hundredths[49]:7.1f}   p99 {hundredths[98]:7.1f}   max {took[-1]:7.1f} ms"
    print(f"{name:<45} {len(took):6} requests   {figures}   {statuses}")


if __name__ == "__main__":
    main()
