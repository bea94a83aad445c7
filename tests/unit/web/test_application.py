"""The served application: strict JSON both ways, bodies of a bounded size, and each error logged once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any

import bson
import orjson
import pytest
from flask import Blueprint, jsonify, request
from pydantic import BaseModel


class Model(BaseModel):
    at: datetime


@pytest.fixture
def blueprint() -> Blueprint:
    made = Blueprint("echo", __name__)
    made.add_url_rule("/echo", view_func=lambda: jsonify(request.get_json()), methods=["POST"], endpoint="echo")
    made.add_url_rule("/text", view_func=lambda: bytes(request.get_data()), methods=["POST"], endpoint="text")
    made.add_url_rule("/fail", view_func=lambda: 1 // 0, endpoint="fail")
    return made


@pytest.fixture
def client(serve: Callable[..., Any], blueprint: Blueprint) -> Any:
    return serve([blueprint], max_body_bytes=2048).test_client()


def post(client: Any, data: bytes | str) -> Any:
    return client.post("/echo", data=data, content_type="application/json")


@pytest.mark.parametrize(
    "value", [{}, [], None, True, "\u2028\u00e9\U0001f600", {"a": [1, -2.5, {"b": None}]}, 2**63, "x" * 1000], ids=repr
)
def test_json_goes_in_and_out_unchanged(client: Any, value: Any) -> None:
    assert post(client, orjson.dumps(value)).get_json() == value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "syntax"),
        (b"{", "syntax"),
        (b'{"a": 1,}', "syntax"),
        (b"{'a': 1}", "syntax"),
        (b"1 2", "syntax"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"b": {"a": 1, "a": 1}}', "duplicate_key"),
        (b"NaN", "number"),
        (b'{"a": -Infinity}', "number"),
        (b"1e999", "number"),
        (b"1" * 500, "number"),
        (b'"\\ud800"', "encoding"),
        (b'{"\\udfff": 1}', "encoding"),
        (b'"\xff"', "encoding"),
        ('"a"'.encode("utf-16"), "encoding"),
        (b"[" * 70 + b"]" * 70, "depth"),
        (b'{"a":' * 66 + b"1" + b"}" * 66, "depth"),
        (b"[" * 1000 + b"]" * 1000, "depth"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_not_json_is_a_400_that_names_the_reason(client: Any, body: bytes, code: str) -> None:
    response = post(client, body)
    answer = response.get_json()
    assert (response.status_code, answer["code"]) == (400, "MALFORMED_REQUEST")
    assert [detail["code"] for detail in answer["details"]] == [code]


def test_a_body_up_to_the_limit_is_read_and_a_larger_one_refused(client: Any) -> None:
    assert client.post("/text", data=b"x" * 2048).status_code == 200
    response = client.post("/text", data=b"x" * 2049)
    assert (response.status_code, response.get_json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_the_values_of_documents_are_json(client: Any) -> None:
    identity = bson.ObjectId()
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=2)))
    with client.application.app_context():
        shown = jsonify({"id": identity, "at": moment, "on": date(2026, 1, 2), "model": Model(at=moment)}).get_json()
    assert shown == {
        "id": str(identity),
        "at": "2026-01-02T01:04:05.678Z",
        "on": "2026-01-02",
        "model": {"at": "2026-01-02T03:04:05.678901+02:00"},
    }


def test_what_json_cannot_show_is_still_an_error_with_an_answer(serve: Callable[..., Any]) -> None:
    blueprint = Blueprint("bad", __name__)
    blueprint.add_url_rule("/bad", view_func=lambda: jsonify({"a": object()}))
    response = serve([blueprint]).test_client().get("/bad")
    assert (response.status_code, response.get_json()["code"]) == (500, "INTERNAL_ERROR")


def test_keys_keep_their_order(client: Any) -> None:
    assert post(client, b'{"b": 1, "a": 2}').data.replace(b" ", b"").replace(b"\n", b"") == b'{"b":1,"a":2}'


@pytest.mark.parametrize("ours", [True, False])
def test_a_defect_is_logged_once(serve: Callable[..., Any], blueprint: Blueprint, capfd: Any, ours: bool) -> None:
    app = serve([blueprint], console=1, enable_error_handler=ours)
    app.test_client().get("/fail")
    assert app.extensions["prodfix"].logs.sinks.flush(30)
    logged = [orjson.loads(line) for line in capfd.readouterr().out.splitlines()]
    errors = [line for line in logged if line["level"] == "error"]
    assert ["event" in line for line in errors] == [ours]


def test_a_view_that_waits_is_ended_by_the_deadline_under_gevent(python: Callable[..., str], tmp_path: Any) -> None:
    code = """
    from gevent import monkey; monkey.patch_all()
    import os, sys, time
    from flask import Blueprint
    from prodfix import Settings, create_app

    blueprint = Blueprint("slow", __name__)

    @blueprint.get("/slow")
    def slow():
        try:
            time.sleep(20)
        except Exception:
            return "swallowed"

    settings = Settings(app_env="production", state_dir=sys.argv[1], log_dir=sys.argv[1], request_deadline_ms=300)
    app = create_app(settings, [blueprint])
    begun = time.monotonic()
    response = app.test_client().get("/slow")
    app.extensions["prodfix"].close()
    print(response.status_code, response.get_json()["code"], time.monotonic() - begun < 5)
    """
    last = python(code, tmp_path).splitlines()[-1]
    assert last == "504 DEADLINE_EXCEEDED True"
