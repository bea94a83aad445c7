"""Clients that ask as often as they are told, over connections that they keep for a while, and count the answers."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

CLIENTS = 16
KEPT_FOR = 20  # requests of one connection: one worker would get all of a client's


class Load:
    """``rate`` requests a second for ``seconds``; ``path_of(number)`` is what the request of that number asks for.

    ``answered`` counts (path, status), ``unanswered`` paths whose connection ended without an answer.
    """

    def __init__(self, port: int, path_of: Callable[[int], str], *, rate: float, seconds: float) -> None:
        self._port, self._path_of, self._rate, self._total = port, path_of, rate, int(rate * seconds)
        self.answered: Counter[tuple[str, int]] = Counter()
        self.unanswered: Counter[str] = Counter()
        self.took = 0.0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in range(CLIENTS)]
        self._begun = 0.0

    def start(self) -> None:
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        self.took = time.monotonic() - self._begun

    def sent(self, paths: Iterable[str]) -> int:
        """How many requests for these paths were sent, answered or not."""
        wanted = set(paths)
        answered = sum(count for (path, _), count in self.answered.items() if path in wanted)
        return answered + sum(count for path, count in self.unanswered.items() if path in wanted)

    def _run(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(connection):
            for number in range(client, self._total, CLIENTS):
                # Every request has its moment; a client that is late does not wait.
                time.sleep(max(0.0, self._begun + number / self._rate - time.monotonic()))
                path = self._path_of(number)
                if number // CLIENTS % KEPT_FOR == 0:
                    connection.close()
                status = _ask(connection, path)
                with self._lock:
                    if status is None:
                        self.unanswered[path] += 1
                    else:
                        self.answered[(path, status)] += 1


def _ask(connection: http.client.HTTPConnection, path: str) -> int | None:
    try:
        connection.request("GET", path, headers={"User-Agent": "okhttp/4.12"})
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        connection.close()  # it connects again by itself
        return None
