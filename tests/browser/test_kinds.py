"""Kinds of errors as an on-call engineer works on them: found, read down to the line, ignored, resolved, handed on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PAGE, sign_in
from tests.browser.test_page import PHONE, said
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

Open = Callable[..., Page]
LIST = f"{PAGE}/page/groups"


def broken(served: Served, place: str) -> str:
    """The fingerprint of the kind whose error this request is, once the list of each worker has it."""
    served.get(f"/broken/{place}")
    name = {"view?fail=before": "before", "view/3": "numbered"}.get(place, place)

    def listed() -> str | None:
        found = served.get(f"{PAGE}/errors/groups?limit=200", served.bearer()).body["groups"]
        return next((one["fingerprint"] for one in found if one["message"].endswith(f"broken.py:{name}")), None)

    return str(until(lambda: all(listed() for _ in range(6)) and listed(), what=f"the kind of {place}"))


def row(page: Page, fingerprint: str) -> Locator:
    return page.locator(f"ol.kinds > li:has(a[href*='{fingerprint}'])")


def follow(page: Page, fingerprint: str) -> None:
    row(page, fingerprint).locator("a.headline").click()
    page.wait_for_url(f"**/page/groups/{fingerprint}?**")


def test_from_the_newest_kind_to_its_line_of_code_and_it_is_ignored(signed_in: Open, served: Served) -> None:
    fingerprint = broken(served, "view")
    page = signed_in()
    page.get_by_role("navigation", name="Diagnostics").get_by_role("link", name="Kinds").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Kinds of errors")
    first = page.locator("ol.kinds > li").first
    expect(first).to_contain_text("Failure")
    expect(first.locator(".badge.new")).to_have_text("new")
    expect(first.locator("svg.spark")).to_have_attribute("aria-label", re.compile("Errors over 24 hours"))
    follow(page, fingerprint)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Failure")
    here = page.locator(".frame.own .source .here")
    expect(here).to_have_count(1)
    expect(here).to_contain_text('raise Failure("in the view")')
    expect(page.locator(".frame.library").first).to_contain_text("of libraries")
    expect(page.locator(".frame.library li").first).to_be_hidden()
    page.locator(".frame.library summary").first.click()
    expect(page.locator(".frame.library li").first).to_be_visible()
    page.locator("#ignore > summary").click()
    page.get_by_role("button", name="For ever").click()
    expect(page.get_by_role("status")).to_contain_text("It is counted, and nobody hears of it")
    expect(page.locator(".kind-head .state")).to_have_text("ignored")
    page.get_by_role("link", name="Kinds of errors").click()
    expect(row(page, fingerprint)).to_have_count(0)
    page.get_by_role("link", name="Ignored").click()
    expect(row(page, fingerprint).locator(".state")).to_have_text("ignored")
    follow(page, fingerprint)
    page.get_by_role("button", name="Reopen").click()
    expect(page.get_by_role("status")).to_contain_text("open again")
    assert said(page) == []


def test_each_way_to_ignore_it_is_seen_at_once(signed_in: Open, served: Served) -> None:
    fingerprint = broken(served, "view/3")
    page = signed_in()
    address = f"{LIST}/{fingerprint}?timeRange=24h"

    def ignore(button: str) -> str:
        page.goto(address)
        page.locator("#ignore > summary").click()
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.locator(".kind-head .state")).to_have_text("ignored")
        told = page.locator(".note", has_text="nobody hears of it").last.inner_text()
        page.get_by_role("button", name="Reopen").click()
        expect(page.get_by_role("button", name="Resolve", exact=True)).to_be_visible()
        return told

    assert "for ever" in ignore("For ever")
    assert "until" in ignore("For 1 day")
    assert "until" in ignore("For 7 days")
    assert "until it escalates" in ignore("Until it escalates")
    assert "until 100 more (100 left)" in ignore("Ignore")
    assert said(page) == []


def test_it_is_resolved_and_reopened(signed_in: Open, served: Served) -> None:
    fingerprint = broken(served, "view?fail=before")
    page = signed_in()
    page.goto(LIST)
    follow(page, fingerprint)
    page.get_by_role("button", name="Resolve", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("is resolved")
    expect(page.locator(".kind-head .state")).to_have_text("resolved")
    page.goto(f"{LIST}?status=resolved")
    expect(row(page, fingerprint)).to_be_visible()
    follow(page, fingerprint)
    page.get_by_role("button", name="Reopen").click()
    page.get_by_role("button", name="Resolve in next release").click()
    expect(page.locator(".kind-head .state")).to_have_text("resolved")
    page.get_by_role("button", name="Reopen").click()
    expect(page.locator(".kind-head .state")).to_have_count(0)


def test_a_note_an_owner_and_an_issue_are_kept(signed_in: Open, served: Served) -> None:
    fingerprint = broken(served, "handler")
    page = signed_in()
    page.goto(f"{LIST}/{fingerprint}")
    page.get_by_text("Add an owner, an issue or a note").click()
    page.get_by_label("Owner").fill("team <till>")
    page.get_by_label("Issue").fill("https://tracker.test/browse/SHOP-7")
    page.get_by_label("Note").fill("Only with <b>old</b> carts")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("noted")
    expect(page.locator("#team ~ p").first).to_contain_text("team <till>")
    expect(page.get_by_role("link", name="SHOP-7")).to_have_attribute("href", "https://tracker.test/browse/SHOP-7")
    expect(page.locator(".noted")).to_contain_text("Only with <b>old</b> carts")
    page.goto(LIST)
    expect(row(page, fingerprint)).to_contain_text("team <till>")
    assert said(page) == []


def test_what_is_searched_for_and_filtered_is_all_in_the_address(signed_in: Open, served: Served) -> None:
    wanted, other = broken(served, "view/3"), broken(served, "view?fail=before")
    page = signed_in()
    page.goto(LIST)
    page.get_by_role("searchbox", name="Search").fill("numbered")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q=numbered"))
    expect(row(page, wanted)).to_be_visible()
    expect(row(page, other)).to_have_count(0)
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Endpoint").select_option("/broken/view/<int:number>")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("endpoint="))
    page.reload()
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("numbered")
    expect(row(page, wanted)).to_be_visible()
    page.get_by_role("link", name="Without the filter search").click()
    page.get_by_role("link", name="Without the filter endpoint").click()
    expect(row(page, other)).to_be_visible()
    page.get_by_role("searchbox", name="Search").fill("nothing that is there <b>")
    page.keyboard.press("Enter")
    expect(page.locator(".nothing")).to_contain_text("Take a filter away")
    page.get_by_role("link", name="Without filters").click()
    expect(row(page, other)).to_be_visible()
    assert said(page) == []


def test_it_is_copied_as_markdown(signed_in: Open, served: Served) -> None:
    fingerprint = broken(served, "view")
    page = signed_in(permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{LIST}/{fingerprint}")
    page.get_by_role("button", name="Copy as Markdown").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("## `Failure")
    for part in ("tests/hosts/broken.py:view", "```text", f"/page/groups/{fingerprint}?timeRange=7d>"):
        assert part in copied
    assert said(page) == []


def test_from_a_kind_to_its_errors_to_a_request(signed_in: Open, served: Served) -> None:
    fingerprint = broken(served, "view")
    page = signed_in()
    page.goto(f"{LIST}/{fingerprint}?timeRange=24h")
    page.locator(".kind-plot a").last.click()
    page.wait_for_url(f"**/page/errors?fingerprint={fingerprint}&**")
    page.get_by_role("link", name="Without the filter from").click()
    expect(page.locator(".asked")).to_contain_text("fingerprint")
    expect(page.locator(".asked")).not_to_contain_text("from")
    page.locator("tbody tr a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Request")


def test_it_works_without_javascript(open_page: Open, served: Served) -> None:
    fingerprint = broken(served, "view")
    page = open_page(java_script_enabled=False)
    sign_in(page, served)
    page.goto(LIST)
    follow(page, fingerprint)
    expect(page.locator(".source .here")).to_be_visible()
    page.get_by_text("Copy as Markdown").first.click()
    expect(page.get_by_role("textbox", name="For a ticket")).to_have_value(re.compile("^## `Failure"))
    page.locator("#ignore > summary").click()
    page.get_by_role("button", name="For 1 day").click()
    expect(page.locator(".kind-head .state")).to_have_text("ignored")
    page.get_by_role("button", name="Reopen").click()
    expect(page.get_by_role("button", name="Resolve", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_found_by_axe_and_nothing_is_wider_than_a_phone(
    signed_in: Open, served: Served, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    fingerprint = broken(served, "view/3")
    page = signed_in(color_scheme=scheme, **PHONE, is_mobile=True, has_touch=True)
    for address in (LIST, f"{LIST}/{fingerprint}", f"{LIST}?q=nothing&status=ignored", f"{PAGE}/page/errors"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address
        assert page.locator("h1").count() == 1
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        found = Axe().run(page).response["violations"]
        told = [(one["id"], one["impact"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]
        assert told == [], address
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address
    assert said(page) == []
