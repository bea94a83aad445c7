"""Libraries that bring a client of their own: mongoengine's documents, and Eve, which is an application of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, jsonify
from pymongo.uri_parser import parse_uri

from prodfix import ProdFix
from tests.unit.neighbours.comparing import ask_all, ask_recorded, neighbour

pytestmark = pytest.mark.filterwarnings("ignore")  # of theirs


@pytest.fixture
def prodfix(make_settings: Callable[..., Any]) -> Iterator[Callable[[], ProdFix]]:
    made: list[ProdFix] = []

    def make(**settings: Any) -> ProdFix:
        made.append(ProdFix(settings=make_settings(app_env="production", slow_query_threshold_ms=0, **settings)))
        return made[-1]

    yield make
    for one in made:
        one.services.close()


def test_mongoengines_documents_are_seen_and_its_errors_are_what_they_mean(
    prodfix: Callable[..., ProdFix], database_uri: str
) -> None:
    engine = neighbour("mongoengine")
    extension, alias = prodfix(), f"alias-{secrets.token_hex(4)}"
    engine.connect(host=database_uri, alias=alias, event_listeners=[*extension.listeners])

    class Article(engine.Document):  # type: ignore[misc,name-defined]
        sku = engine.StringField(primary_key=True)
        price = engine.IntField(min_value=0)
        meta = {"db_alias": alias}  # noqa: RUF012 - mongoengine's way

    app = Flask("host")
    app.logger.disabled = True
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.post("/articles/<sku>/<int(signed=True):price>")
    def add(sku: str, price: int) -> Any:
        Article(sku=sku, price=price).save(force_insert=True)
        return jsonify(sku=sku)

    extension.init_app(app)
    try:
        replies, records = ask_recorded(
            app,
            [
                {"path": "/articles/pen/3", "method": "POST"},
                {"path": "/articles/pen/3", "method": "POST"},
                {"path": "/articles/ink/-3", "method": "POST"},
            ],
        )
    finally:
        engine.disconnect(alias)
    assert [reply.status for reply in replies] == [200, 409, 422]
    assert [(str(one.meaning.category), one.status) for one in records] == [("duplicate_key", 409), ("validation", 422)]
    assert extension.services.queries.interceptor.commands >= 2  # the control: they were seen


def test_eve_answers_as_without_us_and_what_fails_is_found(prodfix: Callable[..., ProdFix], database_uri: str) -> None:
    eve = neighbour("eve")
    parsed = parse_uri(database_uri)
    host, port = parsed["nodelist"][0]

    def made() -> Flask:
        app: Flask = eve.Eve(
            settings={
                "MONGO_HOST": host,
                "MONGO_PORT": port,
                "MONGO_DBNAME": f"eve_{secrets.token_hex(6)}",
                "DOMAIN": {"people": {"schema": {"name": {"type": "string", "required": True, "unique": True}}}},
                "RESOURCE_METHODS": ["GET", "POST"],
                "ITEM_METHODS": ["GET", "DELETE"],
                "DATE_FORMAT": "a date",
                "PROPAGATE_EXCEPTIONS": False,
            }
        )
        app.logger.disabled = True
        app.add_url_rule("/defect", "defect", lambda: 1 // 0)
        return app

    requests: list[dict[str, Any]] = [
        {"path": "/"},
        {"path": "/people"},
        {"path": "/people", "method": "POST", "json": {"name": "Ada"}},
        {"path": "/people", "method": "POST", "json": {"name": "Ada"}},
        {"path": "/people", "method": "POST", "json": {"nome": "Ada"}},
        {"path": "/people?where={"},
        {"path": "/people/665f1c2ab8d4e0a1b2c3d4e5"},
        {"path": "/people", "method": "PATCH"},
        {"path": "/nowhere"},
        {"path": "/defect"},
    ]
    app = made()
    prodfix(answers="none").init_app(app)
    plain = made()
    before, (after, records) = ask_all(plain, requests), ask_recorded(app, requests)
    for one in (plain, app):
        with one.app_context():
            one.data.pymongo().cx.close()  # type: ignore[attr-defined]
    for given, old, new in zip(requests, before, after, strict=True):
        assert (new.status, new.body) == (old.status, old.body), given
        assert new.request_id
    (record,) = [one for one in records if one.status >= 500]
    assert (record.error_type, record.status, record.request_id) == ("ZeroDivisionError", 500, after[-1].request_id)
