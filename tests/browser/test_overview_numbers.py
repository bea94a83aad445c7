"""Each number of the overview that is a link is the length of its list; one that no list has is no link, and says why."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.conftest import PAGE
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = pytest.mark.served

KEPT = 8  # records of a kind
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
COMPUTER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"
BAR = re.compile(r"[\w: ]*\d\d:\d\d UTC: (\d+) [a-z ]+")  # of a bar whose errors are all kept
NUMBER = re.compile(r"[\d,]+")


class Reader(HTMLParser):
    """The links of a page, and what each says; numbers that are none; and the rows of its lists."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[dict[str, str]] = []
        self.plain: list[dict[str, str]] = []
        self.rows = 0
        self._open: dict[str, str] | None = None
        self._body = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs} | {"text": ""}
        if tag == "a" and "href" in found:
            self.links.append(found)
            self._open = found
        elif tag == "span" and found.get("class") == "plain-count":
            self.plain.append(found)
            self._open = found
        elif tag == "tbody":
            self._body = True
        self.rows += tag == "tr" and self._body

    def handle_endtag(self, tag: str) -> None:
        self._body = self._body and tag != "tbody"
        if tag in ("a", "span"):
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._open["text"] += data


@pytest.fixture(scope="module")
def counting(database: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that keeps few records of a kind, and has had errors of each sort."""
    variables = {"DIAGNOSTICS_RATE_LIMIT": "100000/minute", "ERROR_KEEP_PER_KIND": str(KEPT)}
    folder, uri = tmp_path_factory.mktemp("numbers"), f"{database.uri}numbers_{secrets.token_hex(4)}"
    with Served(folder, uri, application="tests.hosts.broken:app", **variables) as served:
        for agent in (PHONE, PHONE, COMPUTER):
            headers = {"User-Agent": agent}
            for path in ("/broken/view", "/broken/handler", "/broken/fine?fail=before", "/no/such", "/broken/fine"):
                served.request("GET", path, headers=headers)
        for number in range(3 * KEPT):
            served.request("GET", f"/broken/view/{number}", headers={"User-Agent": COMPUTER})
        asked = 3 * 3 + 3 * KEPT
        until(
            lambda: all(_counted(served) == (asked + 3, asked + 6) for _ in range(6)),
            what="all of it, from each worker",
        )
        yield served


def _counted(served: Served) -> tuple[int, int]:
    """Errors and requests."""
    found = api(served, "/errors")
    return sum(found["errorsByCategory"].values()), found["requests"]


def api(served: Served, path: str) -> Any:
    return served.get(f"{PAGE}{path}", served.bearer()).body


def page(served: Served, path: str) -> Reader:
    answer = served.request("GET", path, headers={**served.bearer(), "Accept": "text/html"})
    assert answer.status == 200, path
    return Reader(answer.body)


def length(served: Served, address: str) -> int:
    """How many entries a list has, over all its pages."""
    found, following = 0, address
    while following:
        read = page(served, following)
        found += read.rows
        following = next((one["href"] for one in read.links if one["text"] == "Older"), "")
    return found


def number_of(link: dict[str, str]) -> int | None:
    """What a link says that it leads to; None if it says no number."""
    bar = BAR.fullmatch(link.get("aria-label", ""))
    if bar is not None:
        return int(bar[1])
    text = link["text"].strip()
    return int(text.replace(",", "")) if NUMBER.fullmatch(text) else None


@pytest.mark.parametrize("time_range", ["1h", "24h", "7d"])
@pytest.mark.parametrize("errors", ["service", "all"])
def test_each_linked_number_is_the_length_of_its_list(counting: Served, errors: str, time_range: str) -> None:
    first = page(counting, f"{PAGE}?timeRange={time_range}&errors={errors}")
    followed = []
    for link in first.links:
        number, address = number_of(link), urlsplit(link["href"])
        if number is None:
            continue
        if address.path.endswith("/page/deferred"):
            state = parse_qs(address.query)["state"][0]
            assert len(api(counting, f"/deferred?state={state}")["entries"]) == number
        else:
            assert length(counting, link["href"]) == number, link
        followed.append(number)
    assert len(followed) >= 4, "devices, endpoints and deferred writes"
    assert max(followed) > 0


def test_so_it_is_on_the_page_of_endpoints(counting: Served) -> None:
    links = [(link["href"], number_of(link)) for link in page(counting, f"{PAGE}/page/endpoints").links]
    followed = [length(counting, address) - number for address, number in links if number is not None]
    assert followed
    assert not any(followed)


def test_so_it_is_once_mongodb_has_the_records(counting: Served) -> None:
    until(lambda: api(counting, "/database")["storage"]["waiting"] == 0, limit=60, what="nothing waits")
    for errors in ("service", "all"):
        test_each_linked_number_is_the_length_of_its_list(counting, errors, "24h")


def test_a_number_that_no_list_has_is_no_link_and_says_why(counting: Served) -> None:
    reasons = {one["title"] for one in page(counting, f"{PAGE}?errors=all").plain}
    assert reasons == {
        "Only a sample of these records is kept",
        "Of errors that clients are to blame for no record is kept",
    }
    of_service = {one["title"] for one in page(counting, PAGE).plain}
    assert of_service == {"Only a sample of these records is kept"}, "there are none of clients"


def test_one_that_is_not_counted_that_way_is_another_number(counting: Served) -> None:
    """The control: the lists differ, and their lengths are looked at."""
    numbers = {link["href"]: number_of(link) for link in page(counting, PAGE).links}
    address = next(one for one, number in numbers.items() if number and "device=mobile" in one)
    assert length(counting, address.replace("device=mobile", "device=desktop")) != numbers[address]


def test_the_diagnostics_are_no_endpoint_of_the_applications(counting: Served) -> None:
    before = api(counting, "/errors")["totalErrors"]
    assert counting.get(f"{PAGE}/errors?timeRange=never", counting.bearer()).status == 422
    assert counting.get("/no/such/thing").status == 404  # the control
    totals = lambda: {api(counting, "/errors")["totalErrors"] for _ in range(6)}  # noqa: E731
    until(lambda: before not in totals(), what="the count of one of them, from each worker")
    assert totals() == {before + 1}
    assert PAGE not in str(api(counting, "/errors")["errorsByEndpoint"])
    listed = [one["endpoint"] for one in api(counting, "/endpoints?limit=200")["endpoints"]]
    assert "/broken/view" in listed
    assert not [one for one in listed if one.startswith(PAGE)]
    for shown in (f"{PAGE}?errors=all", f"{PAGE}/page/endpoints"):
        assert f"endpoint={PAGE}" not in " ".join(
            one["href"].replace("%2F", "/") for one in page(counting, shown).links
        )
