"""The application as served, with what the server itself took for each answer beside it: for :mod:`benchmarks.first_pages`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from wsgi import app

__all__ = ["app"]


def timed(inner: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """``X-Took``: the worker's process ID, and milliseconds by the clock and of CPU until the answer was made."""

    def outer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        wall, cpu = time.perf_counter(), time.process_time()

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            took = (time.perf_counter() - wall, time.process_time() - cpu)
            value = f"{os.getpid()} {took[0] * 1e3:.3f} {took[1] * 1e3:.3f}"
            return start_response(status, [*headers, ("X-Took", value)], *rest)

        return inner(environ, start)

    return outer


app.wsgi_app = timed(app.wsgi_app)  # type: ignore[method-assign]
