"""Clients of the trials: they write, change, delete and read, with and without ``Idempotency-Key``, and note each answer."""

from __future__ import annotations

import contextlib
import http.client
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from tests.faults.trials.history import Action, Attempt, Request
from tests.faults.trials.oracle import PATCHED
from tests.support.served import Answer, Served

COUNT = 16
PAUSE = 0.003  # seconds between two requests of one client
COPIES = 5  # at most, of a request with a key that has no last word yet
TIMEOUT = 30.0
NOTES, LEDGER = "/api/v1/notes", "/ledger"
HOT, NOTEBOOKS = 0.3, 40  # the share of notes that go into one notebook, and how many notebooks the others have
_CHANGES: dict[Action, tuple[str, Any]] = {
    "read": ("GET", None),
    "delete": ("DELETE", None),
    "patch": ("PATCH", {"title": PATCHED, "version": 1}),
}
ACTIONS: dict[Action, float] = {"note": 44, "entry": 40, "read": 8, "patch": 5, "delete": 3}


class Clients:
    """A context manager: ``COUNT`` threads that ask all ``instances`` in turn until it ends.

    ``careless`` names views that break a promise each; half of the entries go to one of them.
    """

    def __init__(self, instances: Sequence[Served], *, seed: int, careless: Sequence[str] = ()) -> None:
        self._instances, self._careless = instances, careless
        self._begun = time.monotonic()
        self._numbers, self._lock, self._ended = count(), threading.Lock(), threading.Event()
        self._notes: list[tuple[str, str, str]] = []  # acknowledged with 201, and untouched: slug, ID, notebook
        self.requests: list[Request] = []
        self.accepted: list[Request] = []
        self.acknowledged = 0
        # A request's subject is its own: a note of another trial is none of this one.
        self._name = secrets.token_hex(4)
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1000 + n),)) for n in range(COUNT)
        ]

    def now(self) -> float:
        return time.monotonic() - self._begun

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, chance: random.Random) -> None:
        while not self._ended.wait(PAUSE):
            action = chance.choices(list(ACTIONS), list(ACTIONS.values()))[0]
            if action in ("note", "entry"):
                self._create(chance, action)
            else:
                self._touch(chance, action)

    def _create(self, chance: random.Random, action: Action) -> None:
        request = self._request(chance, action)
        body: dict[str, Any] = {"number": request.number}
        path = f"{LEDGER}/{request.careless or ('keyed' if request.key else '')}".rstrip("/")
        if action == "note":
            path, body = (
                NOTES,
                {"slug": request.subject, "title": "A title", "body": "Text", "notebook": request.notebook},
            )
        answer = self._send(chance, request, "POST", path, body)
        # A copy that was kept on some disk would make the note again once it is deleted: only what came once is touched.
        if answer is not None and answer.status == 201 and action == "note" and len(request.attempts) == 1:
            with self._lock:
                self._notes.append((request.subject, answer.body["id"], request.notebook))

    def _request(self, chance: random.Random, action: Action) -> Request:
        number = next(self._numbers)
        if action == "entry" and self._careless and chance.random() < 0.5:
            return Request(number, action, str(number), careless=chance.choice(self._careless))
        key = secrets.token_hex(12) if chance.random() < 0.5 else None
        if action == "entry":
            return Request(number, action, str(number), key=key)
        notebook = "hot" if chance.random() < HOT else f"notebook-{chance.randrange(NOTEBOOKS)}"
        return Request(number, action, f"n-{self._name}-{number}", notebook, key)

    def _touch(self, chance: random.Random, action: Action) -> None:
        with self._lock:
            if not self._notes:
                return
            # It is nobody else's meanwhile: what somebody deletes is not to be found by another one.
            slug, identity, notebook = self._notes.pop(chance.randrange(len(self._notes)))
        key = secrets.token_hex(12) if action == "patch" and chance.random() < 0.5 else None
        request = Request(next(self._numbers), action, slug, notebook, key)
        method, body = _CHANGES[action]
        self._send(chance, request, method, f"{NOTES}/{identity}", body)
        if action == "read":
            with self._lock:
                self._notes.append((slug, identity, notebook))

    def _send(self, chance: random.Random, request: Request, method: str, path: str, body: Any) -> Answer | None:
        """The last answer. One with a key is sent again until there is a last word, here or at another instance."""
        headers = {"Idempotency-Key": request.key} if request.key else {}
        answer = None
        for attempt in range(1 + (COPIES if request.key else 0)):
            if attempt and self._ended.wait(0.1 * 2**attempt):
                break
            instance = chance.randrange(len(self._instances))
            answer = self._attempt(
                request, instance, lambda served: served.request(method, path, json=body, headers=headers)
            )
            if answer is not None and answer.status < 500 and not _again(answer):
                break
        self._note(request)
        return answer

    def _attempt(self, request: Request, instance: int, ask: Callable[[Served], Answer]) -> Answer | None:
        begun, answer, sent = self.now(), None, True
        try:
            answer = ask(self._instances[instance])
        except ConnectionRefusedError:
            sent = False
        except (OSError, http.client.HTTPException, ValueError):  # cut, or within its body
            pass
        told = _told(answer.body) if answer is not None else {}
        status = answer.status if answer is not None else None
        request.attempts.append(Attempt(begun, self.now(), instance, status, sent, **told))
        return answer

    def _note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            self.acknowledged += request.acknowledged and request.action != "read"
            if request.accepted is not None:
                self.accepted.append(request)


def _again(answer: Answer) -> bool:
    return isinstance(answer.body, Mapping) and answer.body.get("retryable") is True


def _told(body: Any) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        return {}
    with contextlib.suppress(KeyError):
        return {"operation": body["operationId"]}
    return {name: body.get(name) for name in ("code", "outcome", "retryable")}
