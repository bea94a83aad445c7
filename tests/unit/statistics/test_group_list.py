"""Lists of kinds of errors: searched, filtered, sorted, page by page."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest

from prodfix.statistics.affected import affected
from prodfix.statistics.counts import Seen
from prodfix.statistics.group_list import ALL_GROUPS, GroupFilter
from prodfix.statistics.group_summary import Group, KindWords
from tests.support.counting_worker import Clock, Worker


@pytest.fixture
def full(worker: Worker, clock: Clock, database: Any) -> Worker:
    """Three kinds: `old` is frequent, `wide` met many, `new` came last and rises."""
    worker.database = database
    for fingerprint, headline, place in (
        ("old", "KeyError: 'price'", "shop/cart.py:total"),
        ("wide", "TimeoutError: no answer", "shop/pay.py:charge"),
        ("new", "ValueError: bad Größe", "shop/size.py:parse"),
    ):
        words = KindWords(headline, place, f"CODE_{fingerprint}")
        worker.counters.kinds.see(fingerprint, partial(tuple.__getitem__, (words,), 0))
    clock.now -= 50 * 60
    worker.error("old", times=9, endpoint="/cart", category="unknown", user="ann")
    clock.now += 20 * 60
    for number in range(4):
        worker.error("wide", endpoint="/pay", device="desktop", category="timeout", user=f"u{number}")
    clock.now += 25 * 60
    worker.error("new", times=5, endpoint="/size", user="ann")
    worker.store()
    return worker


def names(worker: Worker, **asked: Any) -> list[str]:
    paged = {name: asked.pop(name) for name in ("sort", "limit", "offset") if name in asked}
    found, total = worker.groups.page(worker.statistics.read("1h").window, GroupFilter(**asked), **paged)
    assert total >= len(found)
    return [group.fingerprint for group in found]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("most", ["old", "new", "wide"]),
        ("users", ["wide", "old", "new"]),
        ("newest", ["new", "wide", "old"]),
        ("trend", ["new", "wide", "old"]),
    ],
)
@pytest.mark.parametrize("down", [False, True])
def test_sorts(full: Worker, sort: Any, order: list[str], down: bool) -> None:
    if down:
        full.database = None
    assert names(full, sort=sort) == order
    pages = [names(full, sort=sort, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [*pages[0], *pages[1], *pages[2]] == order


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        ({"q": "price"}, ["old"]),
        ({"q": "PRICE keyerror"}, ["old"]),
        ({"q": "price timeout"}, []),
        ({"q": "größe"}, ["new"]),
        ({"q": "shop/"}, ["old", "new", "wide"]),
        ({"q": "/pay"}, ["wide"]),
        ({"q": "code_wide"}, ["wide"]),
        ({"q": "title of new"}, ["new"]),
        ({"q": "  "}, ["old", "new", "wide"]),
        ({"category": "timeout"}, ["wide"]),
        ({"endpoint": "/cart"}, ["old"]),
        ({"device": "desktop"}, ["wide"]),
        ({"release": "v1", "sort": "newest"}, ["new", "wide", "old"]),
        ({"release": "v2"}, []),
        ({"q": "shop", "device": "mobile", "status": "open"}, ["old", "new"]),
    ],
)
@pytest.mark.parametrize("down", [False, True])
def test_filters(full: Worker, asked: dict[str, Any], order: list[str], down: bool) -> None:
    if down:
        full.database = None
    assert names(full, **asked) == order


def test_the_number_of_all_is_that_of_what_is_found(full: Worker) -> None:
    window = full.statistics.read("1h").window
    for wanted, many in (
        (ALL_GROUPS, 3),
        (GroupFilter(q="shop"), 3),
        (GroupFilter(q="price"), 1),
        (GroupFilter(device="mobile"), 2),
    ):
        assert full.groups.page(window, wanted, limit=1)[1] == many


def test_kinds_of_a_user_are_those_that_are_told(full: Worker) -> None:
    asked: list[str] = []

    def kinds_of(user: str, window: Any) -> set[str]:
        asked.append(user)
        return {"new"}

    full.groups._kinds_of = kinds_of
    assert (names(full, user="ann"), asked) == (["new"], ["ann"])


def test_what_is_new_has_a_badge_and_what_is_old_has_none(full: Worker, clock: Clock, database: Any) -> None:
    window = full.statistics.read("1h").window
    assert [group.badges for group in full.groups.page(window)[0]] == [["new"]] * 3
    clock.now += 25 * 3600
    full.error("old", endpoint="/cart")
    full.store()
    (group,) = full.groups.page(full.statistics.read("1h").window)[0]
    assert group.badges == []
    full.database = None
    (group,) = full.groups.page(full.statistics.read("1h").window)[0]
    assert group.badges == [], "nobody can say"


@pytest.mark.parametrize("sort", ["most", "users", "newest", "trend"])
@pytest.mark.parametrize("down", [False, True])
def test_a_list_that_counts_all_tells_a_page_of_it_as_any_other(full: Worker, sort: Any, down: bool) -> None:
    if down:
        full.database = None
    window = full.statistics.read("1h").window
    chosen = full.groups.chosen(window, sort=sort)
    told = full.groups.summaries(chosen[1:], window)
    assert told == full.groups.page(window, sort=sort)[0][1:]
    assert [(one.count, one.status, one.badges) for one in chosen[1:]] == [
        (one.count, one.status, one.badges) for one in told
    ]
    assert sum(one.count for one in chosen) == window.counts.total_errors == 18
    assert [sum(one.trend) for one in told] == [one.count for one in told]


def test_only_what_is_shown_is_told_in_full(full: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    summary = Group.summary
    monkeypatch.setattr(Group, "summary", lambda self: told.append(self.fingerprint) or summary(self))
    window = full.statistics.read("1h").window
    assert (len(full.groups.chosen(window, sort="trend")), told) == (3, [])
    full.groups.summaries(full.groups.chosen(window)[:1], window)
    assert told == ["old"]
    full.groups.page(window)
    assert sorted(told) == ["new", "old", "old", "wide"], "the control"


def test_whom_a_kind_met_is_told_over_all_devices_and_routes(full: Worker) -> None:
    """Each user once, however the parts are put together; of many the estimate is the one that a single sketch gives."""
    few, many = [f"f{number}" for number in range(10)], [f"m{number}" for number in range(500)]
    for fingerprint, users in (("few", few), ("many", many)):
        for place, user in enumerate(users * 2):
            device, endpoint = ("mobile", "desktop")[place % 3 % 2], f"/r{place % 7}"
            full.error(fingerprint, device=device, endpoint=endpoint, user=user)
    window = full.statistics.read("1h").window
    found = {one.fingerprint: one for one in full.groups.page(window)[0]}
    whole = Seen(0, math.inf, 0.0, frozenset())
    for key, seen in window.counts.errors.items():
        if key.fingerprint == "many":
            whole.add(seen)
    assert (found["few"].users, found["few"].users_exact, found["few"].count) == (10, True, 20)
    assert (found["many"].users, found["many"].users_exact) == affected(whole.users)
    assert (found["many"].count, full.groups.find("many", window)) == (1000, found["many"])
