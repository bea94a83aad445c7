"""The process that logs for :mod:`benchmarks.stalls`: ``URI FOLDER prodfix|print RATE SECONDS``.

Its lines go to stdout. On stderr it tells, at the end, how late a greenlet woke and how long ``/ping`` took meanwhile, in
milliseconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

TICK = 0.001  # seconds


def main() -> None:
    from gevent import monkey

    monkey.patch_all()
    _log_and_look()


def _log_and_look() -> None:
    import gevent
    from loguru import logger

    from benchmarks.works import request, routes
    from config import load_settings
    from prodfix import create_app

    uri, folder, how, rate, seconds = sys.argv[1:]
    os.environ.update(
        MONGODB_URI=uri, STATE_DIR=folder, LOG_DIR=f"{folder}/log", JWT_SECRET_KEY="k" * 40, WEB_CONCURRENCY="1"
    )
    app = create_app(load_settings())
    services = app.extensions["prodfix"]
    routes(app, lambda: services.db)
    services.start(lambda: True)
    text = "x" * 200
    log: Callable[[], Any] = (
        (lambda: logger.info(text)) if how == "prodfix" else (lambda: os.write(1, text.encode() + b"\n"))
    )
    ping = request(app, "/ping")
    for _ in range(200):
        ping()
    end = time.monotonic() + float(seconds)
    gaps: list[float] = []
    others: list[float] = []
    gevent.joinall(
        [
            gevent.spawn(_late, gaps, end),
            gevent.spawn(_asked, ping, others, end),
            gevent.spawn(_logged, int(rate), log, end),
        ],
        raise_error=True,
    )
    os.write(2, b"\n" + json.dumps({"gaps": gaps, "others": others}).encode() + b"\n")
    # What still waits is for nobody.
    os._exit(0)


def _late(gaps: list[float], end: float) -> None:
    import gevent

    last = time.monotonic()
    while last < end:
        gevent.sleep(TICK)
        now = time.monotonic()
        gaps.append((now - last - TICK) * 1000)
        last = now


def _asked(ping: Callable[[], None], took: list[float], end: float) -> None:
    """Counts from the moment at which it was due: who could not even be asked has waited too."""
    due = time.monotonic()
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        ping()
        took.append((time.monotonic() - due) * 1000)
        due += 10 * TICK


def _logged(rate: int, log: Callable[[], Any], end: float) -> None:
    due = time.monotonic()
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        log()
        due += 1 / rate


if __name__ == "__main__":
    main()
