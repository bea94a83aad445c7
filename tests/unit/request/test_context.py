"""One request's identity: taken from good headers, made anew for bad ones, and never left behind."""

from __future__ import annotations

import json
import os
import re
import threading
from contextvars import copy_context
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from prodfix.operations.fingerprints import CommandKey
from prodfix.request.context import RequestContext, current_context, new_context, reset_context, set_context
from prodfix.serialization import iso

PARENT = "4bf92f3577b34da6a3ce929d0e0e4736"


def make(**headers: str) -> RequestContext:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return new_context(endpoint="/notes/<id>", method="GET", ip="127.0.0.1", headers=named)


@pytest.mark.parametrize("given", ["12345678", "a" * 64, "01HXYZ-abc_def.1"])
def test_a_good_request_id_is_kept(given: str) -> None:
    assert make(X_Request_ID=given).request_id == given


@pytest.mark.parametrize(
    "given",
    ["", "short", "a" * 65, "has space", "12345678\n", "line\r\nbreak1", "<script>1234", "{braces}1234", "ünïcödé12"],
)
def test_a_bad_request_id_is_replaced_and_nothing_of_it_is_kept(given: str) -> None:
    request_id = make(X_Request_ID=given).request_id
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert request_id != make(X_Request_ID=given).request_id


@pytest.mark.parametrize(
    "given",
    [
        "00-{}-00f067aa0ba902b7-01",
        "00-{}-00f067aa0ba902b7-00",
        "00-{}-00f067aa0ba902b7-ff",  # flags that nobody knows yet
        "01-{}-00f067aa0ba902b7-01",
        "cc-{}-00f067aa0ba902b7-01",
        "fe-{}-00f067aa0ba902b7-00",
        "01-{}-00f067aa0ba902b7-01-",
        "cc-{}-00f067aa0ba902b7-01-what-the-future-will-be-like",
        "0f-{}-00f067aa0ba902b7-01-UPPER.and,other",
    ],
)
def test_the_trace_is_that_of_a_valid_traceparent_also_of_a_higher_version(given: str) -> None:
    """W3C Trace Context, sections 3.2.2 and 4.3."""
    assert make(traceparent=given.format(PARENT)).trace_id == PARENT


@pytest.mark.parametrize(
    "given",
    [
        "",
        f"00-{PARENT.upper()}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{PARENT}-{'0' * 16}-01",
        f"00-{PARENT}-00f067aa0ba902b7-01-x",
        f"ff-{PARENT}-00f067aa0ba902b7-01",
        f"FF-{PARENT}-00f067aa0ba902b7-01",
        f"00-{PARENT}-00f067aa0ba902b7-01-",
        f"00-{PARENT}-00f067aa0ba902b7-0",
        f"00-{PARENT}-00f067aa0ba902b7-011",
        f"00-{PARENT}-00f067aa0ba902b7-0G",
        f"00-{PARENT}-00F067AA0BA902B7-01",
        f"01-{PARENT}-00f067aa0ba902b7-0",
        f"01-{PARENT}-00f067aa0ba902b7-01.more",
        f"01-{PARENT}-00f067aa0ba902b7-01,01-{PARENT}-00f067aa0ba902b7-01",
        f"01-{PARENT}-{'0' * 16}-01-more",
        f"01-{'0' * 32}-00f067aa0ba902b7-01-more",
        f"0x-{PARENT}-00f067aa0ba902b7-01",
        f"1-{PARENT}-00f067aa0ba902b7-01",
        f"001-{PARENT}-00f067aa0ba902b7-01",
        f" 00-{PARENT}-00f067aa0ba902b7-01",
        f"01-{PARENT}-00f067aa0ba902b7-01-a\nb",
    ],
)
def test_an_invalid_traceparent_is_as_none(given: str) -> None:
    trace_id = make(traceparent=given).trace_id
    assert re.fullmatch("[0-9a-f]{32}", trace_id)
    assert trace_id not in (PARENT, "0" * 32)


@given(values=st.lists(st.text(max_size=2000), min_size=5, max_size=5))
def test_no_header_is_too_odd_and_none_is_kept_long(values: list[str]) -> None:
    names = ["X-Request-ID", "traceparent", "User-Agent", "X-App-Version", "Sec-CH-UA-Mobile"]
    context = new_context(endpoint="/", method="GET", ip="::1", headers=dict(zip(names, values, strict=True)))
    assert len(str(context.to_json())) < 3000


def test_headers_of_werkzeug_are_found_whatever_their_case() -> None:
    headers = Headers([("x-request-id", "12345678"), ("user-agent", "okhttp/4.12.0"), ("x-app-version", "2.1")])
    body = new_context(endpoint="/", method="GET", ip="::1", headers=headers).to_json()
    assert (body["requestId"], body["deviceType"], body["appVersion"]) == ("12345678", "mobile", "2.1")


def test_the_json_is_the_seeds_error_context() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_900, timezone(timedelta(hours=2)))
    context = new_context(endpoint="/a", method="PUT", ip="1.2.3.4", headers={}, timestamp=moment)
    context.notes.user_id = "u1"
    body = context.to_json()
    assert set(body) == {
        "requestId", "traceId", "userId", "endpoint", "method", "userAgent", "deviceType", "appVersion", "ip", "timestamp"
    }  # fmt: skip
    assert (body["userId"], body["timestamp"], body["deviceType"]) == ("u1", "2026-01-02T01:04:05.678Z", "unknown")


def test_a_context_does_not_change_and_its_notes_are_its_own() -> None:
    first, second = make(), make()
    with pytest.raises(AttributeError):
        first.method = "POST"  # type: ignore[misc]
    first.notes.commands += 1
    assert second.notes.commands == 0


def test_identities_differ_also_in_a_child_process() -> None:
    mine = [make() for _ in range(2)]  # others are left that were made with them
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, json.dumps([(each.request_id, each.trace_id) for each in (make(), make())]).encode())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    others = json.loads(os.read(reading, 4096))
    mine += [make() for _ in range(200)]
    found = [identity for each in mine for identity in (each.request_id, each.trace_id)]
    found += [identity for each in others for identity in each]
    assert len(set(found)) == len(found) == 408
    assert {re.fullmatch("[0-9a-f]{32}", each) is not None for each in found} == {True}


def test_a_context_is_known_until_it_is_reset() -> None:
    assert current_context() is None
    token = set_context(context := make())
    assert current_context() is context
    reset_context(token)
    assert current_context() is None


def test_a_context_is_not_known_in_another_thread_but_in_a_copy() -> None:
    seen: list[Any] = []
    token = set_context(context := make())
    try:
        copied = copy_context()
        for run in (lambda: seen.append(current_context()), lambda: seen.append(copied.run(current_context))):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
    finally:
        reset_context(token)
    assert seen == [None, context]


@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_times_are_utc_with_milliseconds_and_z(moment: datetime) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", iso(moment))


def test_the_names_of_a_filters_fields_are_told_and_what_looks_like_data_in_them_is_not() -> None:
    context = new_context(endpoint="/", method="GET", ip="", headers={})
    key = CommandKey("find", "orders", ("status", "S3d79f4c2f082cdfdcdb48", "anna@example.org"))
    context.notes.count(key, 2_000, False, context.begun + 0.005)
    (told,) = context.notes.trail_json(context.begun)
    assert (told["offsetMs"], told["durationMs"], told["fields"]) == (3.0, 2.0, ["?key", "status"])
