"""The command line says, as page and API do, that only a sample of a kind's records is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask

from prodfix.checked_record import SecretStr
from prodfix.cli.request_commands import _draw
from prodfix.records.record_indexes import ERROR_LOG

REQUEST = "request-0001"


def record(fingerprint: str) -> dict[str, Any]:
    known = {"category": "unknown", "severity": "error", "code": "INTERNAL_ERROR", "status": 500, "outcome": None}
    context = {"requestId": REQUEST, "endpoint": "/pay", "method": "POST", "userAgent": "shop/1", "ip": "127.0.0.1"}
    made = {"_id": ObjectId(), "timestamp": datetime.now(UTC), "requestId": REQUEST, "fingerprint": fingerprint}
    texts = {"message": "KeyError: price", "stack": "builtins.KeyError", "context": context}
    return {**made, **known, **texts, "trail": [], "database": None, "recovery": {"attempted": False}}


@pytest.fixture
def app(adopt: Callable[..., Flask], database_uri: str) -> Flask:
    made = adopt(mongodb_uri=SecretStr(database_uri))

    @made.get("/boom")
    def boom() -> str:
        raise KeyError("price")

    made.config["PROPAGATE_EXCEPTIONS"] = False
    return made


def test_how_many_records_of_how_many_errors_are_kept(app: Flask, database: Any) -> None:
    for _ in range(3):
        assert app.test_client().get("/boom").status_code == 500
    services = app.extensions["prodfix"]
    (kind,) = services.errors.groups.page(services.requests.statistics.read("1h").window)[0]

    def show(*options: str) -> str:
        result = app.test_cli_runner().invoke(args=["prodfix", "errors", "show", kind.fingerprint, *options])
        assert result.exit_code == 0
        return str(result.stdout)

    database[ERROR_LOG].insert_many([record(kind.fingerprint) for _ in range(2)])
    assert "2 of 3 records are kept" in show()
    assert json.loads(show("--json"))["kept"] == 2
    database[ERROR_LOG].insert_one(record(kind.fingerprint))
    assert "records are kept" not in show()  # the control: all of them are there


def test_the_report_of_a_request_says_that_its_record_is_not_kept(
    app: Flask, database: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    database[ERROR_LOG].insert_one(record("f" * 16))
    app.extensions["prodfix"].database.monitor.ping()
    found = app.extensions["prodfix"].diagnostics.requests.find(REQUEST)
    _draw(found)
    assert "thinned" not in capsys.readouterr().out  # the control
    _draw(replace(found, thinned=True))
    assert "thinned:   there are enough errors of its kind" in capsys.readouterr().out
