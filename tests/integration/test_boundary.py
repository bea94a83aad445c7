"""Whatever fails, and wherever: one JSON answer, one record with its request, and never a page of HTML or a hang."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database_server: str) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("broken")
    uri = f"{database_server.rstrip('/')}/broken"
    with Served(folder, uri, application="tests.hosts.broken:app", APP_ENV="production") as application:
        yield application


def records(served: Served, request_id: str) -> list[dict[str, Any]]:
    return [line for line in served.stdout_lines() if line.get("event") == "error" and line["requestId"] == request_id]


@pytest.mark.parametrize(
    "path",
    ["/broken/view", "/broken/fine?fail=before", "/broken/fine?fail=after", "/broken/handler", "/broken/stream/0"],
)
def test_every_failure_has_one_answer_and_one_record(served: Served, path: str) -> None:
    answer = served.get(path, {"X-Request-ID": f"fails-{path.rpartition('/')[2].replace('?', '-').replace('=', '-')}"})
    assert (answer.status, answer.body["code"]) == (500, "INTERNAL_ERROR")
    assert answer.headers["X-Request-ID"] == answer.body["requestId"]
    (record,) = until(lambda: records(served, answer.body["requestId"]), what="a record")
    assert (record["errorType"], record["context"]["endpoint"].startswith("/broken/")) == ("Failure", True)
    for found in served.looked_up(answer.body["requestId"]):
        assert [error["fingerprint"] for error in found["errors"]] == [record["fingerprint"]]


def test_an_answer_that_is_made_is_not_thrown_away_by_what_fails_after_it(served: Served) -> None:
    with contextlib.closing(served.connection()) as kept:
        answer = served.request(
            "GET", "/broken/fine?fail=teardown", headers={"X-Request-ID": "teardown-1"}, connection=kept
        )
        assert (answer.status, "pid" in answer.body) == (200, True)
        # The next request of the same greenlet has its own context and its own deadline.
        again = served.request("GET", "/broken/stream/whole", connection=kept)
    assert answer.headers["X-Request-ID"] == "teardown-1"
    assert set(again.body.split()) == {again.headers["X-Request-ID"]}
    (record,) = until(lambda: records(served, "teardown-1"), what="a record")
    assert record["message"] == "Failure: at the end of the request"


def test_a_body_that_breaks_off_is_cut_and_recorded(served: Served) -> None:
    with pytest.raises(http.client.IncompleteRead) as cut:
        served.get("/broken/stream/2", {"X-Request-ID": "breaks-off"})
    assert cut.value.partial == b"part 0\npart 1\n"
    assert b"<html" not in cut.value.partial
    (record,) = until(lambda: records(served, "breaks-off"), what="a record")
    assert record["message"] == "Failure: in the stream"
    assert "Error handling request" not in served.stdout()
    assert served.get("/broken/fine").status == 200


def test_parts_of_a_stream_are_made_for_their_own_request(served: Served) -> None:
    answer = served.get("/broken/stream/whole")
    assert answer.body == f"{answer.headers['X-Request-ID']}\n" * 2


def test_a_background_greenlet_that_fails_is_recorded(served: Served) -> None:
    assert served.get("/broken/background").status == 200

    def told() -> list[dict[str, Any]]:
        return [line for line in served.stdout_lines() if line.get("message") == "Failure: in the background"]

    (record,) = until(told, what="a record")
    assert (record["event"], record["errorType"], record["category"]) == ("error", "Failure", "unknown")
    assert "Traceback" not in served.stdout() + (served.folder / "stderr.txt").read_text()


def test_without_us_gunicorn_would_answer_in_html(tmp_path: Path, database_server: str) -> None:
    # The control: the same plug-in, our error handling switched off.
    uri = f"{database_server.rstrip('/')}/broken"
    options = {"APP_ENV": "production", "ENABLE_ERROR_HANDLER": "false"}
    with Served(tmp_path, uri, application="tests.hosts.broken:app", workers=1, **options) as bare:
        for path in ("/broken/view", "/broken/stream/0"):
            answer = bare.get(path)
            assert (answer.status, answer.headers.get_content_type()) == (500, "text/html")
