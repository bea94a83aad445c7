"""Whoever was answered 202 asks what became of it: again and again, of every instance, and all of them in the end."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

from tests.faults.trials import state
from tests.faults.trials.history import ENDED, Poll, Request
from tests.support.served import Served

OPERATIONS = "/api/v1/operations"
EVERY = 0.05  # seconds between two questions
ANOTHER = 0.2  # of the questions go to any instance, the others to the one that has accepted the write
ENDINGS = 2  # answers that it has ended, after which nobody asks for it any more
LAST_LIMIT = 15.0  # seconds in which the other instances have been told, too


class Watcher:
    """A context manager: a thread that asks for ``accepted`` writes, and looks into MongoDB itself at the same moment."""

    def __init__(
        self,
        instances: Sequence[Served],
        accepted: Sequence[Request],
        database: Database[Any],
        now: Callable[[], float],
        *,
        seed: int,
    ) -> None:
        self._instances, self._accepted, self._database, self._now = instances, accepted, database, now
        self._chance, self._ended = random.Random(seed), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.polls: list[Poll] = []

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        waiting: list[tuple[Request, list[Poll]]] = []
        seen = 0
        while not self._ended.wait(EVERY):
            new = self._accepted[seen:]
            seen += len(new)
            waiting += [(request, []) for request in new]
            if not waiting:
                continue
            place = self._chance.randrange(len(waiting))
            request, endings = waiting[place]
            poll = self._ask(request)
            self.polls.append(poll)
            if poll.state in ENDED:
                endings.append(poll)
            if len(endings) >= ENDINGS:
                waiting.pop(place)

    def _ask(self, request: Request) -> Poll:
        attempt = request.accepted
        assert attempt is not None
        instance = attempt.instance
        if self._chance.random() < ANOTHER:
            instance = self._chance.randrange(len(self._instances))
        poll = ask(self._instances, attempt.operation or "", instance, self._now())
        if poll.state is not None and poll.state in ENDED:
            with contextlib.suppress(PyMongoError):  # the database may be down, which is what is tried here
                poll.there = state.there(self._database, request, poll.state)
        return poll

    def last(self, *, others: int) -> list[Poll]:
        """After all is over: each write, asked of the instance that accepted it; and ``others`` of them of all instances."""
        end = time.monotonic() + LAST_LIMIT
        few = self._chance.sample(self._accepted, min(others, len(self._accepted)))
        everywhere = [(request, instance) for request in few for instance in range(len(self._instances))]
        with ThreadPoolExecutor(4) as pool:
            own = list(pool.map(lambda request: self._finally(request, None, end), self._accepted))
            return own + list(pool.map(lambda asked: self._finally(asked[0], asked[1], end), everywhere))

    def _finally(self, request: Request, instance: int | None, end: float) -> Poll:
        """Who has accepted it (None) knows at once; another instance hears of it a while after it is applied."""
        attempt = request.accepted
        assert attempt is not None
        asked = attempt.instance if instance is None else instance
        while True:
            poll = ask(self._instances, attempt.operation or "", asked, self._now())
            known = poll.state in ENDED or (instance is None and poll.http == 404)
            if known or time.monotonic() > end:
                poll.final = True
                return poll
            time.sleep(1)


def ask(instances: Sequence[Served], operation: str, instance: int, at: float) -> Poll:
    try:
        answer = instances[instance].request("GET", f"{OPERATIONS}/{operation}", timeout=10)
    except (OSError, http.client.HTTPException, ValueError):
        return Poll(operation, at, instance, None)
    if answer.status != 200:
        return Poll(operation, at, instance, answer.status)
    return Poll(operation, at, instance, 200, answer.body["status"], answer.body["reason"])
