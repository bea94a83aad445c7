"""Fixtures of all tests. Nothing here may import gevent: pytest runs unpatched."""

from __future__ import annotations

import gc
import os
import secrets
from collections.abc import Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings
from pymongo import MongoClient

from config import ports
from tests.support import imports, scheduling, taken_over
from tests.support.servers import CLIENT_LIMITS, DatabaseServer

# `prodfix` gives the same answer each time, as a gate must; `search` looks for what nobody has thought of yet:
# pytest --hypothesis-profile=search
settings.register_profile(
    "prodfix",
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("search", settings.get_profile("prodfix"), max_examples=1000, derandomize=False)
# What gevent changes is how things wait, and not what they are given.
settings.register_profile("gevent", settings.get_profile("prodfix"), max_examples=30)
settings.load_profile("prodfix")

# Of pytest-xdist: the name of this process, and how many there are.
WORKER, COUNT = os.environ.get("PYTEST_XDIST_WORKER", ""), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
if WORKER:
    # A port whose server was killed is still that process's.
    ports.CANDIDATES = ports.CANDIDATES[scheduling.number_of(WORKER) :: int(COUNT)]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # of a process of xdist, and of none that a test in it has started
        config.pluginmanager.register(scheduling.Priority(), "priority")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """What is collected stays until the end: the collector looks at nothing of it, neither meanwhile nor with every test."""
    gc.disable()
    try:
        if WORKER:
            imports.import_in_turns(session.config, scheduling.number_of(WORKER), int(COUNT))
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduling.Scheduler(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What ``--reruns`` has tried twice is told, and why: it is a defect of the test, or a rare one of the program."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_sep("_", f"failed, and was tried again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


@pytest.fixture(autouse=True)
def nobody_elses_logging() -> Iterator[None]:
    """A test that leaves its process's logging taken over would fail another one, by its lines in what that one prints."""
    before = taken_over.is_taken_over()
    yield
    assert taken_over.is_taken_over() <= before, (
        "this test makes a served application: it needs the fixture own_logging"
    )


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Puts the process's logging back: a served application takes it over."""
    with taken_over.given_back():
        yield


@pytest.fixture(scope="session")
def database_server() -> Iterator[str]:
    """The URI of a server for all tests: the embedded one, in memory and with fail points, or ``TEST_MONGODB_URI``."""
    if given := os.environ.get("TEST_MONGODB_URI"):
        yield given
        return
    with DatabaseServer() as server:
        yield server.uri


@pytest.fixture
def database_uri(database_server: str) -> Iterator[str]:
    """A URI with a database of this test's own, dropped afterwards."""
    name = f"test_{secrets.token_hex(8)}"
    uri = urlsplit(database_server)._replace(path=f"/{name}").geturl()
    yield uri
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, **CLIENT_LIMITS) as client:
        client.drop_database(name)
