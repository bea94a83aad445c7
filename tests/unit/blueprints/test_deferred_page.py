"""Deferred writes by operation and reason, and one order for all that are alike: by the page and by the API."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.connection.status import ConnectionStatus
from prodfix.deferral import backlog_groups
from prodfix.workers.workers import Workers

HTML = {"Accept": "text/html"}


@pytest.fixture
def app(adopt: Callable[..., Flask]) -> Flask:
    made = adopt(diagnostics_auth_required=False)
    made.register_blueprint(diagnostics.blueprint)
    made.test_client().get(f"{PREFIX}/alerts")  # the first one opens the journal
    return made


@pytest.fixture
def put(app: Flask) -> Callable[..., None]:
    """Puts letters aside, as a worker would."""
    journal, number = app.extensions["prodfix"].runtime.journal, iter(range(10_000))

    def write(count: int, operation: str, reason: str) -> None:
        columns = "id, operation, key, entry, attempts, created, reason, facts, at"
        sql = f"INSERT INTO dead ({columns}) VALUES (?, ?, '', x'0500000000', 1, ?, ?, '{{}}', 0)"
        now = time.time() - 3600
        journal.write([(sql, (f"{next(number):024x}", operation, now, reason)) for _ in range(count)])

    return write


def send(app: Flask, command: str, **body: Any) -> Any:
    return app.test_client().post(f"{PREFIX}/deferred/{command}", json=body)


def left(app: Flask) -> dict[tuple[str, str], int]:
    groups = app.test_client().get(f"{PREFIX}/deferred").get_json()["groups"]
    return {(one["operation"], one["reason"]): one["count"] for one in groups}


def obey(app: Flask) -> None:
    app.extensions["prodfix"].deferral.backlog._orders.obey()


def test_those_that_are_alike_are_one_entry(app: Flask, put: Callable[..., None]) -> None:
    for count, operation, reason in ((3, "order", "EXPIRED"), (2, "order", "REJECTED"), (4, "note", "EXPIRED")):
        put(count, operation, reason)
    assert left(app) == {("note", "EXPIRED"): 4, ("order", "EXPIRED"): 3, ("order", "REJECTED"): 2}
    page = app.test_client().get(f"{PREFIX}/page/deferred", headers=HTML).text
    assert page.count("Retry all</button>") == 3
    assert 'aria-label="Retry all of order EXPIRED"' in page


def test_one_order_is_for_those_of_one_reason_and_no_other(app: Flask, put: Callable[..., None]) -> None:
    put(3, "order", "EXPIRED"), put(2, "order", "REJECTED"), put(1, "note", "EXPIRED")
    answer = send(app, "discard", operation="order", reason="EXPIRED")
    assert answer.status_code == 202
    assert answer.get_json() == {
        "ordered": "discard", "operation": "order", "reason": "EXPIRED", "status": "failed", "count": 3, "left": 0,
    }  # fmt: skip
    obey(app)
    assert left(app) == {("order", "REJECTED"): 2, ("note", "EXPIRED"): 1}
    done = app.extensions["prodfix"].deferral.backlog.orders()
    assert [(one.command, one.by, one.result) for one in done] == [("discard", "anybody", "discarded")] * 3


def test_without_a_reason_it_is_for_all_of_the_operation(app: Flask, put: Callable[..., None]) -> None:
    put(3, "order", "EXPIRED"), put(2, "order", "REJECTED"), put(1, "note", "EXPIRED")
    assert send(app, "replay", operation="order").get_json()["count"] == 5
    obey(app)
    groups = app.test_client().get(f"{PREFIX}/deferred").get_json()["groups"]
    assert {(one["operation"], one["status"], one["count"]) for one in groups} == {
        ("order", "waiting", 5), ("note", "failed", 1),
    }  # fmt: skip


def test_a_call_orders_so_many_and_says_how_many_are_left(
    app: Flask, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_groups, "MOST_AT_ONCE", 4)
    put(10, "order", "EXPIRED")
    told = [send(app, "replay", operation="order").get_json() for _ in range(4)]
    assert [(one["count"], one["left"]) for one in told] == [(4, 6), (4, 2), (2, 0), (0, 0)], "none twice"


def test_what_no_form_or_client_sends_is_refused(app: Flask) -> None:
    for body in ({}, {"operation": ""}, {"operation": "order", "state": "x"}, {"operation": "order", "all": True}):
        assert send(app, "replay", **body).status_code == 422
    assert send(app, "delete", operation="order").status_code in (404, 405)


def test_the_form_of_the_page_does_the_same(app: Flask, put: Callable[..., None]) -> None:
    put(3, "order", "EXPIRED"), put(2, "order", "REJECTED")
    client = app.test_client()
    token = re.search('name="csrf" value="([^"]*)"', client.get(f"{PREFIX}/page/deferred", headers=HTML).text)
    assert token is not None
    form = {"operation": "order", "reason": "EXPIRED", "state": "failed"}
    assert client.post(f"{PREFIX}/page/deferred/discard", data=form).status_code == 403, "without the form's token"
    done = client.post(f"{PREFIX}/page/deferred/discard", data={**form, "csrf": token.group(1)}, follow_redirects=True)
    assert "3 writes are given up" in done.text
    obey(app)
    assert left(app) == {("order", "REJECTED"): 2}


@pytest.fixture
def wait(app: Flask) -> Callable[[int], None]:
    """Lets notes wait, as a worker would."""
    journal = app.extensions["prodfix"].runtime.journal

    def write(count: int) -> None:
        sql = "INSERT INTO writes (id, operation, key, entry, created) VALUES (?, 'note', ?, x'0500000000', ?)"
        journal.write([(sql, (f"{n:024x}", f"{n}", time.time())) for n in range(count)])

    return write


def pressed(app: Flask, state: str, reason: str) -> str:
    """The page after "Retry all"."""
    client = app.test_client()
    token = re.search('name="csrf" value="([^"]*)"', client.get(f"{PREFIX}/page/deferred", headers=HTML).text)
    assert token is not None
    form = {"operation": "note", "reason": reason, "state": state, "csrf": token.group(1)}
    text: str = client.post(f"{PREFIX}/page/deferred/replay", data=form, follow_redirects=True).text
    return text


def test_the_page_says_that_mongodb_is_away_and_since_when(
    app: Flask, wait: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = app.extensions["prodfix"]
    wait(2)
    monkeypatch.setattr(services.deferral.backlog, "_away", lambda: True)
    services.errors.incidents.begin("database_lost")
    services.errors.incidents.flush()
    text = app.test_client().get(f"{PREFIX}/page/deferred", headers=HTML).text
    banner = re.search('<p class="banner bad" role="alert"><strong>MongoDB does not answer</strong> since <time', text)
    assert banner is not None
    assert "DATABASE_UNAVAILABLE" in text
    assert left(app) == {("note", "DATABASE_UNAVAILABLE"): 2}
    monkeypatch.setattr(services.deferral.backlog, "_away", lambda: False)
    text = app.test_client().get(f"{PREFIX}/page/deferred", headers=HTML).text
    assert "MongoDB does not answer" not in text, "the control"
    assert left(app) == {("note", "QUEUED"): 2}


@pytest.mark.parametrize("away", [True, False])
def test_an_order_that_orders_nothing_says_why_and_is_not_green(
    app: Flask, put: Callable[..., None], wait: Callable[[int], None], away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog = app.extensions["prodfix"].deferral.backlog
    monkeypatch.setattr(backlog, "_away", lambda: away)
    wait(3), put(1, "note", "EXPIRED")
    text = pressed(app, "waiting", "DATABASE_UNAVAILABLE" if away else "QUEUED")
    why = "MongoDB does not answer" if away else "none of them rests"
    assert f'<p class="note" role="status">Nothing was ordered: {why}' in text
    assert '<p class="note good" role="status">Ordered: 1 write' in pressed(app, "failed", "EXPIRED"), "the control"
    assert "they are ordered already" in pressed(app, "failed", "EXPIRED")


def test_the_filter_that_is_chosen_is_marked_and_kept(app: Flask, put: Callable[..., None]) -> None:
    put(1, "order", "EXPIRED")
    page = app.test_client().get

    def chosen(query: str) -> list[str]:
        text = page(f"{PREFIX}/page/deferred{query}").text.partition('aria-label="Which"')[2].partition("</nav>")[0]
        return re.findall('aria-current="true">([^<]*)</a>', text)

    assert [chosen(query) for query in ("", "?state=waiting", "?state=failed")] == [
        ["All"], ["Waiting"], ["Dead letters"],
    ]  # fmt: skip
    text = page(f"{PREFIX}/page/deferred?state=failed&operation=order").text
    assert f'<a href="{PREFIX}/page/deferred?state=failed">show all</a>' in text


def test_what_was_discarded_is_not_said_to_be_in_the_database(app: Flask, put: Callable[..., None]) -> None:
    put(2, "order", "EXPIRED")
    send(app, "discard", operation="order")
    obey(app)
    text = app.test_client().get(f"{PREFIX}/page/deferred").text
    assert "Each write that was accepted is in MongoDB, unless somebody has discarded it." in text
    for state, told in (("waiting", "No write waits."), ("failed", "There are no dead letters now.")):
        text = app.test_client().get(f"{PREFIX}/page/deferred?state={state}").text
        assert told in text
        assert "is in MongoDB" not in text


def test_that_mongodb_is_away_is_known_from_this_worker_and_from_the_others(
    adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = adopt(diagnostics_auth_required=False).extensions["prodfix"]
    engine = services.deferral.backlog._away.__self__
    monkeypatch.setattr(engine.databases, "answering", object)
    monkeypatch.setattr(type(engine.clients), "configured", True)
    told = [ConnectionStatus("connected"), ConnectionStatus("connected")]
    monkeypatch.setattr(Workers, "read", lambda self: [SimpleNamespace(connection=one) for one in told])
    assert not services.deferral.backlog.away
    told[1] = ConnectionStatus("reconnecting")
    assert services.deferral.backlog.away, "another worker has lost it"
    told.clear()
    assert not services.deferral.backlog.away, "nobody knows"
    monkeypatch.setattr(engine.databases, "answering", lambda: None)
    assert services.deferral.backlog.away
