"""How the pages feel: keys, a phone of 360 px, the browser's own time, errors one comes back from, and lists as files."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from prodfix.journal import tables
from tests.browser.conftest import PAGE, sign_in
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

Open = Callable[..., Page]
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
WRONG = ("/page/errors?from=yesterday", "/page/groups/0123456789abcdef", "/page/nothing")
PAGES = (
    "",
    "/page/groups",
    "/page/endpoints",
    "/page/errors",
    "/page/deferred",
    "/page/database",
    "/page/workers",
    "/page/alerts",
)
# What is wider than the screen although nothing around it scrolls, and what a finger does not hit (WCAG 2.2, 2.5.8; links within
# a sentence are left out there too).
WIDER = """() => [...document.querySelectorAll('body *')].filter((one) => {
    const box = one.getBoundingClientRect();
    if (!box.width || box.right <= 361 || one.closest('.hidden, .skip, dialog')) return false;
    for (let up = one.parentElement; up; up = up.parentElement)
        if (/auto|scroll|hidden/.test(getComputedStyle(up).overflowX)) return false;
    return true;
}).map((one) => one.outerHTML.slice(0, 120))"""
SMALL = """() => [...document.querySelectorAll('button, summary, select, input:not([type=hidden]), nav a, a.button')]
    .filter((one) => one.checkVisibility() && !one.closest('.skip'))
    .map((one) => [one, (one.closest('label') ?? one).getBoundingClientRect()])
    .filter(([, box]) => box.height < 24 || box.width < 24)
    .map(([one]) => one.outerHTML.slice(0, 120))"""
NAMES = """(all) => all.map((one) => one.getAttribute('aria-label')
    ?? document.getElementById(one.getAttribute('aria-labelledby'))?.textContent)"""

LOCAL = (
    "text => new Date(text).toLocaleTimeString('en-GB', {timeZone: 'Asia/Kolkata', hour: '2-digit', minute: '2-digit'})"
)


@pytest.fixture
def there(served: Served, failed: str) -> list[str]:
    """All pages that this version has, with one of a request, and those of errors."""
    token = served.bearer()
    html = {**token, "Accept": "text/html"}
    fingerprint = served.get(f"{PAGE}/errors/groups", token).body["groups"][0]["fingerprint"]
    own = [f"{PAGE}/page/requests/{failed}", f"{PAGE}/page/groups/{fingerprint}?timeRange=7d"]
    found = [f"{PAGE}{path}" for path in PAGES if served.get(f"{PAGE}{path}", html).status == 200]
    return [*found, *own, *(f"{PAGE}{path}" for path in WRONG), "/diagnostics/sign-in"]


@pytest.fixture(scope="module")
def letters(served: Served) -> int:
    """Writes that were put aside for one reason, and one for another."""
    served.get("/broken/view")
    folder = served.folder / "state" / "journal"
    until(lambda: list(folder.glob("*.db")), what="a journal")
    with contextlib.closing(sqlite3.connect(next(folder.glob("*.db")), timeout=5, isolation_level=None)) as file:
        tables.prepare(file)
        columns = "id, operation, key, entry, attempts, created, reason, facts, at"
        for number in range(4):
            reason = "EXPIRED" if number else "REJECTED"
            values = (f"{number:024x}", time.time() - 60, reason)
            sql = f"INSERT INTO dead ({columns}) VALUES (?, 'note', '', x'0500000000', 1, ?, ?, '{{}}', 0)"
            file.execute(sql, values)
    return 3


# -- a phone ----------------------------------------------------------------------------------------------------------------


def test_on_a_phone_nothing_is_wider_than_it_unless_it_scrolls(signed_in: Open, there: list[str], letters: int) -> None:
    page = signed_in(**PHONE)
    for address in there:
        page.goto(address)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address
        assert page.evaluate(WIDER) == [], address
    page.evaluate("document.body.append(Object.assign(document.createElement('div'), {id: 'wider', textContent: 'x'}))")
    page.evaluate("document.getElementById('wider').style.width = '999px'")
    assert page.evaluate(WIDER) != [], "the control"


def test_what_a_finger_is_to_hit_is_large_enough(signed_in: Open, there: list[str], letters: int) -> None:
    page = signed_in(**PHONE)
    for address in there:
        page.goto(address)
        assert page.evaluate(SMALL) == [], address


def test_each_page_has_one_heading_and_named_landmarks(signed_in: Open, there: list[str]) -> None:
    page = signed_in()
    for address in there:
        page.goto(address)
        assert page.locator("h1").count() == 1, address
        assert page.locator("main").count() == 1
        names = page.locator("nav, section").evaluate_all(NAMES)
        assert all(names), (address, names)


def test_the_navigation_is_one_row(signed_in: Open) -> None:
    page = signed_in(**PHONE)
    tops = page.locator("nav.pages a").evaluate_all(
        "all => all.map(one => Math.round(one.getBoundingClientRect().top))"
    )
    assert len(tops) >= 3
    assert len(set(tops)) == 1


def test_the_header_leaves_the_room_to_the_page(signed_in: Open) -> None:
    height = "document.querySelector('.top').getBoundingClientRect().height"
    phone = signed_in(**PHONE)
    assert phone.evaluate(height) < 125, "of 740"
    desk = signed_in(viewport={"width": 1280, "height": 800})
    assert desk.evaluate(height) < 70, "one row"


def test_the_words_of_buttons_beside_each_other_stand_on_one_line(signed_in: Open, served: Served, failed: str) -> None:
    fingerprint = served.get(f"{PAGE}/errors/groups", served.bearer()).body["groups"][0]["fingerprint"]
    page = signed_in(viewport={"width": 1280, "height": 800})
    page.goto(f"{PAGE}/page/groups/{fingerprint}?timeRange=7d")
    middles = page.locator(".decide :is(button, summary)").evaluate_all(
        """all => all.filter((one) => one.checkVisibility()).map((one) => {
            const words = document.createRange();
            words.selectNodeContents(one);
            const box = words.getBoundingClientRect();
            return (box.top + box.bottom) / 2;
        })"""
    )
    assert len(middles) >= 3
    assert max(middles) - min(middles) < 1.5


def test_the_link_beside_a_heading_is_hit_by_a_finger(signed_in: Open, failed: str) -> None:
    page = signed_in(**PHONE)
    heights = page.locator(".heading > a").evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert len(heights) >= 2
    assert min(heights) >= 24


def test_on_a_phone_an_error_is_two_taps_from_its_request(signed_in: Open, failed: str) -> None:
    page = signed_in(**PHONE)
    page.goto(f"{PAGE}/page/errors")
    first = page.locator("table.cards tbody tr").first
    assert first.evaluate("one => one.getBoundingClientRect().right") <= 360
    first.get_by_role("link", name="INTERNAL_ERROR").tap()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Request")


def test_on_a_phone_what_an_error_has_besides_is_one_line(signed_in: Open, failed: str) -> None:
    page = signed_in(**PHONE)
    page.goto(f"{PAGE}/page/errors")
    tops = "one => [...one.querySelectorAll('td:not(.first, .skip-on-phone)')].map((each) => each.offsetTop)"
    row = page.locator("table.cards tbody tr", has_text="/broken/view").first
    found = row.evaluate(tops)
    assert len(found) == 3
    assert max(found) - min(found) < 8, "time, endpoint and device stand beside each other"
    page.locator("table.cards td:first-child").evaluate_all(
        "all => all.forEach((one) => { one.style.flex = '1 0 100%' })"
    )
    later = row.evaluate(tops)
    assert max(later) - min(later) >= 8, "the control"


def test_what_a_request_did_stands_in_two_columns_on_a_phone(signed_in: Open, served: Served, failed: str) -> None:
    fingerprint = served.get(f"{PAGE}/errors/groups", served.bearer()).body["groups"][0]["fingerprint"]
    page = signed_in(**PHONE)
    page.goto(f"{PAGE}/page/groups/{fingerprint}?timeRange=7d")
    page.evaluate("document.querySelector('.breadcrumbs li').append(' ' + 'word '.repeat(40))")
    lefts = """one => {
        const words = document.createRange();
        words.selectNodeContents(one);
        const kind = one.querySelector('.what-kind').getBoundingClientRect();
        return [...words.getClientRects()].filter((box) => box.top > kind.bottom).map((box) => box.left - kind.right);
    }"""
    found = page.locator(".breadcrumbs li").first.evaluate(lefts)
    assert len(found) >= 2
    assert min(found) > 0


def test_the_whole_plot_is_in_sight_on_a_phone_and_its_words_can_be_read(signed_in: Open, failed: str) -> None:
    extent = """one => {
        const box = one.getBoundingClientRect();
        return {left: box.left, right: box.right, height: box.height};
    }"""
    found = {}
    for name, options in (("phone", PHONE), ("desk", {"viewport": {"width": 1280, "height": 800}})):
        page = signed_in(**options)
        bars = page.locator("#plot .bars path.lines").evaluate(extent)
        word = page.locator("#plot .x text").first.evaluate(extent)
        found[name] = bars["right"] - bars["left"]
        assert word["height"] >= 11, "a word is not drawn smaller with its plot"
        assert 0 <= bars["left"] < bars["right"] <= options["viewport"]["width"]
    assert found["phone"] > 240
    assert found["desk"] > 3 * found["phone"], "the control: it is as wide as its room"


def test_no_table_scrolls_on_a_phone_but_that_of_the_plot(signed_in: Open, there: list[str], letters: int) -> None:
    scrolling = """() => [...document.querySelectorAll('.wide')]
        .filter((one) => one.checkVisibility() && !one.closest('#table-of-plot') && one.scrollWidth > one.clientWidth + 1)
        .map((one) => one.ariaLabel)"""
    page = signed_in(**PHONE)
    for address in there:
        page.goto(address)
        assert page.evaluate(scrolling) == [], address
    page.goto(PAGE)
    page.evaluate("document.querySelectorAll('table.cards').forEach((one) => one.classList.remove('cards'))")
    assert "Workers" in page.evaluate(scrolling), "the control"


def test_the_page_of_workers_has_them(signed_in: Open) -> None:
    page = signed_in(**PHONE)
    page.goto(f"{PAGE}/page/workers")
    workers = page.get_by_role("group", name="Workers").locator("tbody tr")
    expect(workers).to_have_count(2)
    expect(workers.first).to_contain_text("connected")


# -- keys -------------------------------------------------------------------------------------------------------------------


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('href') ?? document.activeElement.id"))


def test_keys_search_go_through_a_list_and_open(signed_in: Open, served: Served, failed: str) -> None:
    served.get("/broken/view")
    page = signed_in()
    page.goto(f"{PAGE}/page/errors")
    links = page.locator("main tbody tr").evaluate_all(
        "all => all.map(one => one.querySelector('a').getAttribute('href'))"
    )
    page.keyboard.press("j")
    assert focused(page) == links[0]
    page.keyboard.press("j")
    assert focused(page) == links[1]
    page.keyboard.press("k")
    page.keyboard.press("k")
    assert focused(page) == links[0]
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/page/requests/**")


def test_no_key_is_taken_from_who_types(signed_in: Open, failed: str) -> None:
    page = signed_in()
    box = page.get_by_role("searchbox", name="Request ID")
    box.click()
    page.keyboard.type("j/k?x")
    expect(box).to_have_value("j/k?x")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "search"
    box.blur()
    page.keyboard.press("Control+j")
    assert focused(page) == "", "nor from the browser"


def test_the_keys_are_shown_and_can_be_switched_off(signed_in: Open, failed: str) -> None:
    page = signed_in()
    page.goto(f"{PAGE}/page/errors")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    page.keyboard.press("j")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Use them in this browser").uncheck()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    for _ in range(2):
        page.keyboard.press("?")
        expect(dialog).to_be_hidden()
        page.reload()
    page.get_by_role("button", name="Keys").click()
    dialog.get_by_label("Use them in this browser").check()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(dialog).to_be_visible()


# -- time -------------------------------------------------------------------------------------------------------------------


def test_times_are_the_browsers_own_with_utc_behind_them(signed_in: Open, failed: str) -> None:
    page = signed_in(timezone_id="Asia/Kolkata", locale="en-GB")
    page.goto(f"{PAGE}/page/errors")
    one = page.locator("main time").first
    title = str(one.get_attribute("title"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", title)
    here = page.evaluate(
        "text => new Date(text).toLocaleTimeString('en-GB', {timeZone: 'Asia/Kolkata'})", one.get_attribute("datetime")
    )
    assert here in one.inner_text()
    assert here[:5] != title[11:16], "the control: it is another time there"


def test_without_a_script_it_is_utc_and_says_so(open_page: Open, served: Served, failed: str) -> None:
    page = open_page(java_script_enabled=False, timezone_id="Asia/Kolkata")
    sign_in(page, served)
    page.goto(f"{PAGE}/page/errors")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page.locator("main time").first.inner_text())
    assert page.get_by_role("button", name="Keys").count() == 0


def test_plots_tell_the_browsers_own_time(signed_in: Open, served: Served, failed: str) -> None:
    page = signed_in(timezone_id="Asia/Kolkata", locale="en-GB")
    fingerprint = served.get(f"{PAGE}/errors/groups", served.bearer()).body["groups"][0]["fingerprint"]
    for address, title in (
        (PAGE, "#plot .x text"),
        (f"{PAGE}/page/groups/{fingerprint}?timeRange=24h", ".kind-plot .x text"),
    ):
        page.goto(address)
        one = page.locator(title).first
        here = page.evaluate(LOCAL, one.get_attribute("data-at"))
        expect(one).to_have_text(here)
        assert here != str(one.get_attribute("data-at"))[11:16], "the control: it is another time there"
        bar = page.locator(".plot a[aria-label]").first
        at = bar.locator("title").first.get_attribute("data-at")
        assert str(bar.get_attribute("aria-label")).startswith(f"{page.evaluate(LOCAL, at)}: ")
        assert page.locator(".zone").is_hidden()


def test_plots_without_a_script_say_that_they_are_utc(open_page: Open, served: Served, failed: str) -> None:
    page = open_page(java_script_enabled=False, timezone_id="Asia/Kolkata")
    sign_in(page, served)
    page.goto(PAGE)
    one = page.locator("#plot .x text").first
    assert one.text_content() == str(one.get_attribute("data-at"))[11:16]
    assert page.locator(".zone").inner_text() == "Times of the plot are UTC."


# -- what is long -----------------------------------------------------------------------------------------------------------


def test_a_long_word_makes_no_table_of_errors_scroll(signed_in: Open, failed: str) -> None:
    page = signed_in(viewport={"width": 1280, "height": 800})
    page.goto(f"{PAGE}/page/errors")
    page.evaluate("document.querySelector('td.first span[title]').textContent = 'x'.repeat(140)")
    wide = "one => one.scrollWidth - one.clientWidth"
    assert page.locator(".wide").first.evaluate(wide) <= 0
    page.evaluate("document.querySelector('td.first').classList.remove('break')")
    assert page.locator(".wide").first.evaluate(wide) > 0, "the control"


def test_a_long_headline_has_three_lines_on_a_phone(signed_in: Open, served: Served, failed: str) -> None:
    page = signed_in(**PHONE)
    fingerprint = served.get(f"{PAGE}/errors/groups", served.bearer()).body["groups"][0]["fingerprint"]
    for address, headline in (
        (f"{PAGE}/page/groups/{fingerprint}", "h1 .whole"),
        (f"{PAGE}/page/groups", "a.headline"),
    ):
        page.goto(address)
        one = page.locator(headline).first
        one.evaluate("one => { one.textContent = 'x'.repeat(140) }")
        lines = "one => one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).lineHeight)"
        assert 2.5 < one.evaluate(lines) < 3.3


def test_how_long_ago_it_was_is_kept_fresh(signed_in: Open, letters: int) -> None:
    page = signed_in()
    page.clock.install()
    page.goto(f"{PAGE}/page/deferred")
    ago = page.locator("time.ago").first
    before = int(re.sub(r"\D", "", ago.inner_text()) or 0)
    page.clock.run_for(10 * 60_000)
    expect(ago).to_have_text(re.compile(rf"^{before + 10}|{before + 11} min ago$"))


# -- errors, files, deferred writes -------------------------------------------------------------------------------------------


def test_from_an_error_of_the_page_one_comes_back(signed_in: Open, failed: str) -> None:
    page = signed_in()
    page.goto(f"{PAGE}/page/errors?from=yesterday")
    expect(page.get_by_role("heading", level=1)).to_contain_text("422")
    page.get_by_role("link", name="The same page without a filter").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Errors")
    page.goto(f"{PAGE}/page/nothing")
    page.get_by_role("main").get_by_role("link", name="Overview").click()
    page.wait_for_url(f"**{PAGE}")


def test_a_list_is_had_as_a_file(signed_in: Open, failed: str) -> None:
    page = signed_in()
    page.goto(f"{PAGE}/page/errors")
    for words in ("CSV", "JSON"):
        with page.expect_download() as begun:
            page.get_by_role("link", name=words, exact=True).click()
        assert re.fullmatch(r"prodfix-errors-\d{8}T\d{4}Z\.(csv|json)", begun.value.suggested_filename)
        content = begun.value.path().read_text("utf-8")
        assert failed in content
        if words == "JSON":
            assert failed in [one["requestId"] for one in json.loads(content)["errors"]]


def test_all_that_are_alike_are_given_up_with_one_order(signed_in: Open, served: Served, letters: int) -> None:
    page = signed_in(**PHONE)
    page.goto(f"{PAGE}/page/deferred?state=failed")
    group = page.locator("#groups > li", has_text="EXPIRED")
    expect(group).to_contain_text(f"{letters} writes")
    group.get_by_text("Discard all …").tap()
    group.get_by_role("button", name=f"Discard all {letters} for good").tap()
    expect(page.get_by_role("status")).to_contain_text(f"{letters} writes are given up")
    left = f"{PAGE}/deferred?state=failed"
    until(lambda: len(served.get(left, served.bearer()).body["entries"]) == 1, what="the workers to obey", limit=20)
    page.reload()
    expect(page.locator("#groups")).not_to_contain_text("EXPIRED")
    page.get_by_role("button", name="Retry all of note REJECTED").tap()
    expect(page.get_by_role("status")).to_contain_text("1 write is tried again")


def test_a_push_of_a_wrong_thing_is_told_with_json_to_who_likes_it(served: Served) -> None:
    for path in WRONG:
        told = served.get(f"{PAGE}{path}", served.bearer())
        assert told.body["status"] == told.status


# -- axe --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_found_by_axe_on_a_phone(signed_in: Open, there: list[str], letters: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = signed_in(color_scheme=scheme, **PHONE)
    for address in there:
        page.goto(address)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found] == [], address
