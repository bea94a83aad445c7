"""What the unit tests share: a journal, the application's parts on a real server, and Python processes of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError

from prodfix import ProdFix, Settings, create_app
from prodfix.classification.classifier import Classifier
from prodfix.connection.clients import GatedClient
from prodfix.deferral.drainer import Drainer
from prodfix.deferral.queue import DeferredQueue
from prodfix.journal.journal import Journal
from prodfix.logs.sinks import Console
from prodfix.recovery.transactions import Transactions
from prodfix.web.application import Application
from tests.support import REPOSITORY, waiting
from tests.support.counting_worker import Clock, Worker
from tests.support.deferred_notes import steps
from tests.support.receivers import MailServer, WebHook
from tests.support.recorded_commands import Commands
from tests.support.servers import DatabaseServer

ROOT = REPOSITORY
KEY = "0123456789abcdef0123456789abcdef"


def wait_until(fact: Callable[[], Any], limit: float = 30.0) -> Any:
    """The first true answer of ``fact``; fails after ``limit`` seconds."""
    return waiting.until(fact, limit=limit, every=0.005)


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Makes journals of one instance: all of them in one folder, or in the one of that name."""
    with contextlib.ExitStack() as stack:

        def make(folder: str = "journal") -> Journal:
            journal = Journal(tmp_path / folder)
            journal.open()
            stack.callback(journal.close)
            return journal

        yield make


@pytest.fixture
def journal(open_journal: Callable[[], Journal]) -> Journal:
    return open_journal()


class FailPoint:
    """The server's ``failCommand`` for clients whose ``appname`` is ours."""

    def __init__(self, admin: Any) -> None:
        self._admin = admin
        self.app_name = f"unit-{secrets.token_hex(4)}"

    def __call__(
        self, *commands: str, times: int | None = None, skip: int = 0, app_name: str = "", **data: Any
    ) -> None:
        mode: Any = {"skip": skip} if skip else "alwaysOn" if times is None else {"times": times}
        facts = {"failCommands": list(commands), "appName": app_name or self.app_name, **data}
        self._admin.command("configureFailPoint", "failCommand", mode=mode, data=facts)

    def off(self) -> None:
        self._admin.command("configureFailPoint", "failCommand", mode="off")


@pytest.fixture
def fail(database_server: str) -> Iterator[FailPoint]:
    """``fail("insert", times=2, errorCode=112)``: the next two inserts of ``fail.app_name`` fail."""
    with MongoClient(database_server) as client:
        point = FailPoint(client.admin)
        yield point
        point.off()


@pytest.fixture
def connect(database_uri: str, fail: FailPoint) -> Iterator[Callable[..., MongoClient[Any]]]:
    """Makes clients of the test's own database, which ``fail`` can reach."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            MongoClient(database_uri, appname=fail.app_name, tz_aware=True, **options)
        )


@pytest.fixture
def database(connect: Callable[..., MongoClient[Any]]) -> Any:
    return connect().get_default_database()


@pytest.fixture
def sweeping(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A database whose server looks often for what is too old, as it costs all others that use it; a real one does by itself."""
    if "TEST_MONGODB_URI" in os.environ:
        yield request.getfixturevalue("database")
        return
    with DatabaseServer(ttl_sweep=0.2) as server, server.client(tz_aware=True) as client:
        yield client.sweeping


@pytest.fixture
def nowhere() -> Iterator[MongoClient[Any]]:
    """A client whose server cannot be reached, which it says at once and inside the driver."""

    def unreachable() -> None:
        raise ServerSelectionTimeoutError("canary.example.org:27017: connection refused")

    with GatedClient("mongodb://127.0.0.1:9/nowhere", connect=False, gate=unreachable) as client:
        yield client


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a development instance in a folder of its own."""

    def make(**values: Any) -> Settings:
        own = {"app_env": "development", "state_dir": tmp_path / "var", "log_dir": tmp_path / "log"}
        return Settings(**({"jwt_secret_key": SecretStr(KEY)} | own | values))

    return make


@pytest.fixture
def adopt(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Flask]]:
    """Gives a host's Flask application prodfix: ``adopt(app, enable_diagnostics=False)``."""
    with contextlib.ExitStack() as stack:

        def attach(app: Flask | None = None, **values: Any) -> Flask:
            options = {name: values.pop(name) for name in ("classifications", "deadline", "uri") if name in values}
            host = app or Flask("host")
            extension = ProdFix(host, settings=make_settings(**values), **options)
            stack.callback(extension.services.close)
            return host

        yield attach


@pytest.fixture
def serve(make_settings: Callable[..., Settings], own_logging: None) -> Iterator[Callable[..., Application]]:
    """Makes served applications: ``serve([blueprint], max_body_bytes=1024)``; their console is ``console``, or none."""
    with contextlib.ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull, "wb"))

        def make(blueprints: Any = (), *, console: int | None = None, **values: Any) -> Application:
            app = create_app(make_settings(**values), blueprints)
            services = app.extensions["prodfix"]
            services.logs.sinks.replace(Console(console or nothing.fileno()))
            stack.callback(services.close)
            return app

        yield make


@pytest.fixture
def python() -> Callable[..., str]:
    """Runs code in a Python process of its own, with its arguments in ``sys.argv``; what it printed."""

    def run(code: str, *arguments: Any, stderr: str = "") -> str:
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, stderr), done.stderr
        return done.stdout

    return run


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def make_deferred(journal: Journal, database: Any) -> Callable[..., DeferredQueue]:
    """Makes what knows the operation ``note`` of ``tests.support.deferred_notes``."""

    def make(**options: Any) -> DeferredQueue:
        known = {"enabled": True, "durable": True, "max_entries": 10_000, "max_bytes": 2**24}
        chosen = {"database": lambda: database, "journal": journal} | known | options
        deferred = DeferredQueue(chosen.pop("journal"), chosen.pop("database"), **chosen)
        deferred.register("note", steps)
        return deferred

    return make


@pytest.fixture
def make_drainer(journal: Journal) -> Callable[..., Drainer]:
    """Makes a drainer that does not rest between two batches."""

    def make(deferred: DeferredQueue, **options: Any) -> Drainer:
        known = {"max_attempts": 3, "max_age": 3600.0, "rate": 1e9, "sleep": lambda seconds: None}
        chosen = {"journal": journal} | known | options
        return Drainer(deferred, chosen.pop("journal"), Classifier(), **chosen)

    return make


@pytest.fixture
def make_transactions(database: Any) -> Callable[[], Transactions]:
    """Makes transactions of ``database``'s client, which are tried again often and soon."""
    return lambda: Transactions(lambda: database.client, retries=20, base=0.01)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_worker(open_journal: Callable[..., Journal], clock: Clock) -> Callable[..., Worker]:
    """Makes workers of one instance: ``make_worker(database)``, or without MongoDB."""
    return lambda database=None, **options: Worker(open_journal(), clock, database, **options)


@pytest.fixture
def make_instance(open_journal: Callable[..., Journal], clock: Clock) -> Callable[..., Worker]:
    """Makes instances of one worker each: ``make_instance(database, clock=...)``."""
    numbers = itertools.count()

    def make(database: Any = None, *, clock: Clock = clock) -> Worker:
        return Worker(open_journal(f"instance-{next(numbers)}"), clock, database)

    return make


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker()


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as Python can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[WebHook]:
    with WebHook() as server:
        yield server
