"""The list of kinds of errors: what is asked is all in its address, empty fields are none, and nothing of it is markup."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.html import HEADLINE, _environment
from prodfix.checked_record import SecretStr
from tests.support.kind_summaries import kind_summary

LIST = "/api/v1/diagnostics/page/groups"


@pytest.fixture
def app(adopt: Callable[..., Flask], database_uri: str) -> Flask:
    made = adopt(mongodb_uri=SecretStr(database_uri), diagnostics_auth_required=False)
    made.register_blueprint(diagnostics.blueprint)
    made.config["PROPAGATE_EXCEPTIONS"] = False

    @made.get("/boom/<name>")
    def boom(name: str) -> str:
        raise {"key": KeyError, "type": TypeError}[name](name)

    return made


@pytest.fixture
def ask(app: Flask, database: Any) -> Iterator[Callable[..., str]]:
    for name in ("key", "key", "type"):
        assert app.test_client().get(f"/boom/{name}").status_code == 500

    def get(address: str = LIST, expected: int = 200, **query: str) -> str:
        answer = app.test_client().get(address, query_string=query or None)
        assert answer.status_code == expected, answer.text
        return answer.text

    return get


def kinds(text: str) -> list[str]:
    return [html.unescape(one) for one in re.findall('<a class="headline"[^>]*>([^<]*)</a>', text)]


def test_each_kind_is_a_row_that_leads_to_it(ask: Callable[..., str]) -> None:
    text = ask()
    found = kinds(text)
    assert len(found) == 2
    assert any(one.startswith("KeyError") for one in found)
    assert text.count('<svg class="spark"') == 2
    for address in re.findall('<a class="headline" href="([^"]*)"', text):
        assert "Newest stack" in ask(html.unescape(address))


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ({"q": "keyerror"}, 1),
        ({"q": "Error test_kinds_list"}, 2),
        ({"q": "nothing of that"}, 0),
        ({"category": "unknown"}, 2),
        ({"category": "timeout"}, 0),
        ({"endpoint": "/boom/<name>"}, 2),
        ({"device": "mobile"}, 0),
        ({"release": "none"}, 0),
        ({"status": "ignored"}, 0),
        ({"sort": "most", "timeRange": "7d", "limit": "1"}, 1),
    ],
)
def test_what_is_asked_for_is_found(ask: Callable[..., str], query: dict[str, str], number: int) -> None:
    assert len(kinds(ask(**query))) == number
    # A browser sends the empty fields of a form too.
    empty = dict.fromkeys(("q", "category", "endpoint", "device", "release", "user"), "")
    assert len(kinds(ask(**{**empty, **query}))) == number


@pytest.mark.parametrize("query", [{"sort": "best"}, {"status": "new"}, {"timeRange": "1y"}, {"unheard": "of"}])
def test_what_no_form_sends_is_refused(ask: Callable[..., str], query: dict[str, str]) -> None:
    ask(expected=422, **query)


def test_pages_follow_each_other(ask: Callable[..., str]) -> None:
    first = ask(limit="1", sort="most", q="error")
    following = re.search('rel="next" href="([^"]*)"', first)
    assert following is not None
    address = html.unescape(following[1])
    assert "q=error" in address
    assert "sort=most" in address
    second = ask(address)
    assert kinds(first) + kinds(second) == kinds(ask(sort="most"))
    assert 'rel="prev"' in second
    assert 'rel="next"' not in second


def test_each_filter_can_be_taken_away_again(ask: Callable[..., str]) -> None:
    text = ask(q="key <b>", category="timeout", user="u-1")
    assert "key &lt;b&gt;" in text
    assert "<b>" not in re.sub("<b>[0-9,]+</b>", "", text)
    links = re.findall('<a href="([^"]*)" aria-label="Without the filter [^"]*">', text)
    assert len(links) == 3
    for link in links:
        assert sum(name in link for name in ("q=", "category=", "user=")) == 2


def test_an_empty_list_says_what_to_do(ask: Callable[..., str]) -> None:
    assert "Take a filter away" in ask(q="nothing of that")
    assert "can be ignored on its page" in ask(status="ignored")
    assert "it is a regression" in ask(status="resolved")


@pytest.fixture
def ask_clients_too(ask: Callable[..., str], app: Flask) -> Callable[..., str]:
    assert app.test_client().get("/not/there").status_code == 404
    return ask


def tallies(text: str) -> list[tuple[str, int]]:
    return [
        (name, int(count)) for name, count in re.findall('>(Open|Ignored|Resolved) <span class="tally">([0-9]+)<', text)
    ]


def test_what_clients_are_to_blame_for_is_shown_when_it_is_asked_for(ask_clients_too: Callable[..., str]) -> None:
    text = ask_clients_too()
    assert len(kinds(text)) == 2
    assert tallies(text)[0] == ("Open", 2)
    (address,) = re.findall('<a href="([^"]*)" title="Clients’ errors', text)
    everything = ask_clients_too(html.unescape(address))
    assert len(kinds(everything)) == 3
    assert tallies(everything)[0] == ("Open", 3)
    # The switch stays as it is: in each address of the page, in its form and in its files.
    switched = everything.partition('aria-label="Window"')[2]
    assert '<input type="hidden" name="errors" value="all">' in switched
    for link in re.findall('<a href="([^"]*(?:status|export)[^"]*)"', switched):
        assert "errors=all" in link or 'title="What the service' in switched.partition(f'"{link}"')[2][:60]
    assert len(kinds(ask_clients_too(category="client"))) == 1, "who names a category means it"
    ask_clients_too(errors="none", expected=422)
    for query, switched_on in (({}, False), ({"errors": "all"}, True)):
        overview = ask_clients_too("/api/v1/diagnostics", **query)
        assert ("/page/groups?timeRange=1h&amp;errors=all" in overview) is switched_on, (
            "it goes along from the overview"
        )


def test_the_file_has_what_the_switch_says(ask_clients_too: Callable[..., str], app: Flask) -> None:
    for query, number in (({}, 2), ({"errors": "all"}, 3)):
        (address,) = re.findall('<a href="([^"]*)" download>JSON', ask_clients_too(**query))
        assert len(app.test_client().get(html.unescape(address)).json["kinds"]) == number


def test_each_tab_says_how_many_it_has_and_how_many_fit(ask: Callable[..., str], app: Flask) -> None:
    services = app.extensions["prodfix"]
    window = services.requests.statistics.read("7d").window
    found = {one.headline.partition(":")[0]: one.fingerprint for one in services.errors.groups.page(window)[0]}
    services.errors.triage.ignore(found["KeyError"], window, by="ann")
    assert tallies(ask()) == [("Open", 1), ("Ignored", 1), ("Resolved", 0)]
    text = ask(q="keyerror")
    assert tallies(text) == [("Open", 0), ("Ignored", 1), ("Resolved", 0)]
    (address,) = re.findall('<a href="([^"]*)">1 ignored kind fits</a>', text)
    assert len(kinds(ask(html.unescape(address)))) == 1


def test_in_an_outage_the_list_says_first_what_is_not_known(
    ask: Callable[..., str], app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "<strong>MongoDB cannot be asked.</strong>"
    assert told not in ask()
    monkeypatch.setattr(app.extensions["prodfix"].errors.groups, "_answering", lambda: None)
    text = ask()
    assert text.index(told) < text.index('aria-label="Status"')
    assert len(kinds(text)) == 2
    overview = ask("/api/v1/diagnostics")
    assert overview.count("is not known.") == 1
    assert "status not known" not in overview


def test_an_own_frame_has_its_source_unless_that_is_off(ask: Callable[..., str], app: Flask) -> None:
    link = re.search('<a class="headline" href="([^"]*)"[^>]*>KeyError', ask())
    assert link is not None
    text = ask(html.unescape(link[1]))
    assert "raise {&#34;key&#34;: KeyError" in text
    settings = app.extensions["prodfix"].settings
    assert settings.diagnostics_source_lines
    object.__setattr__(settings, "diagnostics_source_lines", False)
    assert "raise {&#34;key&#34;" not in ask(html.unescape(link[1]))


def test_fifty_rows_cost_little() -> None:
    # What is asserted is a limit and no figure.
    spark: Any = _environment().get_template("diagnostics/_plot.html").module
    group = kind_summary(trend=list(range(24)))
    begun = time.process_time()
    for _ in range(200):
        spark.spark(group.trend, "words")
    assert (time.process_time() - begun) / 4 < 0.02


def test_what_is_back_after_it_was_resolved_is_open(ask: Callable[..., str], app: Flask, database: Any) -> None:
    services = app.extensions["prodfix"]
    window = services.requests.statistics.read("7d").window
    first, second = services.errors.groups.page(window)[0]
    for one in (first, second):
        assert services.errors.triage.resolve(one.fingerprint, window, by="ann")
    assert kinds(ask()) == []
    assert len(kinds(ask(status="resolved"))) == 2
    database["error_groups"].update_one({"_id": first.fingerprint}, {"$set": {"regressedAt": first.last_seen}})
    text = ask()
    assert kinds(text) == [first.headline]
    assert '<span class="badge regression">regression</span>' in text


def test_the_list_as_a_file_has_what_the_page_has(ask: Callable[..., str], app: Flask) -> None:
    text = ask(q="keyerror", timeRange="7d")
    (address,) = re.findall('<a href="([^"]*)" download>JSON', text)
    rows = app.test_client().get(html.unescape(address)).json["kinds"]
    assert [one["headline"] for one in rows] == kinds(text)
    (address,) = re.findall('<a href="([^"]*)" download>JSON', ask())
    assert len(app.test_client().get(html.unescape(address)).json["kinds"]) == 2
    services = app.extensions["prodfix"]
    window = services.requests.statistics.read("7d").window
    services.errors.triage.ignore(rows[0]["fingerprint"], window, by="ann")
    assert len(app.test_client().get(html.unescape(address)).json["kinds"]) == 1, "what is open, as on the page"


# -- what is long ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def long(app: Flask, database: Any) -> tuple[Callable[[str], str], str, list[str]]:
    """Pages after three errors of one kind, with 300 letters; those, and the IDs of their requests."""
    word = "nothing of all this fits " * 12

    @app.get("/long")
    def long_one() -> str:
        raise LookupError(word)

    requests = [app.test_client().get("/long").headers["X-Request-ID"] for _ in range(3)]

    def get(address: str) -> str:
        answer = app.test_client().get(address)
        assert answer.status_code == 200
        return html.unescape(answer.text)

    return get, word, requests


def test_a_long_headline_is_cut_with_the_whole_in_its_title(long: tuple[Callable[[str], str], str, list[str]]) -> None:
    get, word, _ = long
    whole = f"LookupError: {word}".strip()[:HEADLINE]
    pattern = """<(?:a class="headline"[^>]*|h1) title="([^"]*)">(?:.*?<span class="whole">)?([^<]*)<"""
    for address in (LIST, "/api/v1/diagnostics?timeRange=1h", _page_of_kind(get)):
        ((title, shown),) = re.findall(pattern, get(address))
        assert title.startswith(whole)
        assert shown.endswith("…")
        assert whole.startswith(shown[:-1])
        assert 100 < len(shown) <= HEADLINE < len(title)


def test_newest_errors_that_say_the_same_show_what_differs(long: tuple[Callable[[str], str], str, list[str]]) -> None:
    get, _, requests = long
    newest = get(_page_of_kind(get)).partition('<ol class="rows newest">')[2].partition("</ol>")[0]
    said = re.findall('<a href="[^"]*">([^<]*)</a>', newest)
    assert sorted(said) == sorted(f"request {one[:12]}…" for one in requests)


def _page_of_kind(get: Callable[[str], str]) -> str:
    return html.unescape(next(iter(re.findall('<a class="headline" href="([^"]*)"', get(LIST)))))
