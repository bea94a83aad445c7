"""The page as an admin uses it: signed in by a pasted token, refreshed, searched, followed from a plot to a request."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from prodfix.journal import tables
from tests.browser.conftest import PAGE, sign_in
from tests.support.receivers import WebHook
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = pytest.mark.served

Open = Callable[..., Page]
PAGES = ("", "/page/groups", "/page/errors", "/page/deferred", "/page/database")
PHONE = {"viewport": {"width": 360, "height": 740}}


def said(page: Page) -> list[str]:
    errors: list[str] = page.said.errors  # type: ignore[attr-defined]
    return errors


# -- the way in -------------------------------------------------------------------------------------------------------------


def test_without_a_token_one_ends_at_the_sign_in_and_with_it_on_the_page(open_page: Open, served: Served) -> None:
    page = open_page()
    wanted = f"{PAGE}/page/errors?category=unknown"
    page.goto(wanted)
    page.wait_for_url("**/diagnostics/sign-in?**")
    page.get_by_label("Token of an admin or a viewer").fill("canary")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("Token of an admin or a viewer").fill(served.token("user"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("has not the role")
    page.get_by_label("Token of an admin or a viewer").fill(f"  {served.token()}\n")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{served.url}{wanted}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Errors")


def test_the_token_is_where_no_script_and_no_other_page_has_it(signed_in: Open) -> None:
    page = signed_in()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", PAGE)
    assert cookie["expires"] > 0
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("JSON.stringify([localStorage, sessionStorage])") == "[{},{}]"
    assert cookie["value"] not in page.content()
    assert page.request.get(f"{PAGE}/errors").status == 401, "the API takes no cookie"


def test_after_signing_out_nothing_is_shown(signed_in: Open) -> None:
    page = signed_in()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/diagnostics/sign-in")
    assert page.context.cookies() == []
    page.goto(PAGE)
    page.wait_for_url("**/diagnostics/sign-in?**")


def test_a_link_in_a_mail_leads_to_the_page_for_who_is_signed_in(signed_in: Open, served: Served) -> None:
    page = signed_in()
    # Another site to a browser: the same server under another name.
    page.goto(served.url.replace("127.0.0.1", "localhost") + "/health/live")
    page.evaluate("url => { location.href = url }", f"{served.url}{PAGE}/page/database")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Database")


def test_no_other_site_can_change_anything(signed_in: Open, served: Served, failed: str) -> None:
    page = signed_in()
    page.goto(served.url.replace("127.0.0.1", "localhost") + "/health/live")
    address = f"{served.url}{PAGE}/page/database"
    send = """([address, csrf]) => { const form = document.createElement('form'); form.method = 'post'; form.action = address;
        for (const [name, value] of [['operation', 'read'], ['csrf', csrf]]) {
            const input = document.createElement('input'); input.name = name; input.value = value; form.append(input) }
        document.body.append(form); form.submit() }"""
    with page.expect_response(address) as answer:
        page.evaluate(send, [address, "guessed"])
    assert answer.value.status == 401, "the cookie did not come along"
    page.wait_for_url("**/diagnostics/sign-in")
    page.goto(f"{PAGE}/page/database")
    for token in ("guessed", ""):
        answered = page.request.post(f"{PAGE}/page/database", form={"operation": "read", "csrf": token})
        assert answered.status == 403, "with the cookie, without the form's token"
    # The control: with the token of the form it works.
    token = page.locator("main input[name=csrf]").first.input_value()
    assert page.request.post(f"{PAGE}/page/database", form={"operation": "read", "csrf": token}).status == 200


# -- what it is for ---------------------------------------------------------------------------------------------------------


def test_it_refreshes_by_itself(signed_in: Open, served: Served) -> None:
    page = signed_in()
    page.clock.install()
    page.reload()
    figure = page.locator(".figures dd").first
    before = int(figure.inner_text())
    for _ in range(3):
        served.get("/broken/view")

    def refreshed() -> bool:
        with page.expect_response("**/page/overview?**") as answered:  # whose own limit is by the same clock
            page.clock.run_for(11_000)
        answered.value.finished()
        return int(figure.inner_text()) >= before + 3

    until(refreshed, what="all three")  # the first refresh may come before another worker knows them
    expect(page.locator("#refreshed")).to_have_text(re.compile(r"As of \d\d:\d\d:\d\d$"))
    assert said(page) == []


def test_a_refresh_keeps_what_is_open_and_where_one_is(signed_in: Open, failed: str) -> None:
    page = signed_in()
    page.get_by_text("View as table").click()
    link = page.locator("#table-of-plot a").first
    link.focus()
    with page.expect_response("**/page/overview?**"):
        page.get_by_role("button", name="Refresh").dispatch_event("click")
    expect(page.locator("#table-of-plot")).to_have_attribute("open", "")
    expect(page.locator("#table-of-plot a").first).to_be_focused()


SHOWN = """() => { window.shown = []; const overview = document.getElementById("overview");
    new MutationObserver(() => window.shown.push(overview.innerText)).observe(overview, { childList: true }) }"""


@pytest.mark.parametrize("asked_again", [True, False])
def test_an_answer_that_another_one_has_overtaken_is_not_shown(signed_in: Open, asked_again: bool) -> None:
    """The control: without a second refresh the answer to the first one is shown, however late it is."""
    page = signed_in()
    page.evaluate(SHOWN)
    asked: list[Route] = []
    page.route("**/page/overview?**", lambda route: asked.append(route))  # noqa: PLW0108 - a built-in one is refused

    def refresh() -> None:
        before = len(asked)
        page.get_by_role("button", name="Refresh").dispatch_event("click")
        until(lambda: page.wait_for_timeout(20) or len(asked) > before, what="a refresh")

    def answer(number: int, words: str) -> None:
        with page.expect_response("**/page/overview?**") as answered:
            asked[number].fulfill(body=f"<p>{words}</p>")
        answered.value.finished()

    refresh()
    if asked_again:
        refresh()
        answer(1, "second")
        expect(page.locator("#overview")).to_have_text("second")
    answer(0, "first")
    refresh()
    answer(-1, "last")
    expect(page.locator("#overview")).to_have_text("last")
    assert page.evaluate("window.shown") == ["second" if asked_again else "first", "last"]
    assert said(page) == []


def test_from_the_plot_to_the_errors_of_its_minute_to_a_request(signed_in: Open, failed: str) -> None:
    page = signed_in()
    page.locator(".category-unknown a").last.click()
    page.wait_for_url("**/page/errors?**")
    assert "category=unknown" in page.url
    assert "from=" in page.url
    assert "to=" in page.url
    expect(page.locator("tbody tr").first).to_contain_text("INTERNAL_ERROR")
    page.locator("tbody tr a.mono").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Request")
    expect(page.locator("article.error").first).to_contain_text("Failure")
    expect(page.locator("article.error .frame.own").last).to_contain_text("tests/hosts/broken.py")
    expect(page.locator("article.error .frame.own .here").last).to_contain_text('raise Failure("in the view")')


def test_a_request_is_found_by_its_id(signed_in: Open, failed: str) -> None:
    page = signed_in()
    page.get_by_role("searchbox", name="Request ID").fill(f" {failed} ")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(failed)
    expect(page.locator("article.error")).to_contain_text("INTERNAL_ERROR")
    page.get_by_role("searchbox", name="Request ID").fill("../nobody's/<b>one</b>?")
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_contain_text("Nothing is known of it")
    assert page.locator("h1 b").count() == 0
    assert said(page) == []


@pytest.mark.parametrize("operation", ["read", "write", "transaction"])
def test_the_database_can_be_tried(signed_in: Open, operation: str) -> None:
    page = signed_in()
    page.get_by_role("link", name="Database").click()
    page.get_by_role("button", name=operation, exact=True).click()
    expect(page.get_by_role("status")).to_contain_text(f"{operation}: works")
    expect(page.locator(".steps li").first).to_be_visible()


def test_what_is_wrong_is_shown_with_who_was_told(signed_in: Open, served: Served, hook: WebHook) -> None:
    page = signed_in()
    assert page.locator(".banner.warn").count() == 0
    alerts = page.locator("section", has=page.get_by_role("heading", name="Alerts"))
    expect(alerts).to_contain_text("No alerts yet. They go to json #1.")
    journal = next((served.folder / "state" / "journal").glob("*.db"))
    with contextlib.closing(sqlite3.connect(journal, timeout=5, isolation_level=None)) as file:
        tables.prepare(file)
        columns = "id, operation, key, entry, attempts, created, reason, facts, at"
        file.execute(f"INSERT INTO dead ({columns}) VALUES ('d', 'gone', '', x'00', 1, 0, '', '', 0)")
        try:
            until(lambda: hook.told, limit=30, what="the alert")
            told = f"{PAGE}/alerts"
            until(lambda: served.get(told, served.bearer()).body["sent"] == 1, what="its delivery in the journal")
            page.get_by_role("button", name="Refresh").click()
            expect(page.locator(".banner.warn")).to_contain_text("Deferred writes became dead letters since")
            expect(alerts.get_by_role("listitem")).to_contain_text("[error] Deferred writes became dead letters")
            expect(alerts.get_by_role("listitem")).to_contain_text("json #1 delivered")
        finally:
            file.execute("DELETE FROM dead")
    until(lambda: served.get(told, served.bearer()).body["alarms"] == [], limit=30, what="the end of it")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator(".banner.warn")).to_have_count(0)
    assert said(page) == []


def test_it_works_without_javascript(open_page: Open, served: Served, failed: str) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, served)
    expect(page.locator(".plot rect.bar").first).to_be_attached()
    page.get_by_role("link", name="7 days").click()
    page.get_by_role("searchbox", name="Request ID").fill(failed)
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(failed)


# -- how it looks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_is_found_by_axe(signed_in: Open, failed: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = signed_in(color_scheme=scheme)
    for address in (*(f"{PAGE}{path}" for path in PAGES), f"{PAGE}/page/requests/{failed}", "/diagnostics/sign-in"):
        page.goto(address)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        found = Axe().run(page).response["violations"]
        told = [(one["id"], one["impact"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]
        assert [one for one in told if one[1] in ("serious", "critical")] == [], address
    assert said(page) == []


def test_axe_finds_what_is_wrong(signed_in: Open) -> None:
    """The control of the test before."""
    from axe_playwright_python.sync_playwright import Axe

    page = signed_in()
    page.evaluate("document.body.append(Object.assign(document.createElement('input'), {id: 'nameless'}))")
    assert any(one["impact"] in ("serious", "critical") for one in Axe().run(page).response["violations"])


def test_it_is_dark_at_night(signed_in: Open) -> None:
    def brightness(scheme: str) -> float:
        page = signed_in(color_scheme=scheme)
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3

    assert brightness("dark") < 60
    assert brightness("light") > 200


def test_on_a_phone_nothing_is_wider_than_it(signed_in: Open, failed: str) -> None:
    page = signed_in(**PHONE, is_mobile=True, has_touch=True)
    for address in (*(f"{PAGE}{path}" for path in PAGES), f"{PAGE}/page/requests/{failed}", "/diagnostics/sign-in"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address


def test_everything_can_be_reached_by_keyboard(signed_in: Open, failed: str) -> None:
    page = signed_in()
    page.goto(PAGE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('.plot a') ? 'bar' : document.activeElement.tagName"))
        if "bar" in reached:
            break
    assert "bar" in reached
    assert page.evaluate("document.activeElement.ariaLabel")
    page.keyboard.press("Enter")
    page.wait_for_url("**/page/errors?**")


def test_nothing_comes_from_elsewhere_and_no_script_stands_in_the_page(
    signed_in: Open, served: Served, failed: str
) -> None:
    page = signed_in()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in PAGES:
        answer = page.goto(f"{PAGE}{path}")
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert page.locator("script:not([src]), [style], style").count() == 0
    assert {url for url in asked if not url.startswith((served.url, "data:"))} == set()
    # The control: the policy stops what would be put in.
    assert page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.bad=1\">') || 1")
    until(lambda: any("Content Security Policy" in one for one in said(page)), what="the policy's word")
    assert page.evaluate("window.bad") is None


# -- while the database is down: the last, as it kills the server of this file ------------------------------------------------


def connection_of(served: Served) -> Any:
    return served.get(f"{PAGE}/database", served.bearer()).body["connection"]


def test_an_outage_is_told_and_the_page_goes_on(
    signed_in: Open, served: Served, database: DatabaseServer, failed: str
) -> None:
    page = signed_in()
    expect(page.locator(".banner.good")).to_contain_text("MongoDB answers")
    database.kill()
    until(lambda: served.all_say(503), what="/health/db -> 503 from both")
    note = {"slug": "later", "title": "A", "body": "", "notebook": "n"}
    kept = served.post("/api/v1/notes", note)
    lost = str(served.get("/api/v1/notes").headers["X-Request-ID"])
    served.looked_up(lost)
    incident = f"{PAGE}/incidents?cause=database_lost&status=open"
    until(lambda: all(served.get(incident, served.bearer()).body["incidents"] for _ in range(6)), what="the incident")
    # Told by all workers within a second of the loss; a second try finds the incident of its first one still open.
    until(lambda: connection_of(served)["state"] != "connected", what="the loss in the diagnostics")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator(".banner.bad", has_text="MongoDB does not answer")).to_contain_text("1 write waits on disk")
    page.get_by_role("searchbox", name="Request ID").fill(lost)
    page.keyboard.press("Enter")
    expect(page.locator("article.error")).to_contain_text("DATABASE_UNAVAILABLE")
    expect(page.locator(".note", has_text="database lost")).to_be_visible()
    page.get_by_role("link", name="Deferred").click()
    expect(page.locator("main")).to_contain_text(kept.body["operationId"])
    page.get_by_text("Discard …").click()
    page.get_by_role("button", name="Discard for good").click()
    expect(page.get_by_role("status")).to_contain_text("given up")
    page.reload()
    page.get_by_role("link", name="Database").click()
    page.get_by_role("button", name="write", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("write: fails")
    expect(page.get_by_role("status")).to_contain_text("DATABASE_UNAVAILABLE")
    database.start()
    until(lambda: served.all_say(200), what="/health/db -> 200 from both")
    page.get_by_role("link", name="Overview").click()
    expect(page.locator(".banner.good")).to_contain_text(re.compile("of the last hour, lost (once|twice) for"))
    expect(page.locator("#incidents ~ ol")).to_contain_text("database lost")
    assert said(page) == []
