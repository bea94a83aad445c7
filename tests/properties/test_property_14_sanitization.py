from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import bson
import pytest
from flask import abort
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from pymongo import MongoClient, UpdateOne
from pymongo.errors import AutoReconnect, ConfigurationError, OperationFailure, ServerSelectionTimeoutError

from blueprints.notes import Note
from prodfix import current_prodfix, make_token, run_transaction
from prodfix.serialization import to_json
from tests.properties.site import Site
from tests.properties.strategies import lost, methods

HOST = "db-7.internal.example"
PASSWORD = "S3cret0fTheConnectionString"

# ---- texts in which a secret is recognised ----------------------------------------------------------------------------

TEXTS: tuple[Callable[[str], str], ...] = (
    lambda secret: f"cannot connect to mongodb://admin:{secret}@{HOST}:27017/shop?replicaSet=rs0",
    lambda secret: f"mongodb+srv://{secret}:{secret}@{HOST}/?authSource=admin",
    lambda secret: f"[Errno 111] connection refused, password={secret}",
    lambda secret: f"{{'api_key': '{secret}', \"client_secret\": \"{secret}\"}}",
    lambda secret: f"Authorization: Bearer {secret}",
    lambda secret: f"Cookie: session={secret}; theme=dark",
    lambda secret: f"no account for {secret}@example.com",
    lambda secret: (
        f'E11000 duplicate key error collection: shop.users dup key: {{ email: "{secret}", name: "{secret}" }}'
    ),
    lambda secret: f"https://user:{secret}@example.com/hook?access_token={secret}",
    lambda secret: "Basic " + base64.b64encode(f"admin:{secret}".encode()).decode(),
    lambda secret: f"-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----",
    lambda secret: f"Max retries exceeded with url: /services/T00000000/B00000000/{secret} (Caused by X)",
    lambda secret: f"https://discord.com/api/webhooks/123456789012345678/{secret} and slack://{secret}/b/c",
    lambda secret: f"https://api.telegram.org/bot123456789:{secret}/sendMessage",
    lambda secret: f"https://b.example/k?X-Amz-Signature={secret}&x=1, https://c.example/k?sv=1&sig={secret}",
    lambda secret: f"Cannot create field 'b' in element {{a: \"{secret}\"}}",
    lambda secret: f"Failed to parse number '{secret}' in $convert with no onError value",
    lambda secret: f"invalid literal for int() with base 10: '{secret}'",
    lambda secret: (
        f"'{secret}' is not of type 'integer'\n\nFailed validating 'type' in schema:\n    1\n\nOn instance:\n    '{secret}'"
    ),
)

# ---- what a view does, with the secret in filters, pipelines, documents and texts --------------------------------------


def _twice(database: Any, document: dict[str, Any]) -> None:
    database.accounts.insert_many([document, dict(document)])


View = Callable[[str], Any]
VIEWS: dict[str, View] = {
    "filter": lambda secret: current_prodfix.db.accounts.find_one({"owner": secret, "x": {"$nope": secret}}),
    "key": lambda secret: current_prodfix.db.accounts.find_one({f"by.{secret}@example.com": {"$nope": 1}}),
    "update": lambda secret: current_prodfix.db.accounts.update_one({"owner": secret}, {"$nope": {"x": secret}}),
    "pipeline": lambda secret: list(
        current_prodfix.db.accounts.aggregate(
            [
                {"$match": {"$expr": {"$eq": ["$owner", secret]}}},
                {
                    "$lookup": {
                        "from": "other",
                        "let": {"a": secret},
                        "pipeline": [{"$match": {"b": secret}}],
                        "as": "c",
                    }
                },
                {"$nope": {"d": [secret, secret.encode(), bson.Regex(secret)]}},
            ]
        )
    ),
    "duplicate": lambda secret: _twice(current_prodfix.db, {"_id": secret}),
    "bulk": lambda secret: current_prodfix.db.accounts.bulk_write(
        [UpdateOne({"_id": {"$nope": secret}}, {"$set": {"a": secret}})]
    ),
    "comment": lambda secret: list(current_prodfix.db.accounts.find({"$nope": 1}).comment(secret).hint(secret)),
    "command": lambda secret: current_prodfix.db.command(
        {"find": "accounts", "filter": {"a": {"$nope": secret}}, "let": {"b": secret}}
    ),
    "document": lambda secret: current_prodfix.documents.collection(Note).insert(
        {"slug": f"not a slug {secret}", "title": [secret]}
    ),
    "transaction": lambda secret: run_transaction(
        lambda session: current_prodfix.db.accounts.update_one(
            {"a": {"$nope": secret}}, {"$set": {"b": secret}}, session=session
        )
    ),
}


def _raising(make: Callable[[str], Exception]) -> View:
    def view(secret: str) -> None:
        password, filter = secret, {"owner": secret}  # noqa: A001, F841, RUF100 - local values of a frame are data too
        raise make(secret)

    return view


def _chained(secret: str) -> None:
    try:
        VIEWS["filter"](secret)
    except OperationFailure as error:
        raise RuntimeError(f"token={secret}") from error


def _logging(secret: str) -> None:
    logger.bind(password=secret, headers={"Cookie": secret}).error("password={}", secret)
    logger.opt(exception=ServerSelectionTimeoutError(secret)).warning("lost")
    raise LookupError(f"secret: {secret}")


def _quoting(make: Callable[[str], Exception]) -> View:
    """An application's own error with the text of the one that it came from, of which no pattern knows anything."""

    def view(secret: str) -> None:
        try:
            _raising(lambda secret: make(f"nobody knows {secret}"))(secret)
        except Exception as error:
            logger.error(f"cannot do it: {error}")
            raise RuntimeError(f"cannot do it: {error}") from error

    return view


class Refused(Exception):
    """As a library that validates has it."""


Refused.__module__, Refused.__name__ = "jsonschema.exceptions", "ValidationError"

VIEWS |= {
    "quoted driver": _quoting(lambda text: OperationFailure(text, 28, {"errmsg": text, "code": 28})),
    "quoted library": _quoting(Refused),
    "field": lambda secret: current_prodfix.db.accounts.find_one({secret: {"$nope": 1}, f"by.{secret}.x": 1}),
    "chained": _chained,
    "logging": _logging,
    "topology": _raising(
        lambda secret: ServerSelectionTimeoutError(
            f"{HOST}:27017: timed out, <ServerDescription ('{HOST}', 27017)> {secret}"
        )
    ),
}
for number, words in enumerate(TEXTS):
    VIEWS[f"text {number}"] = _raising(lambda secret, words=words: ValueError(words(secret)))  # type: ignore[misc]
    VIEWS[f"driver {number}"] = _raising(lambda secret, words=words: AutoReconnect(words(secret)))  # type: ignore[misc]
    VIEWS[f"settings {number}"] = _raising(lambda secret, words=words: ConfigurationError(words(secret)))  # type: ignore[misc]

# Texts that say nothing of themselves: no pattern can know them in a log, and no answer shows them.
FREE: dict[str, View] = {
    "bare": _raising(KeyError),
    "path": _raising(lambda secret: OSError(2, "no such file", f"/home/{secret}/config.py")),
    "abort": lambda secret: abort(400, description=secret),
    "abort 418": lambda secret: abort(418, description=secret),
    "abort 500": lambda secret: abort(500, description=secret),
    "assertion": _raising(lambda secret: AssertionError({"secret": secret}, secret)),
}


def request_with(secret: str, method: str) -> dict[str, Any]:
    """A request with the secret in its body, headers, path and query string."""
    basic = base64.b64encode(f"admin:{secret}".encode()).decode()
    return {
        "path": f"/raise/{secret}",
        "method": method,
        "query_string": {"token": secret, "q": secret, secret: "1"},
        "headers": {
            "Authorization": f"Basic {basic}",
            "Cookie": f"session={secret}",
            "X-Api-Key": secret,
            "Referer": f"https://example.com/?reset={secret}",
            "traceparent": secret,
        },
        "json": {"password": secret, "nested": [{"mail": f"{secret}@example.com"}], secret: secret},
    }


def traces_of(secret: str) -> list[bytes]:
    return [secret.encode(), base64.b64encode(f"admin:{secret}".encode()), HOST.encode()]


def shown(answer: Any) -> bytes:
    """All of an answer."""
    return bytes(f"{answer.status}\n{answer.headers}\n", "utf-8") + answer.data


# Our own places: no answer holds any of them.
INSIDE = tuple(
    text.encode()
    for text in ("Traceback", ".py", "line ", os.getcwd(), sys.prefix, "site-packages", "pymongo", "127.0.0.1")
)


def assert_clean(answer: Any, secret: str) -> None:
    text = shown(answer)
    assert answer.status_code >= 400
    for trace in (*traces_of(secret), *INSIDE):
        assert trace not in text


def reported(site: Site) -> bytes:
    """What statistics and diagnostics answer to an admin."""
    headers = {
        "Authorization": "Bearer " + make_token(site.services.settings, role="admin", lifetime=timedelta(minutes=1))
    }
    paths = (
        "errors?timeRange=1h",
        "errors/groups?timeRange=24h",
        "incidents",
        "queries",
        "deferred",
        "database",
        "alerts",
    )
    return b"".join(site.ask(f"/api/v1/diagnostics/{path}", headers=headers).data for path in paths)


@given(kind=st.sampled_from(sorted(VIEWS)), method=methods)
def test_no_secret_comes_out(site: Site, kind: str, method: str, capfd: pytest.CaptureFixture[str]) -> None:
    """For any error in production environment, the error message should not expose sensitive information like database
    credentials, internal paths, or stack traces.

    Nor hosts, values of keys, or anything of the request. In logs, records and statistics there are stacks (places only)
    and redacted texts, and the same secrets are not in them either.

    Feature: production-deployment-fix, Property 14
    """
    secret = "S3" + secrets.token_hex(10)
    site.view = lambda: VIEWS[kind](secret)
    answer = site.ask(**request_with(secret, method))
    assert_clean(answer, secret)
    stored = json.dumps(
        to_json(site.services.diagnostics.requests.find(answer.json["requestId"])), default=str
    ).encode()
    output = "".join(capfd.readouterr()).encode()
    for trace in traces_of(secret):
        for place in (site.written(), stored, reported(site), output):
            assert trace not in place


@given(kind=st.sampled_from(sorted(FREE)), method=methods)
def test_no_answer_repeats_a_text(site: Site, kind: str, method: str) -> None:
    """An answer's text comes from a table: not even what nothing could know for a secret is in it, nor in the statistics.

    Feature: production-deployment-fix, Property 14
    """
    secret = "S3" + secrets.token_hex(10)
    site.view = lambda: FREE[kind](secret)
    assert_clean(site.ask(**request_with(secret, method)), secret)
    assert secret not in json.dumps(site.services.requests.statistics.read("1h").statistics().to_json())


@given(
    error=lost,
    path=st.sampled_from(["/api/v1/notes", "/api/v1/notes/" + "0" * 24, "/raise", "/health/db", "/health/ready"]),
)
def test_nor_do_those_of_a_lost_database(lost_site: Site, error: Exception, path: str) -> None:
    """The same with a database that cannot be reached, and its credentials in the connection string.

    Feature: production-deployment-fix, Property 14
    """
    error.args = (f"{HOST}:27017: {PASSWORD}", *error.args[1:])
    assert_clean(lost_site.ask(path) if path != "/raise" else lost_site.fail(error), PASSWORD)
    for trace in traces_of(PASSWORD):
        assert trace not in lost_site.written()
        assert trace not in reported(lost_site)


@pytest.fixture
def lost_site(new_site: Callable[..., Site]) -> Site:
    site = new_site(f"mongodb://admin:{PASSWORD}@127.0.0.1:1/shop?tlsCertificateKeyFilePassword={PASSWORD}")
    monitor = site.services.database.monitor

    def away() -> Any:
        raise AutoReconnect(f"{HOST}:27017 {PASSWORD}")

    monitor._client = away
    for _ in range(2):
        monitor.ping()  # so that nobody waits for it
    return site


def test_what_is_stored_is_clean_too(site: Site, database_uri: str) -> None:
    """All kinds once, and then everything that has reached MongoDB.

    Feature: production-deployment-fix, Property 14
    """
    secret = "S3" + secrets.token_hex(10)
    for kind in VIEWS:
        site.view = lambda kind=kind: VIEWS[kind](secret)  # type: ignore[misc]
        site.ask(**request_with(secret, "POST"))
    site.services.errors.storage.tick()
    client: MongoClient[Any]
    with MongoClient(database_uri) as client:
        database = client.get_default_database()
        stored = {
            name: str(list(database[name].find())) for name in database.list_collection_names() if name != "accounts"
        }
    assert len(stored["error_log"]) > 10_000
    assert stored["error_minutes"]
    assert stored["error_groups"]
    for trace in traces_of(secret):
        assert not [name for name, text in stored.items() if trace.decode() in text]


def test_the_search_finds_what_is_there(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """The control: the same secret, unredacted, is found in each of the places."""
    secret = "S3" + secrets.token_hex(10)
    site.services.logs.sinks.put("error.log", secret.encode())
    assert traces_of(secret)[0] in site.written()
    site.clear()
    assert traces_of(secret)[0] not in site.written()
    site.services.logs.sinks.put("console", secret.encode())
    assert traces_of(secret)[0] in site.written()
    site.clear()
    record = site.services.errors.log.record(ValueError("x"), None)
    site.services.errors.log.append(replace(record, request_id=secret))  # an ID is not redacted
    assert traces_of(secret)[0] in site.written()
    assert secret in json.dumps(to_json(site.services.diagnostics.requests.find(secret)), default=str)
    assert traces_of(secret)[0] in reported(site)
    print(secret)
    assert secret in "".join(capfd.readouterr())
    site.view = lambda: (secret, 500)
    with pytest.raises(AssertionError):
        assert_clean(site.ask(), secret)
