"""Error trackers as served by two workers: the real SDKs of Sentry and Rollbar, and a receiver that speaks both protocols."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.error_trackers import PUBLIC_KEY, Tracker
from tests.support.served import Answer, Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

TOKEN = "0123456789abcdef0123456789abcdef"
PASSWORD, PATH, QUERY, COOKIE = "hunter2hunter2", "path-secret-77", "query-secret-88", "cookie-secret-99"


@pytest.fixture(scope="module")
def tracker() -> Iterator[Tracker]:
    with Tracker() as made:
        yield made


@pytest.fixture(scope="module")
def variables(database_server: str, tracker: Tracker) -> dict[str, str]:
    return {
        "application": "tests.hosts.tracked:app",
        "SENTRY_DSN": tracker.dsn,
        "ROLLBAR_ACCESS_TOKEN": TOKEN,
        "ROLLBAR_ENDPOINT": tracker.endpoint,
        "APP_RELEASE": "1c07be4",
    }


@pytest.fixture(scope="module")
def served(
    database_server: str, variables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    uri = f"{database_server}tracked_{secrets.token_hex(6)}"
    with Served(tmp_path_factory.mktemp("tracked"), uri, **variables) as application:
        yield application


def fail(served: Served) -> Answer:
    """One request with a secret in each carrier."""
    headers = {"Cookie": f"session={COOKIE}", "X-Api-Key": COOKIE, "User-Agent": f"shop/1 token={COOKIE}"}
    answer = served.post(f"/tracked/fails/{PATH}?token={QUERY}", {"password": PASSWORD}, headers=headers)
    assert answer.status == 500
    return answer


def of_request(found: list[dict[str, Any]], request_id: str) -> list[dict[str, Any]]:
    tags = [one.get("tags") or one.get("custom") or {} for one in found]
    return [one for one, tag in zip(found, tags, strict=True) if tag.get("request_id") == request_id]


def reported(tracker: Tracker, request_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one event and the one item of a request."""

    def both() -> Any:
        events, items = of_request(tracker.events, request_id), of_request(tracker.items, request_id)
        return (events, items) if events and items else None

    events, items = until(both, limit=15, what=f"an event and an item of {request_id}")
    assert (len(events), len(items)) == (1, 1)
    return events[0], items[0]


def loaded(served: Served) -> dict[int, list[str]]:
    """By worker, which SDK it has imported."""

    def both() -> dict[int, list[str]] | None:
        found = {body["pid"]: body["loaded"] for body in (served.get("/tracked/fine").body for _ in range(10))}
        return found if len(found) == 2 else None

    told: dict[int, list[str]] = until(both, limit=10, what="an answer of both workers")
    return told


def test_nothing_is_imported_before_there_is_an_error_and_nothing_is_sent(served: Served, tracker: Tracker) -> None:
    assert list(loaded(served).values()) == [[], []]
    assert tracker.asked == 0


def test_one_failing_request_is_one_event_and_one_item_with_its_tags(served: Served, tracker: Tracker) -> None:
    request_id = fail(served).body["requestId"]
    event, item = reported(tracker, request_id)
    (known,) = served.looked_up(request_id)[0]["errors"]
    told = {
        "request_id": request_id,
        "prodfix.code": "INTERNAL_ERROR",
        "prodfix.category": "unknown",
        "http.status_code": "500",
    }
    assert event["tags"] == told
    assert event["fingerprint"] == [known["fingerprint"]]
    assert (event["release"], event["environment"], event["level"]) == ("1c07be4", "development", "error")
    assert event["transaction"] == event["request"]["url"] == "/tracked/fails/<secret>"
    (raised,) = event["exception"]["values"]
    assert (raised["type"], raised["module"]) == ("Failure", "tests.hosts.tracked")
    own = [frame for frame in raised["stacktrace"]["frames"] if frame["in_app"]]
    assert [(frame["filename"], frame["function"]) for frame in own] == [("tests/hosts/tracked.py", "fails")]
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["find shops"]
    assert f"sentry_key={PUBLIC_KEY}" in tracker.keys[-1]
    assert item["custom"].items() >= told.items()
    assert (item["fingerprint"], item["code_version"]) == (known["fingerprint"], "1c07be4")
    assert item["body"]["trace"]["exception"]["class"] == "Failure"
    assert item["body"]["trace"]["frames"][-1]["method"] == "fails"
    assert set(next(names for names in loaded(served).values() if names)) == {"rollbar", "sentry_sdk"}


def test_no_secret_of_a_request_reaches_a_tracker(served: Served, tracker: Tracker) -> None:
    event, _ = reported(tracker, fail(served).body["requestId"])
    assert event["exception"]["values"][0]["value"].startswith("log in as mongodb://")  # what has a secret was told
    for secret in (PASSWORD, PATH, QUERY, COOKIE, "10.0.0.7"):
        assert secret.encode() not in tracker.raw
    assert tracker.others == []


def test_what_is_the_clients_fault_is_not_told_and_an_answer_without_an_exception_is(
    served: Served, tracker: Tracker
) -> None:
    assert served.get("/tracked/bad").status == 400
    aborted = served.get("/tracked/abort")
    assert aborted.status == 503
    event, _ = reported(tracker, aborted.body["requestId"])
    assert event["exception"]["values"][0]["type"] == "ServiceUnavailable"
    assert not [one for one in tracker.events if one["transaction"] == "/tracked/bad"]


def reporters(served: Served) -> dict[str, dict[str, Any]]:
    body = served.get("/api/v1/diagnostics/database", served.bearer()).body
    return {one["name"]: one for one in body["reporters"]}


def both_failing(served: Served) -> dict[str, dict[str, Any]] | None:
    found = reporters(served)
    return found if all(one["failing"] for one in found.values()) else None


def test_a_tracker_that_hangs_delays_no_request(served: Served, tracker: Tracker) -> None:
    tracker.released.clear()
    try:
        first = fail(served).body["requestId"]
        until(lambda: not tracker.released.is_set() and tracker.asked, limit=5, what="the tracker to be asked")
        begun = time.monotonic()
        for _ in range(5):
            fail(served)
        assert time.monotonic() - begun < 3.0  # the tracker would take 30 s
    finally:
        tracker.released.set()
    reported(tracker, first)


def test_one_that_refuses_is_shown_and_gets_it_later_and_once(served: Served, tracker: Tracker) -> None:
    tracker.status = 500
    try:
        request_id = fail(served).body["requestId"]
        failing = until(lambda: both_failing(served), limit=15, what="both reporters to be failing in the diagnostics")
        assert failing["sentry"]["failing"] in ("network_error", "status_500")
        assert failing["rollbar"]["failing"] == "ApiError"
    finally:
        tracker.status = 200
    reported(tracker, request_id)
    until(lambda: not any(one["failing"] for one in reporters(served).values()), limit=15, what="both to work again")
    told = [
        line for line in served.stdout_lines() if line.get("event") == "background" and "reporter" in line["message"]
    ]
    assert {line["message"] for line in told} >= {"reporter sentry failed", "reporter sentry works again"}


def test_the_last_error_of_a_worker_is_told_before_it_ends_and_what_the_application_sends_is_scrubbed(
    database_server: str, variables: dict[str, Any], tracker: Tracker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uri = f"{database_server}tracked_{secrets.token_hex(6)}"
    with Served(tmp_path_factory.mktemp("last"), uri, workers=1, **variables, CAPTURE="yes") as served:
        reported(tracker, fail(served).body["requestId"])
        request_id = fail(served).body["requestId"]
        assert served.stop() == 0
    reported(tracker, request_id)
    own = [one for one in tracker.events if "the application itself says" in str(one.get("message"))]
    assert [one["message"] for one in own] == ["the application itself says password=***"]
    assert [crumb["data"] for crumb in own[0]["breadcrumbs"]["values"]] == [{"password": "***"}]
    assert PASSWORD.encode() not in tracker.raw
