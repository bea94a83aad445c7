"""The database as the checks ask it: through our own client, within one time limit over all of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

from prodfix.classification.classifier import classify
from prodfix.connection.clients import Clients
from prodfix.doctor.findings import NotApplicable, NotChecked
from prodfix.errors import DatabaseNotConfigured
from prodfix.slotted import frozen

ALL = 10.0  # seconds for all checks together
EACH = 3.0  # seconds for one question

AWAY = "the database does not answer"


@frozen
class Hello:
    """The server's answer to ``hello``. ``ahead``: seconds that its clock is ahead of this one's; None if it tells no time."""

    reply: dict[str, Any]
    seconds: float
    ahead: float | None

    @property
    def standalone(self) -> bool:
        return "setName" not in self.reply and self.reply.get("msg") != "isdbgrid"

    @property
    def writable(self) -> bool:
        return bool(self.reply.get("isWritablePrimary", self.reply.get("ismaster", False)))


class Server:
    """``clients.own`` for the checks, or with ``diagnostics`` the client for what is ours. What cannot be asked raises what the
    runner of the checks understands."""

    def __init__(self, clients: Clients, *, limit: float = ALL, diagnostics: bool = False) -> None:
        self._clients, self._limit, self._diagnostics = clients, limit, diagnostics
        self._end: float | None = None
        self._hello: Hello | PyMongoError | None = None

    @property
    def configured(self) -> bool:
        return self._clients.keeps if self._diagnostics else self._clients.configured

    @property
    def _client(self) -> MongoClient[Any]:
        return self._clients.diagnostics if self._diagnostics else self._clients.own

    @contextlib.contextmanager
    def asked(self, seconds: float = EACH) -> Iterator[Database[Any]]:
        """The database, to be asked within ``seconds`` or what is left for all. Raises :class:`NotChecked` if it is away."""
        self.hello()
        with self._within(seconds):
            yield self._clients.diagnostics_db if self._diagnostics else self._clients.own_db

    def hello(self) -> Hello:
        """Raises :class:`NotApplicable` without a URI, and :class:`NotChecked` if the database does not answer."""
        try:
            return self.first()
        except DatabaseNotConfigured:
            raise NotApplicable from None
        except PyMongoError:
            raise NotChecked(AWAY) from None

    def first(self) -> Hello:
        """The same; raises what the driver says, and :class:`prodfix.errors.DatabaseNotConfigured`."""
        if self._hello is None:
            try:
                self._hello = self._ask()
            except PyMongoError as error:
                self._hello = error
        if isinstance(self._hello, PyMongoError):
            raise self._hello
        return self._hello

    def _ask(self) -> Hello:
        with self._within(EACH):
            # The first one includes the connection's own round trips, which say nothing of the clock.
            self._client.admin.command("hello")
            begun, before = time.monotonic(), datetime.now(UTC)
            reply = self._client.admin.command("hello")
            seconds = time.monotonic() - begun
        there = reply.get("localTime")
        ahead = None
        if isinstance(there, datetime):
            there = there if there.tzinfo else there.replace(tzinfo=UTC)
            ahead = (there - before).total_seconds() - seconds / 2
        return Hello(reply, seconds, ahead)

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        now = time.monotonic()
        self._end = self._end or now + self._limit
        left = self._end - now
        if left <= 0:
            raise NotChecked(f"the database took more than {self._limit:.0f} seconds for the checks before")
        with pymongo.timeout(max(0.001, min(seconds, left))):
            yield


def reason(error: BaseException) -> str:
    """The error's type, with the server's code, and what it means; nothing of its text."""
    meaning = classify(error)
    code = getattr(error, "code", None)
    return f"{type(error).__name__}{f' {code}' if isinstance(code, int) else ''} ({meaning.code})"
