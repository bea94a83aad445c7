"""The page of one request, and what can be copied of it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Blueprint

from prodfix import Settings, current_prodfix, make_token
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.blueprints.diagnostics.pages.request_copies import as_curl, as_markdown
from prodfix.blueprints.diagnostics.pages.request_pages import SHORTEST, timeline
from prodfix.checked_record import ValidationError
from prodfix.diagnostics.requests import RequestReport, Requests
from prodfix.logs.request_lines import RequestLine, RequestLog
from prodfix.models import SentCommand
from prodfix.request.context import ErrorContext
from prodfix.web.application import Application

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
BASE = "https://notes.example.org"


def report(**fields: Any) -> RequestReport:
    context = ErrorContext(
        request_id="asked-one",
        endpoint="/orders/<identity>/pay",
        method="POST",
        user_agent="Phone/1 (it's)",
        app_version="2.0",
    )
    known: dict[str, Any] = {
        "context": context,
        "client": None,
        "timestamp": AT,
        "status": 500,
        "code": "INTERNAL_ERROR",
        "outcome": None,
        "errors": [
            {"code": "INTERNAL_ERROR", "message": "KeyError: ```` 'price'", "stack": "KeyError\n  a.py:1 in pay"}
        ],
        "commands": [SentCommand("find", "orders", 2.0, False, 4.0, ("status", "total"))],
        "recovery": None,
        "deferred": [],
        "incidents": [],
        "release": "3f2a9c1",
        "instance": "srv-1",
        "pid": 7,
        "unreachable": False,
        "log": RequestLog([RequestLine(AT, "error", "error", "it failed", "error.log")], complete=True),
        "trace_url": None,
        "thinned": False,
        "missing": [],
    }
    return RequestReport(**{**known, **fields})


def test_a_shell_reads_the_curl_as_it_is_meant() -> None:
    assert shlex.split(as_curl(report(), BASE)) == [
        "curl",
        "--include",
        "--request",
        "POST",
        "--header",
        "User-Agent: Phone/1 (it's)",
        "--header",
        "X-App-Version: 2.0",
        "https://notes.example.org/orders/<identity>/pay",
    ]
    plain = ErrorContext(endpoint="/notes", method="GET")
    assert as_curl(report(context=plain), BASE) == "curl --include https://notes.example.org/notes"


@pytest.mark.parametrize("endpoint", ["unmatched", "background", None])
def test_what_came_to_no_route_cannot_be_asked_again(endpoint: str | None) -> None:
    assert as_curl(report(context=ErrorContext(endpoint=endpoint, method="GET")), BASE) == ""


def test_the_markdown_has_what_a_ticket_needs_and_nothing_in_it_is_markup() -> None:
    text = as_markdown(report(), f"{BASE}/page/requests/asked-one")
    for told in (
        "## Request `asked-one`",
        "- Answered: `500 INTERNAL_ERROR`",
        "- Endpoint: `POST /orders/<identity>/pay`",
        "- Release: `3f2a9c1`",
        "- Page: <https://notes.example.org/page/requests/asked-one>",
        "`````text\nKeyError: ```` 'price'\n`````",
        "```text\nKeyError\n  a.py:1 in pay\n```",
        "- +4 ms `find orders` by `status, total`, 2.0 ms",
        "2026-11-26T12:00:00.000Z error it failed",
    ):
        assert told in text
    assert "None" not in text


@pytest.mark.parametrize(("status", "words"), [("open", "on, not over yet"), ("closed", "to 2026-11-26T12:00:30.000Z")])
def test_an_incident_that_lasts_has_no_end(status: str, words: str) -> None:
    one = SimpleNamespace(cause="database_lost", status=status, from_=AT, to=AT + timedelta(seconds=30))
    told = f"- Part of incident: `database_lost`, from 2026-11-26T12:00:00.000Z {words}\n"
    assert told in as_markdown(report(incidents=[one]), BASE)


def test_each_command_has_its_place_on_the_requests_time() -> None:
    commands = [
        SentCommand("find", "a", 10.0, False, 0.0),
        SentCommand("find", "b", 0.0, False, 20.0),
        SentCommand("insert", "c", 20.0, True, 20.0),
        SentCommand("find", "of an earlier release", 3.0),
    ]
    assert timeline(commands) == [(0.0, 25.0), (50.0, SHORTEST), (50.0, 50.0), None]
    assert timeline([SentCommand("find", "a", None, False, 0.0)]) == [(0.0, SHORTEST)]
    assert timeline([]) == []


# -- the page ---------------------------------------------------------------------------------------------------------------

plug_in = Blueprint("plug_in", __name__)


@plug_in.get("/fails/<secret>")
def fails(secret: str) -> Any:
    current_prodfix.logs.event(
        current_prodfix.errors.log.meaning(KeyError()).severity, "note", "on its way", "database"
    )
    written = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == written:  # lines of one millisecond have no order in files of their own
        pass
    raise KeyError("price")


@pytest.fixture
def failed(serve: Callable[..., Application]) -> tuple[Any, str, dict[str, str]]:
    app = serve(
        [plug_in, diagnostics],
        app_release="v7",
        render_instance_id="srv-1",
        trace_url_template="https://traces.example.org/t/{traceId}?view=all",
    )
    app.config["PROPAGATE_EXCEPTIONS"] = False
    client = app.test_client()
    answer = client.get("/fails/canary", headers={"User-Agent": "Phone/1", "Authorization": "Bearer canary"})
    assert answer.status_code == 500
    services = app.extensions["prodfix"]
    services.logs.sinks.flush(5)
    token = make_token(services.settings, role="admin", lifetime=timedelta(minutes=5), subject="admin")
    return client, answer.headers["X-Request-ID"], {"Authorization": f"Bearer {token}"}


def test_the_page_and_the_api_have_the_same_of_it(failed: tuple[Any, str, dict[str, str]]) -> None:
    client, identity, admin = failed
    told = client.get(f"{PREFIX}/requests/{identity}", headers=admin).json
    assert (told["release"], told["instance"], told["unreachable"]) == ("v7", "srv-1", False)
    assert told["traceUrl"] == f"https://traces.example.org/t/{told['traceId']}?view=all"
    assert [one["message"] for one in told["log"]["lines"]] == ["on its way", "KeyError: price"]
    page = client.get(f"{PREFIX}/page/requests/{identity}", headers={**admin, "Accept": "text/html"}).text
    for words in (
        "500 INTERNAL_ERROR",
        "v7",
        "srv-1",
        "Phone/1",
        told["traceId"],
        "on its way",
        "Copy as curl",
        "Open trace",
    ):
        assert words in page
    assert "It sent no command to the database before its error." in page
    assert "the driver publishes no command" not in page
    assert "canary" not in page + str(told), "neither the path nor a header"


def test_an_incident_that_lasts_is_not_said_to_be_over(
    failed: tuple[Any, str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, identity, admin = failed
    for status, words in (("open", "2 min so far"), ("closed", "2 min.")):
        one = SimpleNamespace(cause="database_lost", status=status, from_=AT, to=AT + timedelta(minutes=2), seconds=120)
        monkeypatch.setattr(Requests, "find", lambda self, request_id, one=one: report(incidents=[one]))
        page = client.get(f"{PREFIX}/page/requests/{identity}", headers={**admin, "Accept": "text/html"}).text
        assert words in page
        assert ("so far" in page) == (status == "open")


@pytest.mark.parametrize(
    "template",
    [
        "javascript:alert(1)//{traceId}",
        "https://traces.example.org/",
        "https://{traceId}/",
        "ftp://a/{traceId}",
        "https://user@traces.example.org/{traceId}",
        "https://traces.example.org/{traceId}/{spanId}",
    ],
)
def test_a_template_that_leads_elsewhere_is_refused(template: str) -> None:
    with pytest.raises(ValidationError):
        Settings(trace_url_template=template)


def test_a_template_may_have_the_id_anywhere_behind_the_host() -> None:
    for template in (
        "https://a.example.org/{traceId}",
        "http://localhost:16686/trace/{traceId}#x",
        "https://a/?t={traceId}&x=1",
        "",
    ):
        assert Settings(trace_url_template=template).trace_url_template == template
