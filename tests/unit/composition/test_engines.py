"""What an extension starts ends with its application; and what is under test starts nothing."""

from __future__ import annotations

import gc
import json
import logging
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from blueprints import health
from prodfix import ProdFix, Settings, current_prodfix
from tests.unit.conftest import wait_until

MANY = """
    import gc, json, os, sys, time
    from flask import Flask, current_app, jsonify
    from pymongo import MongoClient
    from prodfix import ProdFix

    uri, folder = sys.argv[1:]
    prodfix = ProdFix()

    def create_app(adopted):
        app = Flask("host")
        app.config.update(MONGO_URI=uri, PRODFIX_STATE_DIR=folder, PRODFIX_LOG_DIR=folder)
        options = {"event_listeners": [*prodfix.listeners]} if adopted else {}
        app.extensions["client"] = MongoClient(uri, **options)

        @app.get("/things")
        def things():
            return jsonify(current_app.extensions["client"].get_default_database().things.count_documents({}))

        if adopted:
            prodfix.init_app(app)
        return app

    def left():
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    def seconds(adopted, count):
        begun = time.monotonic()
        for _ in range(count):
            app = create_app(adopted)
            assert app.test_client().get("/things").json == 0
            app.extensions["client"].close()
            del app
        return time.monotonic() - begun

    seconds(False, 3), seconds(True, 3)  # what is loaded once
    running = left()
    without = with_it = 0.0
    for _ in range(20):
        without += seconds(False, 10)
        with_it += seconds(True, 10)
    gc.collect()
    end = time.monotonic() + 30
    while time.monotonic() < end and left()[0] > 1:
        time.sleep(0.05)
    print(json.dumps([without, with_it, running, left()]))
"""


def test_two_hundred_applications_that_are_dropped_leave_nothing_behind(
    python: Callable[..., str], database_uri: str, tmp_path: Path
) -> None:
    """Each has a client, is asked once and dropped. The time is bounded generously: what it was stands in the decision."""
    without, with_it, running, (threads, descriptors) = json.loads(python(MANY, database_uri, tmp_path))
    assert (threads <= 10, descriptors <= 20) == (True, True), (threads, descriptors)
    assert running[0] > 10, "the control: while there was an application more of them ran"
    assert with_it < 2.5 * without + 2, (with_it, without)


def host(**config: Any) -> Flask:
    app = Flask("host")
    app.config.update(config)

    @app.get("/")
    def index() -> str:
        return "x"

    @app.get("/fails")
    def fails() -> str:
        raise KeyError("canary")

    return app


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    return {"PRODFIX_STATE_DIR": str(tmp_path / "var"), "PRODFIX_LOG_DIR": str(tmp_path / "log")}


@pytest.fixture
def threads() -> Callable[[], set[str]]:
    """The names of the threads that were not there when the test began."""
    before = set(threading.enumerate())
    return lambda: {one.name for one in threading.enumerate() if one not in before}


def test_an_application_that_runs_is_collected_and_what_it_has_begun_ends(own: Any, threads: Any) -> None:
    app = host(**own)
    ProdFix(app)
    assert app.test_client().get("/").status_code == 200
    assert threads() >= {"prodfix-state"}
    collected = weakref.ref(app)
    del app
    gc.collect()
    assert collected() is None
    wait_until(lambda: not threads())


def test_applications_of_one_process_and_database_have_one_set_of_threads(own: Any, threads: Any) -> None:
    prodfix = ProdFix()
    first = host(**own)
    prodfix.init_app(first)
    first.test_client().get("/")
    alone = threads()
    others = [host(**own) for _ in range(20)]
    for app in others:
        prodfix.init_app(app)
        app.test_client().get("/")
    assert len(threads()) <= len(alone) + 1  # a second reader of journals
    one, other = first.extensions["prodfix"], others[0].extensions["prodfix"]
    assert one.runtime.journal is other.runtime.journal
    assert one.errors.log is not other.errors.log
    control = host(**{**own, "PRODFIX_ERROR_BURST": 7})
    prodfix.init_app(control)
    assert control.extensions["prodfix"].runtime.journal is not one.runtime.journal, (
        "with other settings it is another one"
    )
    one.close()
    wait_until(lambda: not threads())


def test_who_was_given_settings_shares_with_those_of_the_same_ones(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    prodfix, apps = ProdFix(settings=settings), [host(), host()]
    for app in apps:
        prodfix.init_app(app)
    one, other = (app.extensions["prodfix"].runtime.journal for app in apps)
    assert one is other
    assert ProdFix(host(), settings=make_settings()).services.runtime.journal is not one


def test_one_application_has_it_once(own: Any) -> None:
    app = host(**own)
    prodfix = ProdFix(app)
    for again in (prodfix.init_app, ProdFix):
        with pytest.raises(RuntimeError, match="has prodfix already"):
            again(app)


def test_of_several_applications_none_is_that_of_the_extension(own: Any) -> None:
    prodfix = ProdFix()
    with pytest.raises(RuntimeError, match="has not been called"):
        _ = prodfix.services
    one = host(**own)
    prodfix.init_app(one)
    assert prodfix.services is one.extensions["prodfix"]
    other = host(**own)
    prodfix.init_app(other)
    with pytest.raises(RuntimeError, match="several applications"):
        _ = prodfix.services
    del other
    gc.collect()
    assert prodfix.services is one.extensions["prodfix"]


# -- under test


@pytest.mark.parametrize("said", ["before", "after"])
def test_under_test_nothing_runs_and_all_is_there_to_be_read(own: Any, threads: Any, tmp_path: Path, said: str) -> None:
    app = host(**own, TESTING=said == "before")
    ProdFix(app)
    app.config["TESTING"] = True
    app.config["PROPAGATE_EXCEPTIONS"] = False
    web = app.test_client()
    assert (web.get("/").status_code, web.get("/fails").status_code) == (200, 500)
    identity = web.get("/fails").headers["X-Request-ID"]
    services = app.extensions["prodfix"]
    with app.app_context():
        assert [record["requestId"] for record in services.errors.lookup.request(identity)] == [identity]
    counted = services.requests.statistics.read("1h").statistics().to_json()
    assert (counted["totalErrors"], counted["requests"]) == (2, 3)
    assert threads() == set()
    assert list(tmp_path.iterdir()) == []


def test_first_requests_that_come_together_are_counted_together(own: Any) -> None:
    app = host(**own, TESTING=True)
    ProdFix(app)
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait(10)
        app.test_client().get("/")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    counted = app.extensions["prodfix"].requests.statistics.read("1h").statistics()
    assert counted.to_json()["requests"] == 8


def test_each_application_under_test_begins_with_nothing(own: Any) -> None:
    prodfix, totals, apps = ProdFix(), [], [host(**own), host(**own)]
    for app in apps:
        prodfix.init_app(app)
    for app in apps:
        app.config.update(TESTING=True, PROPAGATE_EXCEPTIONS=False)  # as Flask's documentation has it
        app.test_client().get("/fails")
        counted = app.extensions["prodfix"].requests.statistics.read("1h").statistics()
        totals.append(counted.to_json()["totalErrors"])
    assert totals == [1, 1]


def test_under_test_health_asks_the_database_itself_and_leaves_nothing(
    own: Any, threads: Any, database_uri: str
) -> None:
    app = host(**own, TESTING=True, MONGO_URI=database_uri)
    ProdFix(app)
    app.register_blueprint(health.blueprint)
    web = app.test_client()
    assert (web.get("/health/db").status_code, web.get("/health/ready").status_code) == (200, 200)
    wait_until(lambda: not threads())
    away = host(**own, TESTING=True, MONGO_URI="mongodb://127.0.0.1:9/x")
    ProdFix(away)
    away.register_blueprint(health.blueprint)
    assert away.test_client().get("/health/db").status_code == 503


def test_a_write_that_needs_a_disk_is_refused_under_test(own: Any) -> None:
    from prodfix.errors import JournalUnavailable

    app = host(**own, TESTING=True)
    ProdFix(app)
    app.test_client().get("/")
    journal = app.extensions["prodfix"].runtime.journal
    journal.write([("INSERT INTO status (worker, at, entry) VALUES ('w', 1, '')", ())])
    with pytest.raises(JournalUnavailable, match="under test"):
        journal.write([("DELETE FROM status", ())], durable=True)
    assert journal.read("SELECT worker FROM status") == [("w",)]


def test_our_client_under_test_is_observed_and_sends_nothing_of_ours(
    own: Any, database_uri: str, database: Any
) -> None:
    app = host(**own, TESTING=True, MONGO_URI=database_uri, PROPAGATE_EXCEPTIONS=False)
    ProdFix(app)
    app.add_url_rule("/things", "things", lambda: str(current_prodfix.db.things.count_documents({})))
    web = app.test_client()
    assert (web.get("/things").status_code, web.get("/fails").status_code) == (200, 500)
    services = app.extensions["prodfix"]
    assert services.queries.interceptor.commands == 1
    services.close()
    assert database.list_collection_names() == []


# -- the end of a process

ENDS = """
    import logging, sys, time
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    from flask import Flask
    from prodfix import ProdFix
    uri, folder, seconds = sys.argv[1:]
    app = Flask("host")
    app.config.update(MONGO_URI=uri, PRODFIX_STATE_DIR=folder, PRODFIX_LOG_DIR=folder)
    ProdFix(app)
    app.test_client().get("/")
    time.sleep(float(seconds))
    app.extensions["prodfix"].requests.counters.request("/late", "desktop", 7, failed=False)
"""


@pytest.mark.parametrize("seconds", [0.0, 0.7, 1.3])
def test_a_process_ends_without_a_false_alarm_and_with_its_last_counts(
    python: Callable[..., str], database_uri: str, tmp_path: Path, seconds: float, make_settings: Any
) -> None:
    said = python(ENDS, database_uri, tmp_path, seconds)
    assert [line for line in said.splitlines() if "failed" in line or "disconnected" in line] == []
    services = ProdFix(Flask("next"), settings=make_settings(state_dir=tmp_path, log_dir=tmp_path)).services
    rows = services.runtime.journal.read("SELECT traffic FROM minutes")
    assert any(b"/late" in traffic for (traffic,) in rows)


def test_in_a_process_that_is_ending_nothing_is_told_of_what_cannot_begin(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prodfix.process import loops

    told: list[str] = []

    def work() -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    loop = loops.Loop("pinger", work, 1.0, lambda name, error: told.append(name))
    loop.turn(loops.this_process())
    assert told == ["pinger"], "the control"
    again = loops.Loop("pinger", work, 1.0, lambda name, error: told.append(name))
    monkeypatch.setattr(loops, "interpreter_ends", lambda: True)
    again.turn(loops.this_process())
    assert told == ["pinger"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
