"""Rows of a minute in an hour's document: what comes out is what went in, in a few bytes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.statistics.affected import hash_of
from prodfix.statistics.counts import Counts, ErrorKey
from prodfix.statistics.minute_rows import packed_rows, rows_of
from prodfix.statistics.packing import packed
from prodfix.statistics.window import Counted
from tests.support.counting_worker import BEGIN, MINUTE

MILLIS = st.integers(0, 59_999)
NAMES = st.sampled_from(["/a", "/b/<name>", '/"\\', "ä\n"])
ERRORS = st.tuples(NAMES, NAMES, MILLIS, st.sampled_from(["", "v1"]), st.sampled_from([None, "ann", "bob"]))
REQUESTS = st.tuples(NAMES, NAMES, st.integers(0, 2**40), st.booleans(), st.integers(0, 3))


def counted(errors: Any, requests: Any, worker: str = "w") -> Counted:
    counts = Counts(300)
    for title, device, millis, release, user in errors:
        key = ErrorKey("unknown", device, title, f"f{title}", f"title of {title}")
        met = hash_of(user, b"key") if user else ""
        counts.count_one(key, round(BEGIN + millis / 1000, 3), frozenset([release] if release else []), met)
    for endpoint, device, micros, failed, commands in requests:
        counts.count_request(endpoint, device, micros, failed=failed, commands=commands, command_micros=7 * commands)
    return Counted(worker, MINUTE, 5, 5, counts.error_rows(), counts.traffic_rows())


def in_order(row: Counted) -> Counted:
    """Bins of a device come in any order."""
    devices = [[*device[:3], sorted(list(one) for one in device[3])] for device in row.traffic["devices"]]
    return row._replace(traffic={**row.traffic, "devices": devices})


@given(st.lists(st.tuples(st.lists(ERRORS), st.lists(REQUESTS)), max_size=3))
def test_what_comes_out_is_what_went_in(workers: Any) -> None:
    rows = [counted(*one, worker=f"w{place}") for place, one in enumerate(workers)]
    assert rows_of(MINUTE, packed_rows(rows)) == [in_order(row) for row in rows]


@pytest.mark.parametrize("count", [0, 1, 57, 92, 93, 50_000, 55_260, 55_261, 10**9])
def test_a_count_of_any_size(count: int) -> None:
    traffic = {
        "devices": [["mobile", count + 1, 0, [[7, 1], [9, count]] if count else [[7, 1]]]],
        "endpoints": [["/a", count + 1, 1]],
        "routes": [[3, 10**9, 4, count, 1]],
    }
    row = Counted("w", MINUTE, 1, 1, [], traffic)
    assert rows_of(MINUTE, packed_rows([row])) == [row]


def test_of_a_route_of_an_earlier_release_there_are_requests_alone() -> None:
    endpoints = [["/a", 3, 1], ["/b", 2, 0]]
    for routes in ([], [[]], [[1, 2, 3, 4]]):
        row = Counted("w", MINUTE, 1, 1, [], {"devices": [], "endpoints": endpoints, "routes": routes})
        (found,) = rows_of(MINUTE, packed_rows([row]))
        assert found.traffic == {**row.traffic, "routes": [*routes, [], []][:2]}
    (found,) = rows_of(MINUTE, packed_rows([Counted("w", MINUTE, 1, 1, [], {})]))
    assert found.traffic == {"devices": [], "endpoints": [], "routes": []}


def test_it_has_three_quarters_of_the_room_that_the_rows_have() -> None:
    chance = random.Random(1)
    requests = [
        (
            f"/route/{chance.randrange(30)}",
            chance.choice(["mobile", "desktop"]),
            int(chance.lognormvariate(9, 1)),
            False,
            1,
        )
        for _ in range(2_000)
    ]
    errors = [(chance.choice("abcdefgh"), "mobile", chance.randrange(60_000), "v1", str(one)) for one in range(100)]
    row = counted(errors, requests)
    before, now = packed([row.worker, row.revision, row.errors, row.traffic]), packed_rows([row])
    assert len(now) < 0.75 * len(before)


@pytest.mark.parametrize("value", [b"", b"x", packed({}), packed([1]), packed([["w", 1, [], [], []]]), packed(None)])
def test_anything_else_is_refused(value: bytes) -> None:
    if value == packed({}):
        assert rows_of(MINUTE, value) == []
        return
    with pytest.raises((ValueError, TypeError, LookupError)):
        rows_of(MINUTE, value)
