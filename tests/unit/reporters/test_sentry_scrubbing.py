"""What is left of an event that somebody else has made: nothing that our rules would not let into a log."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from prodfix.reporters.sentry_scrubbing import scrubbed

SECRET = "hunter2hunter2"
URI = f"mongodb://root:{SECRET}@10.0.0.7/shop"


def frame(**values: Any) -> dict[str, Any]:
    return {"filename": "views.py", "lineno": 3, "function": "pay", "in_app": True, **values}


CARRIERS: dict[str, dict[str, Any]] = {
    "message": {"message": f"log in as {URI}"},
    "logentry": {"logentry": {"message": "log in as %s", "formatted": f"log in as {URI}", "params": [SECRET]}},
    "exception's value": {"exception": {"values": [{"type": "Failure", "value": f"password={SECRET}"}]}},
    "frame's variables": {
        "exception": {
            "values": [{"type": "Failure", "stacktrace": {"frames": [frame(vars={"password": SECRET, "x": SECRET})]}}]
        }
    },
    "source lines": {
        "exception": {
            "values": [{"type": "Failure", "stacktrace": {"frames": [frame(context_line=f'password = "{SECRET}"')]}}]
        }
    },
    "exceptions as a list": {"exception": [{"type": "Failure", "value": f"password={SECRET}"}]},
    "threads": {"threads": {"values": [{"id": 1, "stacktrace": {"frames": [frame(vars={"card": SECRET})]}}]}},
    "stacktrace": {"stacktrace": {"frames": [frame(vars={"card": SECRET})]}},
    "request's body": {"request": {"method": "POST", "data": {"title": SECRET}}},
    "request's body as text": {"request": {"method": "POST", "data": SECRET}},
    "request's query": {"request": {"url": f"http://shop/pay/{SECRET}", "query_string": f"a={SECRET}"}},
    "request's cookies": {"request": {"cookies": {"session": SECRET}}},
    "request's environment": {"request": {"env": {"REMOTE_ADDR": SECRET}}},
    "request's headers": {"request": {"headers": {"Authorization": f"Bearer {SECRET}", "X-Customer": SECRET}}},
    "user agent": {"request": {"headers": {"User-Agent": f"shop/1 token={SECRET}"}}},
    "user": {"user": {"id": "u1", "email": SECRET, "ip_address": SECRET, "username": SECRET, "data": {"a": SECRET}}},
    "breadcrumb's message": {"breadcrumbs": {"values": [{"category": "log", "message": f"password={SECRET}"}]}},
    "breadcrumb's data": {"breadcrumbs": {"values": [{"category": "log", "data": {"password": SECRET}}]}},
    "breadcrumb of a command": {
        "breadcrumbs": {
            "values": [{"category": "query", "message": f'{{"find": "shops", "filter": {{"n": "{SECRET}"}}}}'}]
        }
    },
    "breadcrumb of a call": {
        "breadcrumbs": {
            "values": [{"category": "httplib", "data": {"url": f"http://x/?q={SECRET}", "http.query": f"q={SECRET}"}}]
        }
    },
    "breadcrumbs as a list": {"breadcrumbs": [{"message": f"password={SECRET}"}]},
    "extra": {"extra": {"password": SECRET, "note": f"password={SECRET}"}},
    "contexts": {"contexts": {"order": {"apiKey": SECRET, "uri": URI}}},
    "tags": {"tags": {"token": SECRET}},
    "transaction": {"transaction": f"/pay?token={SECRET}"},
    "a part of tomorrow's": {"feedback": {"text": f"password={SECRET}"}},
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_no_secret_is_left_in_any_carrier(carrier: str) -> None:
    given = {"event_id": "0" * 32, "level": "error", "platform": "python", **CARRIERS[carrier]}
    before = copy.deepcopy(given)
    assert SECRET in json.dumps(given)  # the control: it went in
    left = scrubbed(given)
    assert SECRET not in json.dumps(left)
    assert "10.0.0.7" not in json.dumps(left)
    assert given == before
    assert (left["event_id"], left["level"]) == ("0" * 32, "error")


def test_what_is_no_secret_stays() -> None:
    value = {
        "type": "Failure",
        "module": "shop.views",
        "value": "no price",
        "mechanism": {"type": "flask", "handled": False},
        "stacktrace": {"frames": [frame(context_line="    pay(order)", pre_context=["def view():"])]},
    }
    event = {
        "event_id": "0" * 32,
        "timestamp": "2026-11-29T12:00:00Z",
        "release": "1c07be4",
        "transaction": "views.pay",
        "exception": {"values": [value]},
        "breadcrumbs": {"values": [{"category": "log", "message": "begun", "data": {"step": 1}, "level": "info"}]},
        "request": {"method": "POST", "headers": {"Content-Type": "application/json"}},
        "user": {"id": "u1"},
        "tags": {"shop": "4"},
        "extra": {"step": 2},
        "modules": {"flask": "3.1.3"},
    }
    assert scrubbed(event) == event


@pytest.mark.parametrize("odd", [None, 5, "text", [], [None, 5], {}, {"values": None}, {"frames": 5}])
def test_parts_of_any_form_break_nothing(odd: Any) -> None:
    for name in ("breadcrumbs", "exception", "logentry", "request", "stacktrace", "threads", "user", "tags", "extra"):
        scrubbed({name: odd})
