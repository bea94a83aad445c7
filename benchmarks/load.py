"""Clients that ask the application as served until they are told to stop."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.support.served import Served

PAUSE = 0.05  # seconds between two requests of one client


class Seen(NamedTuple):
    """One request: its route, when it began, how long it took in ms, and its status (0: no answer)."""

    route: str
    at: float
    took: float
    status: int


class Load:
    """A context manager: one client for each of ``routes``, which asks, pauses and asks again until it ends.

    With ``rate`` all together send so many requests a second, whatever the answers take, and what one took counts from the
    moment at which it was due. ``agents``: the clients' user agents, in turn.
    """

    def __init__(
        self, served: Served, routes: Sequence[str], *, rate: float | None = None, agents: Sequence[str] = ()
    ) -> None:
        self._served, self._clients, self._rate = served, len(routes), rate
        self._headers: list[Mapping[str, str]] = [{"User-Agent": agent} for agent in agents] or [{}]
        self._stop = threading.Event()
        self.seen: list[Seen] = []
        self._threads = [threading.Thread(target=self._ask, args=client) for client in enumerate(routes)]

    def _ask(self, client: int, route: str) -> None:
        begun, number = time.monotonic(), client
        headers = self._headers[client % len(self._headers)]
        with contextlib.closing(self._served.connection()) as link:
            while True:
                if self._rate is None:
                    due = time.monotonic() + PAUSE
                else:
                    due = begun + number / self._rate
                    number += self._clients
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                since, status = due if self._rate else time.monotonic(), 0
                try:
                    status = self._served.request("GET", route, headers=headers, connection=link).status
                except (OSError, http.client.HTTPException):
                    link.close()
                self.seen.append(Seen(route, since, (time.monotonic() - since) * 1000, status))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
