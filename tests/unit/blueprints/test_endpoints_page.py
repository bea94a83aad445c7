"""The endpoints of the application, as API and as page; and the one switch of the overview."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Blueprint, abort

from prodfix import make_token
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.incidents.incident_log import Incident, IncidentLog, IncidentPage
from prodfix.incidents.observed import IncidentCause
from prodfix.web.application import Application

plug_in = Blueprint("plug_in", __name__)


@plug_in.get("/fine")
def fine() -> str:
    return "fine"


@plug_in.get("/fails")
def fails() -> str:
    raise KeyError("price")


@plug_in.get("/missing")
def missing() -> str:
    abort(404)


@pytest.fixture
def ask(serve: Callable[..., Application]) -> Callable[..., Any]:
    app = serve([plug_in, diagnostics])
    app.config["PROPAGATE_EXCEPTIONS"] = False
    services, client = app.extensions["prodfix"], app.test_client()
    for path, times in (("/fine", 5), ("/fails", 2), ("/missing", 3)):
        for _ in range(times):
            client.get(path)
    token = make_token(services.settings, role="admin", lifetime=timedelta(minutes=5), subject="admin")
    assert client.get(f"{PREFIX}/errors?no=such", headers={"Authorization": f"Bearer {token}"}).status_code == 422
    services.requests.counters.flush()
    return lambda path, **headers: client.get(
        f"{PREFIX}{path}", headers={"Authorization": f"Bearer {token}", **headers}
    )


def test_the_api_sorts_them_and_has_pages(ask: Callable[..., Any]) -> None:
    found = ask("/endpoints").json
    assert [(one["endpoint"], one["requests"], one["failedRequests"], one["errors"]) for one in found["endpoints"]] == [
        ("/fails", 2, 2, 2),
        ("/missing", 3, 0, 3),
        ("/fine", 5, 0, 0),
    ]
    assert (found["total"], found["next"], found["scope"]) == (3, None, "instance")
    first = found["endpoints"][0]
    assert (first["commands"], first["databaseMs"], first["latencyMs"]["p99"] > 0) == (0, 0, True)
    page = ask("/endpoints?sort=busiest&limit=2").json
    assert ([one["endpoint"] for one in page["endpoints"]], page["next"]) == (["/fine", "/missing"], "2")
    assert [one["endpoint"] for one in ask("/endpoints?sort=busiest&limit=2&cursor=2").json["endpoints"]] == ["/fails"]
    assert ask("/endpoints?sort=best").status_code == 422


def test_the_page_shows_them(ask: Callable[..., Any]) -> None:
    page = ask("/page/endpoints?sort=slowest", Accept="text/html")
    assert page.status_code == 200
    for words in ("/fails", "/missing", "/fine", "Most database time", "3 endpoints"):
        assert words in page.text
    assert 'aria-current="true">Slowest' in page.text


@pytest.mark.parametrize(("errors", "there"), [("service", False), ("all", True)])
def test_one_switch_is_for_the_whole_of_the_overview(ask: Callable[..., Any], errors: str, there: bool) -> None:
    page = ask(f"?errors={errors}", Accept="text/html").text
    kinds = page.split('id="kinds"')[1].split("</section>")[0]
    by_endpoint = page.split('id="endpoints"')[1].split("</section>")[0]
    legend = page.split('class="legend"')[1].split("</ul>")[0]
    for part, name in ((kinds, "NotFound"), (by_endpoint, "/missing"), (legend, "client")):
        assert (name in part) is there
    for part, name in ((kinds, "KeyError"), (by_endpoint, "/fails"), (legend, "bug")):
        assert name in part
    unknown = page.split('id="devices"')[1].split('data-label="errors">')[1].split("</td>")[0]
    assert ("5" if there else "2") in unknown  # the refusal of a parameter of the page's own is none of them


def test_the_overview_speaks_the_words_of_the_field(ask: Callable[..., Any]) -> None:
    page = ask("", Accept="text/html").text
    for words in ("Dead letters", "View as table", "No alerts yet", "No incident in the last hour", ">bug<"):
        assert words in page.replace("> bug <", ">bug<")
    for gone in ("Put aside", "put aside", "The same as a table"):
        assert gone not in page


@pytest.mark.parametrize(("cause", "begin"), [("error_rate", "09:58"), ("database_lost", "10:00")])
def test_the_errors_of_a_jump_begin_before_it_was_noticed(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, cause: IncidentCause, begin: str
) -> None:
    came = datetime(2026, 11, 26, 10, tzinfo=UTC)
    counts = dict.fromkeys(("failed", "retried", "recovered", "deferred", "replayed", "dead", "workers"), 0)
    one = Incident("i", cause, "closed", came, came + timedelta(minutes=3), 180.0, **counts, instances=[], releases=[])
    monkeypatch.setattr(IncidentLog, "read", lambda self, **asked: IncidentPage("all", [one], False))
    text = unquote(ask("", Accept="text/html").text)
    assert f"from=2026-11-26T{begin}:00.000Z&amp;to=2026-11-26T10:03" in text
