"""``python -m benchmarks.page``: how long an admin waits for the diagnostics page, with a week of data.

The application as served (two workers) on the embedded server, and a real Chromium. Told are, for each window, the first
contentful paint (what the issue calls useful: the banner, the figures, the plot and the tables all come with the first
answer), and how much of it the server took; and, in as many more loads, what other requests of the same workers see meanwhile.
Each worker's first page is among them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

from tests.browser import chromium, week
from tests.browser.conftest import PAGE, sign_in
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
SERVER = "performance.getEntriesByType('navigation')[0].responseEnd - performance.getEntriesByType('navigation')[0].requestStart"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--loads", type=int, default=20, help="of each window (default 20)")
    parser.add_argument("--records", type=int, default=20_000, help="stored errors (default 20,000)")
    options = parser.parse_args()
    if chromium.path() is None:
        parser.error("no Chromium was found: install the package chromium, or set BROWSER_PATH")
    with tempfile.TemporaryDirectory() as folder, DatabaseServer(Path(folder) / "data", ttl_sweep=60) as server:
        uri = f"{server.uri}page"
        week.fill(uri, records=options.records)
        limits = {"DIAGNOSTICS_RATE_LIMIT": "100000/minute"}
        with Served(Path(folder) / "served", uri, **limits) as served, chromium.running() as browser:
            page = browser.new_page(base_url=served.url, viewport={"width": 360, "height": 740})
            sign_in(page, served)
            quiet = _others(served, lambda: time.sleep(3))
            print("window   first paint ms: median, p95, most    server ms: median, most")
            for time_range in ("1h", "24h", "7d"):
                paints, taken = [], []

                def load(paints: list[float], taken: list[float], time_range: str = time_range) -> None:
                    for _ in range(options.loads):
                        page.goto(f"{PAGE}?timeRange={time_range}", wait_until="load")
                        # Not wait_for_function: it evaluates text in the page, which the page's policy forbids.
                        until(lambda: page.evaluate(PAINT) is not None, every=0.01, what="the first paint")
                        paints.append(page.evaluate(PAINT))
                        taken.append(page.evaluate(SERVER))

                load(paints, taken)
                meanwhile = _others(served, lambda load=load: load([], []))
                p95 = statistics.quantiles(paints, n=20)[-1]
                print(
                    f"{time_range:<8} {statistics.median(paints):8.0f} {p95:8.0f} {max(paints):8.0f}"
                    f"    {statistics.median(taken):8.0f} {max(taken):8.0f}"
                    f"    /health/live meanwhile: p99 {meanwhile:.1f} ms ({quiet:.1f} before)"
                )


def _others(served: Served, work: object) -> float:
    """The p99 in ms of a route that needs nothing, while ``work`` is done."""
    took: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.02):
            begun = time.monotonic()
            served.get("/health/live")
            took.append((time.monotonic() - begun) * 1000)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        work()  # type: ignore[operator]
    finally:
        stop.set()
        thread.join()
    return statistics.quantiles(took, n=100)[-1]


if __name__ == "__main__":
    main()
