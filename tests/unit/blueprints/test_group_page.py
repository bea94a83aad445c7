"""The page of one kind of error: what was decided of it is said, and what may be done next is offered; and the first page."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.html import _environment
from prodfix.blueprints.diagnostics.pages.overview import _groups, _ignored
from prodfix.checked_record import SecretStr
from prodfix.models import Group
from prodfix.statistics.counts import Seen
from prodfix.statistics.decisions import Decision
from prodfix.statistics.groups import ERROR_GROUPS
from tests.support.counting_worker import kind
from tests.support.kind_summaries import kind_summary

FINGERPRINT = "0123456789abcdef"
PAGE = f"/api/v1/diagnostics/page/groups/{FINGERPRINT}"
NOW = datetime.now(UTC)


@pytest.fixture
def app(adopt: Callable[..., Flask], database_uri: str) -> Flask:
    made = adopt(mongodb_uri=SecretStr(database_uri), diagnostics_auth_required=False)
    made.register_blueprint(diagnostics.blueprint)
    return made


@pytest.fixture
def page(app: Flask, database: Any) -> Callable[..., str]:
    known = {"title": kind().title, "category": "unknown", "firstSeen": NOW, "lastSeen": NOW, "releases": []}

    def show(**decided: Any) -> str:
        database[ERROR_GROUPS].replace_one({"_id": FINGERPRINT}, {**known, **decided}, upsert=True)
        answer = app.test_client().get(PAGE)
        assert answer.status_code == 200
        return answer.text

    return show


def test_what_is_open_can_be_resolved(page: Callable[..., str]) -> None:
    text = page()
    for offered in ("Resolve", "Resolve in next release", "For ever", "For 1 day", "For 7 days", "Until it escalates"):
        assert f">{offered}</button>" in text
    assert 'name="more"' in text
    assert "ignored" not in text
    assert ">Reopen</button>" not in text


def test_what_is_ignored_says_by_whom_and_until_when_and_can_be_opened_again(page: Callable[..., str]) -> None:
    for how, told in (
        ({"until": None}, "for ever"),
        ({"until": NOW + timedelta(days=1)}, "until <time"),
        ({"more": 1200, "left": 1000}, "until 1,200 more (1,000 left)"),
        ({"escalates": True}, "until it escalates"),
    ):
        text = page(ignored={"by": "ann <b>", "at": NOW, **how})
        assert '<span class="state ignored">ignored</span>' in text
        assert told in text
        assert "ann &lt;b&gt;" in text
        assert ">Reopen</button>" in text
        assert ">Resolve</button>" not in text


@pytest.mark.parametrize(("category", "coming"), [("unknown", True), ("client", False), ("validation", False)])
def test_a_stack_is_promised_only_where_one_is_kept(page: Callable[..., str], category: str, coming: bool) -> None:
    text = page(category=category)
    assert ("The next one will have its stack here." in text) is coming
    assert ("no stack of them is kept" in text) is not coming


def test_a_note_and_an_owner_are_shown_as_text(page: Callable[..., str]) -> None:
    text = page(note={"text": "<script>", "by": "ann", "at": NOW}, owner="team <till>")
    assert "<p>&lt;script&gt;</p>" in text
    assert "team &lt;till&gt;" in text


@pytest.fixture
def send(app: Flask, page: Callable[..., str]) -> Callable[..., Any]:
    """Sends one of the page's forms."""

    def post(change: str, **form: str) -> Any:
        client = app.test_client()
        token = re.search('name="csrf" value="([^"]*)"', client.get(PAGE).text)
        assert token is not None
        return client.post(f"{PAGE}/{change}", data={"csrf": token[1], **form})

    page()
    return post


@pytest.mark.parametrize(("days", "until"), [("", None), ("1", timedelta(days=1)), ("7", timedelta(days=7))])
def test_it_can_be_ignored_for_ever_or_for_some_days(
    app: Flask, send: Callable[..., Any], database: Any, days: str, until: timedelta | None
) -> None:
    answer = send("ignore", days=days)
    assert answer.status_code == 303
    assert "nobody hears of it" in app.test_client().get(answer.location).text
    ignored = database[ERROR_GROUPS].find_one({"_id": FINGERPRINT})["ignored"]
    if until is None:
        assert ignored["until"] is None
    else:
        assert abs(ignored["until"].replace(tzinfo=UTC) - datetime.now(UTC) - until) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("form", "kept", "told"),
    [
        ({"more": "250"}, {"more": 250}, "until 250 more (250 left)"),
        ({"escalates": "true"}, {"escalates": True}, "until it escalates"),
    ],
)
def test_it_can_be_ignored_until_something_happens(
    app: Flask, send: Callable[..., Any], database: Any, form: dict[str, str], kept: dict[str, Any], told: str
) -> None:
    answer = send("ignore", **form)
    assert answer.status_code == 303
    text = app.test_client().get(answer.location).text
    assert told in text
    assert re.search(rf'role="status"><strong>Ignored</strong> {re.escape(told)}', text)
    assert text.count("nobody hears of it") == 1
    assert '<span class="state ignored">ignored</span>' in text
    ignored = database[ERROR_GROUPS].find_one({"_id": FINGERPRINT})["ignored"]
    assert kept.items() <= ignored.items()


def test_one_stays_in_the_window_that_one_looks_at(app: Flask, send: Callable[..., Any]) -> None:
    for asked, kept in (("24h", "24h"), ("1h", "1h"), ("evil&x=<b>", "7d")):
        assert f"timeRange={kept}&" in send(f"resolve?{urlencode({'timeRange': asked})}").location


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("javascript:alert(1)", "must be an http or https URL"),
        ("https://ann:pw@issues.example/1", "must not hold credentials"),
        ("https://issues.example:65536/1", "must be an http or https URL"),
    ],
)
def test_a_note_with_a_wrong_address_comes_back_with_what_was_typed(
    send: Callable[..., Any], database: Any, link: str, reason: str
) -> None:
    answer = send("note?timeRange=24h", owner="ann", link=link, text="Supplier <17>")
    assert answer.status_code == 422
    assert f"<strong>Nothing was saved.</strong> Issue: {reason}." in answer.text
    for typed in ('name="owner" maxlength="100" value="ann"', f'value="{link}"', ">Supplier &lt;17&gt;</textarea>"):
        assert typed in answer.text
    assert '<details id="note-it" open>' in answer.text
    assert f'action="{PAGE}/note?timeRange=24h"' in answer.text
    assert not {"owner", "note", "link"} & set(database[ERROR_GROUPS].find_one({"_id": FINGERPRINT}))


@pytest.mark.parametrize("port", [1, 59999, 60000, 65535])
def test_an_issue_may_be_at_any_port(app: Flask, send: Callable[..., Any], database: Any, port: int) -> None:
    link = f"https://issues.example:{port}/17"
    assert send("note", link=link).status_code == 303
    assert database[ERROR_GROUPS].find_one({"_id": FINGERPRINT})["link"] == link
    api = f"/api/v1/diagnostics/errors/groups/{FINGERPRINT}/note"
    assert app.test_client().post(api, json={"link": link}).status_code == 200
    for wrong in (0, 65536, 70000):
        assert app.test_client().post(api, json={"link": f"https://issues.example:{wrong}/17"}).status_code == 422


def test_a_note_is_written_and_taken_away_again(send: Callable[..., Any], database: Any) -> None:
    def kept() -> Any:
        return database[ERROR_GROUPS].find_one({"_id": FINGERPRINT})

    assert send("note", text="the till", owner="ben").status_code == 303
    assert (kept()["note"]["text"], kept()["owner"]) == ("the till", "ben")
    assert send("note", text="", owner="").status_code == 303
    assert not {"note", "owner"} & set(kept())


def test_what_no_form_sends_is_refused(send: Callable[..., Any], database: Any) -> None:
    assert send("ignore", days="2").status_code == 422
    for form in ({"more": "0"}, {"more": "1.5"}, {"escalates": "yes"}, {"days": "1", "more": "5"}, {"more": "1000001"}):
        assert send("ignore", **form).status_code == 422
    assert send("note", text="x" * 1001).status_code == 422
    assert send("note", link="javascript:alert(1)").status_code == 422
    assert send("delete").status_code == 404
    assert not {"note", "ignored"} & set(database[ERROR_GROUPS].find_one({"_id": FINGERPRINT}))


def test_a_list_of_its_errors_does_not_lead_to_itself() -> None:
    record = {"timestamp": NOW, "category": "unknown", "code": "X", "fingerprint": FINGERPRINT, "request_id": None}
    macros = _environment().get_template("diagnostics/_macros.html")
    with Flask("host").app_context():
        table = macros.make_module({"url_for": lambda endpoint, **given: f"/{endpoint}"}).table_of_errors
        assert ">kind</a>" not in table([record], of_one_kind=True)
        assert ">kind</a>" in table([record])  # the control


def test_the_first_page_says_how_many_kinds_are_ignored() -> None:
    def group(status: Any, category: str = "unknown") -> Group:
        return Group("", "", category, Seen(1002, 0, 0, frozenset()), decision=Decision(status))

    found = [group("ignored"), group("open"), group("ignored", "client"), group("ignored")]
    assert {name: _ignored(found, everything=False)[name] for name in ("kinds", "errors")} == {
        "kinds": 2,
        "errors": 2004,
    }
    assert _ignored(found, everything=True)["kinds"] == 3


def test_the_first_page_shows_what_is_ignored(app: Flask, page: Callable[..., str], database: Any) -> None:
    @app.get("/boom")
    def boom() -> str:
        raise KeyError("price")

    def first() -> str:
        return app.test_client().get("/api/v1/diagnostics", headers={"Accept": "text/html"}).text

    app.config["PROPAGATE_EXCEPTIONS"] = False
    for _ in range(2):
        assert app.test_client().get("/boom").status_code == 500
    services = app.extensions["prodfix"]
    (found,) = services.errors.groups.page(services.requests.statistics.read("1h").window)[0]
    assert "ignored kind" not in first()  # the control
    window = services.requests.statistics.read("7d").window
    assert services.errors.triage.ignore(found.fingerprint, window, by="ann")
    assert "1 ignored kind (2 errors)</summary>" in first()
    assert f"/page/groups/{found.fingerprint}?" in first().split('id="ignored-kinds"')[1].split("</details>")[0]


def test_the_first_page_leaves_out_what_is_ignored() -> None:
    def group(status: Any) -> Group:
        return Group("", "", "unknown", Seen(1, 0, 0, frozenset()), decision=Decision(status))

    found = _groups([group("open"), group("ignored"), group("regressed")], everything=True)
    assert [one.status for one in found] == ["regressed", "open"]


def test_an_escalation_says_how_it_was_decided(page: Callable[..., str]) -> None:
    figures = {"since": NOW, "seen": 1042, "expected": 1.25, "bound": 12, "minutes": 60, "days": 6.5}
    text = page(escalation={**figures, "lookedAt": NOW})
    assert '<span class="badge escalating">escalating</span>' in text
    assert "1,042 in 60 min, where the last 6.5 days predict 1.2. More than 12 would be no coincidence." in text
    assert "escalating" not in page(), "the control"


def test_an_issue_is_a_link_only_if_a_browser_may_follow_it(page: Callable[..., str]) -> None:
    assert 'href="https://tracker.test/7" rel="noopener noreferrer"' in page(link="https://tracker.test/7")
    assert 'href="javascript:' not in page(link="javascript:alert(1)")


def test_what_waits_for_mongodb_is_said() -> None:
    module: Any = _environment().get_template("diagnostics/_kinds.html").module
    waiting = kind_summary(pending=True, status="ignored", badges=["new"])
    text = str(module.badges(waiting))
    assert "pending" in text
    assert ">ignored</span>" in text
    assert "pending" not in str(module.badges(kind_summary()))
    unknown = kind_summary(status="unknown")
    assert "status not known" in str(module.badges(unknown))
    assert "status not known" not in str(module.badges(unknown, in_list=True))
