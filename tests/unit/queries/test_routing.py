"""A command is its application's, whoever made the client that has sent it, and is counted once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from pymongo import MongoClient

from prodfix import ProdFix, current_prodfix
from prodfix.observers import LISTENERS
from prodfix.queries.interceptor import QueryInterceptor
from prodfix.queries.routing import CommandRouter, observes


@pytest.fixture
def client(database_uri: str) -> Iterator[MongoClient[Any]]:
    with MongoClient(database_uri, event_listeners=[*LISTENERS]) as made:
        yield made


@pytest.fixture
def two(
    make_settings: Callable[..., Any], client: MongoClient[Any], database_uri: str
) -> Iterator[tuple[Flask, Flask]]:
    """Two applications of one ``ProdFix`` and one database, which use the same client."""
    prodfix = ProdFix(settings=make_settings(), uri=database_uri)
    apps = Flask("one"), Flask("two")
    with ExitStack() as stack:
        for app in apps:
            prodfix.init_app(app)
            stack.callback(app.extensions["prodfix"].close)
            app.add_url_rule("/theirs", "theirs", lambda: str(client.get_default_database().theirs.count_documents({})))
            app.add_url_rule("/ours", "ours", lambda: str(current_prodfix.db.ours.count_documents({})))
            app.add_url_rule("/fails", "fails", lambda: str(client.get_default_database().command("nonsense")))
        yield apps


def counted(app: Flask) -> int:
    """Commands of that application."""
    commands: int = app.extensions["prodfix"].queries.interceptor.commands
    return commands


def test_a_command_is_of_the_application_whose_request_it_was_sent_in(two: tuple[Flask, Flask]) -> None:
    one, other = two
    assert one.test_client().get("/theirs").status_code == 200
    assert (counted(one), counted(other)) == (1, 0)
    for _ in range(2):
        assert other.test_client().get("/ours").status_code == 200
    assert (counted(one), counted(other)) == (1, 2)
    assert one.test_client().get("/fails").status_code == 500
    assert (counted(one), counted(other)) == (2, 2)


def test_each_application_has_services_of_its_own(two: tuple[Flask, Flask]) -> None:
    one, other = (app.extensions["prodfix"] for app in two)
    assert one is not other
    assert one.queries.interceptor is not other.queries.interceptor
    assert one.errors.log is not other.errors.log
    assert one.database.clients is other.database.clients  # of one process and database


def test_outside_of_requests_it_is_the_context_that_says_whose_it_is(two: tuple[Flask, Flask], client: Any) -> None:
    one, other = two
    with other.app_context():
        client.get_default_database().jobs.find_one()
    assert (counted(one), counted(other)) == (0, 1)
    unattributed = LISTENERS[0].unattributed  # type: ignore[attr-defined]
    client.get_default_database().jobs.find_one()
    assert (counted(one), counted(other)) == (0, 1)
    assert LISTENERS[0].unattributed == unattributed + 1  # type: ignore[attr-defined]


def test_of_one_application_all_are_its_own_and_of_none_nobodys(database: Any) -> None:
    interceptor, asked = QueryInterceptor(), []
    router = CommandRouter(lambda: asked.append(1))  # type: ignore[func-returns-value, arg-type]
    router.add(interceptor)
    with MongoClient(*database.client.address, event_listeners=[router]) as client:
        client.routing.things.find_one()
        assert (interceptor.commands, asked, observes(client)) == (1, [], True)
        del interceptor
        gc.collect()
        client.routing.things.find_one()
        assert router.unattributed == 1
        client.drop_database("routing")
    assert not observes(database.client)


def test_what_cannot_say_whose_it_is_harms_no_command(database: Any) -> None:
    def broken() -> QueryInterceptor:
        raise RuntimeError("somebody's proxy")

    router, both = CommandRouter(broken), (QueryInterceptor(), QueryInterceptor())
    for interceptor in both:
        router.add(interceptor)
    with MongoClient(*database.client.address, event_listeners=[router]) as client:
        client.routing.things.find_one()
        assert ([one.commands for one in both], router.unattributed) == ([0, 0], 1)


OBSERVED = """
    import sys
    from flask import Flask
    from pymongo import MongoClient
    from prodfix import ProdFix, Settings, current_prodfix
    from pydantic import SecretStr
    uri, folder, observe = sys.argv[1], sys.argv[2], sys.argv[3] == "observe"
    before = MongoClient(uri)
    prodfix = ProdFix(settings=Settings(state_dir=folder, log_dir=folder, mongodb_uri=SecretStr(uri)))
    if observe:
        prodfix.observe()
        prodfix.observe()
    app = Flask("host")
    prodfix.init_app(app)
    client = MongoClient(uri)
    app.add_url_rule("/theirs", "theirs", lambda: str(client.get_default_database().things.count_documents({})))
    app.add_url_rule("/before", "before", lambda: str(before.get_default_database().things.count_documents({})))
    app.add_url_rule("/ours", "ours", lambda: str(current_prodfix.db.things.count_documents({})))
    services = app.extensions["prodfix"]
    found = []
    for path in ("/theirs", "/before", "/ours"):
        count = services.queries.interceptor.commands
        assert app.test_client().get(path).status_code == 200
        found.append(services.queries.interceptor.commands - count)
    count = services.queries.interceptor.commands
    services.database.clients.own_db.things.find_one()
    services.database.clients.watch.admin.command("buildInfo")
    found.append(services.queries.interceptor.commands - count)
    capacity = services.database.monitor.status().capacity
    services.close()
    client.close(); before.close()
    print(found, capacity)
"""


@pytest.mark.parametrize(("observe", "found"), [("observe", "[1, 0, 1, 0] 110"), ("", "[0, 0, 1, 0] 10")])
def test_observe_hears_every_client_that_is_made_afterwards_and_ours_once(
    python: Callable[..., str], database_uri: str, tmp_path: Any, observe: str, found: str
) -> None:
    """One that was there before is not heard, nor what prodfix asks itself. 110 are the 100 of the client and 10 of ours."""
    assert python(OBSERVED, database_uri, tmp_path, observe) == f"{found}\n"
