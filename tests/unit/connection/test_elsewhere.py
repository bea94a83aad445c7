"""What is ours in a database of its own: each of the two may be away, and the other one goes on."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from prodfix import make_token
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.pages import overview
from prodfix.connection.elsewhere import FIRST, LONGEST, Elsewhere
from prodfix.engine.engine_databases import OURS, WITH_THE_DATA
from prodfix.idempotency.claims import KEYS
from prodfix.records.record_indexes import ERROR_LOG
from prodfix.statistics.groups import ERROR_GROUPS
from prodfix.web.application import Application
from tests.support.counting_worker import Clock

NOWHERE = "mongodb://canary-user:canary7f3a@127.0.0.1:9/kept"


@pytest.fixture
def elsewhere_uri(database_server: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    yield urlsplit(database_server)._replace(path=f"/{name}").geturl()
    client: MongoClient[Any]
    with MongoClient(database_server) as client:
        client.drop_database(name)


@pytest.fixture
def boom() -> Flask:
    app = Flask("host")

    @app.get("/boom")
    def fail() -> str:
        raise RuntimeError("canary")

    return app


def collections(uri: str) -> set[str]:
    with MongoClient(uri) as client:
        return set(client.get_default_database().list_collection_names())


def test_one_that_is_away_is_left_alone_for_longer_and_longer(clock: Clock) -> None:
    database: Any = object()
    elsewhere = Elsewhere(lambda: database, clock=clock)
    pauses = []
    for _ in range(8):
        assert elsewhere.answering() is database
        with pytest.raises(ServerSelectionTimeoutError), elsewhere.noticing():
            raise ServerSelectionTimeoutError("away")
        begun = clock.now
        while elsewhere.answering() is None:
            clock.now += 0.1
        pauses.append(clock.now - begun)
    assert isinstance(elsewhere.lost_since, datetime)
    assert pauses[0] <= 1.3 * FIRST
    assert pauses[-1] <= 1.3 * LONGEST
    assert pauses[3] > pauses[0]
    with elsewhere.noticing():
        pass
    assert (elsewhere.lost_since, elsewhere.answering()) == (None, database)


def test_what_is_ours_goes_there_and_what_requests_need_stays(
    adopt: Callable[..., Flask], boom: Flask, database_uri: str, elsewhere_uri: str, until: Callable[..., Any]
) -> None:
    app = adopt(boom, mongodb_uri=SecretStr(database_uri), diagnostics_uri=SecretStr(elsewhere_uri))
    services = app.extensions["prodfix"]
    services.start()
    assert app.test_client().get("/boom").status_code == 500
    until(lambda: ERROR_LOG in collections(elsewhere_uri))
    services.requests.idempotency.claim("u", "k", "f", seconds=5)
    assert not collections(database_uri).intersection(OURS)
    assert KEYS in collections(database_uri)
    assert not collections(elsewhere_uri).intersection(WITH_THE_DATA)
    with MongoClient(elsewhere_uri) as client:
        client.get_default_database()["of_somebody_else"].insert_one({})
    report = services.diagnostics.report.database()
    names = [{one.name for one in part or ()} for part in (report.collections, report.diagnostics_collections)]
    assert KEYS in names[0]
    assert not names[0].intersection(OURS)
    assert ERROR_LOG in names[1]
    assert names[1] <= set(OURS)


def test_what_is_decided_of_a_kind_is_kept_there(
    adopt: Callable[..., Flask], boom: Flask, database_uri: str, elsewhere_uri: str, until: Callable[..., Any]
) -> None:
    app = adopt(boom, mongodb_uri=SecretStr(database_uri), diagnostics_uri=SecretStr(elsewhere_uri))
    services = app.extensions["prodfix"]
    services.start()
    app.test_client().get("/boom")
    window = until(lambda: (found := services.requests.statistics.read("1h").window).counts.errors and found)
    (fingerprint,) = {key.fingerprint for key in window.counts.errors}
    triage = services.errors.triage
    assert triage.note(fingerprint, window, by="admin", text="looked at", owner="somebody")
    assert triage.ignore(fingerprint, window, by="admin")
    group = services.errors.groups.find(fingerprint, window)
    assert (group.status, group.note.text, group.owner) == ("ignored", "looked at", "somebody")
    assert triage.reopen(fingerprint)
    assert triage.resolve(fingerprint, window, by="admin")
    assert services.errors.groups.find(fingerprint, window).status == "resolved"
    with MongoClient(elsewhere_uri) as client:
        assert client.get_default_database()[ERROR_GROUPS].distinct("resolvedBy") == ["admin"]
    assert not collections(database_uri).intersection(OURS)


def test_without_one_all_is_in_the_applications(
    adopt: Callable[..., Flask], boom: Flask, database_uri: str, until: Callable[..., Any]
) -> None:
    # The control.
    app = adopt(boom, mongodb_uri=SecretStr(database_uri))
    app.extensions["prodfix"].start()
    app.test_client().get("/boom")
    until(lambda: ERROR_LOG in collections(database_uri))
    report = app.extensions["prodfix"].diagnostics.report.database()
    assert report.diagnostics_collections is None
    assert ERROR_LOG in {one.name for one in report.collections or ()}


def test_while_the_applications_is_away_the_diagnostics_cover_all_instances(
    adopt: Callable[..., Flask], boom: Flask, elsewhere_uri: str, until: Callable[..., Any]
) -> None:
    options = {"db_server_selection_timeout_ms": 100, "health_ping_interval_ms": 50}
    app = adopt(boom, mongodb_uri=SecretStr(NOWHERE), diagnostics_uri=SecretStr(elsewhere_uri), **options)
    with MongoClient(elsewhere_uri) as client:  # of another instance
        there = {"timestamp": datetime.now(UTC), "requestId": "of-another-instance", "fingerprint": "f" * 16}
        client.get_default_database()[ERROR_LOG].insert_one(there)
    services = app.extensions["prodfix"]
    services.start()
    until(lambda: services.database.monitor.down)
    page = services.errors.lookup.errors()
    assert (page.scope, [one["requestId"] for one in page.records]) == ("all", ["of-another-instance"])
    assert services.requests.statistics.read("1h").coverage().scope == "all"
    assert services.errors.incident_log.read().scope == "all"
    app.test_client().get("/boom")
    with MongoClient(elsewhere_uri) as client:
        until(lambda: client.get_default_database()[ERROR_LOG].count_documents({}) == 2)


def test_while_that_of_the_diagnostics_is_away_the_application_is_well(
    adopt: Callable[..., Flask], boom: Flask, database_uri: str, until: Callable[..., Any]
) -> None:
    app = adopt(boom, mongodb_uri=SecretStr(database_uri), diagnostics_uri=SecretStr(NOWHERE))
    services = app.extensions["prodfix"]
    services.start()
    app.test_client().get("/boom")
    until(lambda: services.database.monitor.health().healthy)
    until(lambda: services.state().storage.lost_since)
    page = services.errors.lookup.errors()
    assert (page.scope, len(page.records)) == ("instance", 1)
    coverage = services.requests.statistics.read("1h").coverage()
    assert (coverage.scope, coverage.partial, coverage.complete_from) == ("instance", False, coverage.window_from)
    whole = services.diagnostics.report.database()
    assert whole.diagnostics_collections is None
    assert whole.collections is not None, "the control: the application's can be had"
    report = services.diagnostics.report.instance()
    assert report.connection.state == "connected"
    until(lambda: services.diagnostics.report.instance().storage.lost_since)
    assert services.db.command("ping")["ok"] == 1
    assert not collections(database_uri).intersection(OURS)
    assert "canary7f3a" not in repr(report.to_json()) + repr(services.settings)


def test_a_host_without_a_database_of_its_own_may_have_one_for_the_diagnostics(
    adopt: Callable[..., Flask], boom: Flask, elsewhere_uri: str, until: Callable[..., Any]
) -> None:
    app = adopt(boom, diagnostics_uri=SecretStr(elsewhere_uri))
    services = app.extensions["prodfix"]
    services.start()
    app.test_client().get("/boom")
    until(lambda: ERROR_LOG in collections(elsewhere_uri))
    assert services.errors.lookup.errors().scope == "all"
    assert not services.database.clients.configured


def test_it_is_not_asked_while_nobody_wants_to_know(
    adopt: Callable[..., Flask], boom: Flask, database_uri: str, elsewhere_uri: str
) -> None:
    app = adopt(boom, mongodb_uri=SecretStr(database_uri), diagnostics_uri=SecretStr(elsewhere_uri))
    clients = app.extensions["prodfix"].database.clients
    assert clients._elsewhere.made is None
    assert clients.application is not None
    assert clients._elsewhere.made is None
    assert clients.diagnostics is clients._elsewhere.made  # the control


def test_indexes_and_their_check_are_where_what_is_ours_is(
    serve: Callable[..., Application], database_uri: str, elsewhere_uri: str
) -> None:
    app = serve(app_env="production", mongodb_uri=SecretStr(database_uri), diagnostics_uri=SecretStr(elsewhere_uri))
    result = app.test_cli_runner().invoke(args=["prodfix", "indexes", "apply"])
    assert result.exit_code == 0, result.output
    assert ERROR_LOG in collections(elsewhere_uri)
    assert ERROR_LOG not in collections(database_uri)


def test_an_error_that_is_none_of_the_connections_is_passed_on(clock: Clock) -> None:
    elsewhere = Elsewhere(lambda: None, clock=clock)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError), elsewhere.noticing():
        raise ValueError
    assert elsewhere.lost_since is None
    with pytest.raises(OperationFailure), elsewhere.noticing():
        raise OperationFailure("x")
    assert elsewhere.lost_since is not None


@pytest.mark.parametrize("apart", [True, False])
def test_the_page_says_that_errors_are_kept_elsewhere_only_where_they_are(
    serve: Callable[..., Application],
    database_uri: str,
    elsewhere_uri: str,
    until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    apart: bool,
) -> None:
    uris = {"mongodb_uri": SecretStr(database_uri)} | ({"diagnostics_uri": SecretStr(elsewhere_uri)} if apart else {})
    app = serve([diagnostics], **uris)
    services = app.extensions["prodfix"]
    services.start()
    until(lambda: services.requests.statistics.read("1h").coverage().scope == "all")
    monkeypatch.setattr(overview, "_database", lambda *_: {"connected": False, "since": None})
    browser, prefix = app.test_client(), "/api/v1/diagnostics"
    token = make_token(services.settings, role="admin", lifetime=timedelta(minutes=5))
    browser.set_cookie("prodfix_admin", token, path=prefix)
    page = browser.get(prefix, headers={"Accept": "text/html"}).text
    assert "MongoDB does not answer" in page
    assert ("kept elsewhere" in page, "of this instance know" in page) == (apart, False)
    database = browser.get(f"{prefix}/page/database").text
    assert ("Collections of the diagnostics" in database) == apart
