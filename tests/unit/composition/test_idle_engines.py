"""Engines with nothing to do, in threads: they write nothing, see each other, and each has its own database's pings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from blueprints import health
from prodfix import ProdFix, pulse
from prodfix.engine.engine import Engine
from prodfix.services import Services
from tests.unit.conftest import wait_until

NOWHERE = "mongodb://127.0.0.1:9/x"


class Host:
    """An application with an engine of its own, in threads."""

    def __init__(self, folder: Path, uri: str, **config: Any) -> None:
        self.app = Flask("host")
        known = {"PRODFIX_STATE_DIR": str(folder / "var"), "PRODFIX_LOG_DIR": str(folder / "log"), "MONGO_URI": uri}
        self.app.config.update(known | config)
        ProdFix(self.app)
        self.app.register_blueprint(health.blueprint)
        self.services: Services = self.app.extensions["prodfix"]
        self.services.start()

    def health(self) -> int:
        return self.app.test_client().get("/health/db").status_code

    @property
    def pings(self) -> float:
        """When this engine itself pinged last."""
        return self.services.database.monitor.own.begun

    @property
    def commits(self) -> int:
        return self.services.runtime.journal.version()

    def pids(self) -> list[str]:
        return [one.worker for one in self.services.runtime.workers.read()]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    made: list[Host] = []
    yield made
    for one in made:
        one.services.close()


def test_what_is_idle_commits_nothing_and_what_is_counted_is(
    hosts: list[Host], tmp_path: Path, database_uri: str
) -> None:
    host = Host(tmp_path, database_uri)
    hosts.append(host)
    wait_until(lambda: host.health() == 200)

    def quiet() -> bool:
        before, end = host.commits, time.monotonic() + 5
        wait_until(lambda: time.monotonic() > end)
        return host.commits == before

    wait_until(quiet)
    before = host.commits
    host.app.test_client().get("/nothing")
    wait_until(lambda: host.commits != before, limit=5)


def test_who_rests_looks_less_often_how_it_is_and_each_second_after_work(
    hosts: list[Host], tmp_path: Path, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    state = Engine.state

    def noted(engine: Engine, **facts: float) -> Any:
        looks.append(time.monotonic())
        return state(engine, **facts)

    monkeypatch.setattr(pulse, "SETTLING", 2.0)
    monkeypatch.setattr(Engine, "state", noted)
    host = Host(tmp_path, database_uri)
    hosts.append(host)
    wait_until(lambda: looks)
    wait_until(lambda: time.monotonic() - looks[-1] > pulse.SETTLED - 1)
    asked = time.monotonic()
    host.app.test_client().get("/nothing")
    wait_until(lambda: sum(look > asked for look in looks) >= 2, limit=pulse.SETTLED - 1)


def test_of_one_folder_those_with_one_database_share_their_pings_and_others_do_not(
    hosts: list[Host], tmp_path: Path, database_uri: str
) -> None:
    """Each has settings of its own, and so an engine of its own."""
    for uri, release in ((database_uri, "a"), (database_uri, "b"), (NOWHERE, "c")):
        hosts.append(Host(tmp_path, uri, PRODFIX_APP_RELEASE=release))
    first, second, away = hosts
    wait_until(lambda: first.health() == second.health() == 200)
    wait_until(lambda: all(len(host.pids()) == 3 for host in hosts))
    pings: dict[Host, set[float]] = {host: set() for host in hosts}
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for host in hosts:
            pings[host].add(host.pings)
        assert (first.health(), second.health(), away.health()) == (200, 200, 503)
        threading.Event().wait(0.02)
    both = len(pings[first]) + len(pings[second]) - 2
    assert both <= 9, "one a second for both"
    assert min(len(pings[first]), len(pings[second])) >= 2, "in turns"
    assert len(pings[away]) >= 4, "it asks for itself, and nobody answers"


def test_where_nothing_can_be_written_each_pings_for_itself_and_says_so(
    hosts: list[Host], tmp_path: Path, database_uri: str
) -> None:
    (tmp_path / "var").write_text("a file in the way")
    for release in "ab":
        hosts.append(Host(tmp_path, database_uri, PRODFIX_APP_RELEASE=release))
    for host in hosts:
        wait_until(lambda host=host: host.health() == 200)
        (told,) = host.services.runtime.workers.read()
        assert told.siblings_unseen is not None
        assert str(tmp_path) not in told.siblings_unseen
    seen: list[set[float]] = [set(), set()]
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for host, moments in zip(hosts, seen, strict=True):
            moments.add(host.pings)
        threading.Event().wait(0.02)
    assert min(len(moments) for moments in seen) >= 4
