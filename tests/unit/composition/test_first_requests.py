"""What a process begins with its first requests, however many come together, and what an application may say until then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from prodfix import ProdFix
from prodfix.journal.file import JournalFile
from prodfix.journal.journal import Journal
from prodfix.services import Services


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes a file in a fifth of a second."""
    make = JournalFile.make

    def slowly(*where: Any) -> JournalFile:
        time.sleep(0.2)
        return make(*where)

    monkeypatch.setattr(JournalFile, "make", slowly)


@pytest.fixture
def host(tmp_path: Path) -> Callable[[], Flask]:
    """Makes hosts with the same settings."""

    def made() -> Flask:
        app = Flask("host")
        app.config.update(
            PRODFIX_STATE_DIR=str(tmp_path), PRODFIX_LOG_DIR=str(tmp_path / "log"), PROPAGATE_EXCEPTIONS=False
        )
        ProdFix(app)
        app.add_url_rule("/fails", view_func=lambda: 1 // 0)
        return app

    return made


def services_of(app: Flask) -> Services:
    found: Services = app.extensions["prodfix"]
    return found


def recorded(app: Flask) -> int:
    return len(services_of(app).runtime.journal.read("SELECT id FROM records"))


def test_first_requests_that_fail_together_are_recorded_in_one_journal(
    slow_disk: None, host: Callable[[], Flask], tmp_path: Path
) -> None:
    app, together = host(), threading.Barrier(8)

    def ask() -> None:
        together.wait(10)
        app.test_client().get("/fails")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    try:
        assert recorded(app) == 8
        assert len(list((tmp_path / "journal").glob("*.db"))) == 1
        assert services_of(app).runtime.journal.lost == 0
    finally:
        services_of(app).close()


def test_what_is_gathered_while_the_journal_opens_has_no_file_of_its_own(slow_disk: None, tmp_path: Path) -> None:
    journal, ended = Journal(tmp_path), threading.Event()

    def gather() -> None:
        while not ended.is_set():
            journal.gather([("INSERT OR REPLACE INTO status (worker, at, entry) VALUES ('x', 1, '')", ())])
            time.sleep(0.005)

    thread = threading.Thread(target=gather)
    thread.start()
    journal.open()
    ended.set()
    thread.join()
    try:
        assert journal.settle(limit=5)
        assert len(list(tmp_path.glob("*.db"))) == 1
    finally:
        journal.close()


def test_applications_that_are_under_test_from_their_first_request_on_have_nothing_in_common(
    host: Callable[[], Flask],
) -> None:
    one, other, serving = host(), host(), host()
    one.testing = other.testing = True
    for app in (one, one, other, serving):
        app.test_client().get("/fails")
    try:
        assert [recorded(app) for app in (one, other, serving)] == [2, 1, 1]
    finally:
        services_of(serving).close()
