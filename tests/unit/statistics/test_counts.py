"""Counts: bounded, and the same whatever is added to what in which order."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.statistics.affected import WIDTH, K
from prodfix.statistics.counts import ENDPOINTS, OTHER, RELEASES, Counts, ErrorKey, Seen, Traffic
from tests.support.counting_worker import kind

COUNTED = st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["mobile", "desktop"]), st.integers(0, 999))
ASKED = st.tuples(
    st.sampled_from(["/", "/notes"]), st.sampled_from(["mobile", "unknown"]), st.integers(0, 10**9), st.booleans()
)
PARTS = st.lists(st.tuples(st.lists(COUNTED, max_size=8), st.lists(ASKED, max_size=8)), max_size=5)


def seen(at: float = 1.0, *releases: str, count: int = 1) -> Seen:
    return Seen(count, at, at, frozenset(releases))


def counts_of(errors: list[tuple[str, str, int]], requests: list[tuple[str, str, int, bool]], keys: int = 99) -> Counts:
    counts = Counts(keys)
    for fingerprint, device, at in errors:
        counts.count_error(kind(fingerprint, device=device), seen(float(at), f"v{at % 3}"))
    for endpoint, device, micros, failed in requests:
        commands = micros % 4
        counts.count_request(endpoint, device, micros, failed=failed, commands=commands, command_micros=commands * 7)
    return counts


def contents(counts: Counts) -> Any:
    return (
        {key: (one.count, one.first, one.last, one.releases) for key, one in counts.all_errors()},
        counts.other_kinds,
        {device: (one.requests, one.failed, dict(one.bins)) for device, one in counts.devices.items()},
        {
            name: (one.requests, one.failed, one.commands, one.command_micros, one.bins)
            for name, one in counts.routes.items()
        },
    )


def written(counts: Counts) -> tuple[Any, Any]:
    return orjson.loads(orjson.dumps(counts.error_rows())), orjson.loads(orjson.dumps(counts.traffic_rows()))


@given(parts=PARTS, seed=st.integers(0, 99))
def test_parts_that_were_written_and_added_in_any_order_are_what_one_would_have_counted(
    parts: list[Any], seed: int
) -> None:
    whole = counts_of([one for part in parts for one in part[0]], [one for part in parts for one in part[1]])
    added = Counts(99)
    for part in random.Random(seed).sample(parts, len(parts)):
        added.add(*written(counts_of(*part)))
    assert contents(added) == contents(whole)


@given(errors=st.lists(COUNTED, max_size=40), keys=st.integers(0, 4))
def test_nothing_is_lost_beyond_the_bound_of_kinds(errors: list[tuple[str, str, int]], keys: int) -> None:
    counts = counts_of(errors, [], keys)
    assert counts.total_errors == len(errors)
    assert len(counts.errors) <= keys
    assert len(counts.others) <= 2  # the rest of each category and device
    beyond = {(fingerprint, device) for fingerprint, device, _ in errors} - {
        (key.fingerprint, key.device) for key in counts.errors
    }
    found = counts.other_kinds
    assert (found.users if found else 0) == len({fingerprint for fingerprint, _ in beyond})
    assert sum(counts.errors_by(1).values()) == len(errors)
    added = Counts(keys)
    added.add(*written(counts))
    assert contents(added) == contents(counts)


def test_what_is_beyond_the_bound_keeps_its_category_and_device() -> None:
    counts = Counts(1)
    for number in range(3):
        counts.count_error(kind(f"f{number}", category="timeout"), seen())
    assert list(counts.errors) == [kind("f0", category="timeout")]
    assert list(counts.others) == [ErrorKey("timeout", "mobile", OTHER, OTHER, OTHER)]


@pytest.mark.parametrize("number", [3, 23, 400])
def test_it_is_said_of_how_many_kinds_errors_are_not_told_apart(number: int) -> None:
    """Also of what several have counted, each of them some more than once."""
    whole = Counts(5)
    for part in range(3):
        counts = Counts(5)
        for one in range(5 + number):
            counts.count_error(kind(f"f{one}"), seen(count=1 + part))
        whole.add(*written(counts))
    found = whole.other_kinds
    assert found is not None
    assert (whole.other_errors, found.exact) == (6 * number, number < K)
    assert found.users == number if found.exact else abs(found.users - number) < 0.5 * number
    assert [row for row in whole.error_rows() if row[3] == OTHER and len(row[11]) > K * WIDTH] == []


def test_of_what_an_earlier_release_has_counted_together_nobody_knows_how_many_kinds_it_was() -> None:
    counts = Counts(5)
    counts.add([["unknown", "mobile", OTHER, OTHER, OTHER, 7, 1.0, 2.0, []]], {})
    assert (counts.other_errors, counts.other_kinds, counts.errors) == (7, None, {})


def test_of_several_counts_the_frequent_kinds_are_named() -> None:
    part = Counts(9)
    for fingerprint, count in (("rare", 1), ("frequent", 5)):
        part.count_error(kind(fingerprint), seen(count=count))
    whole = Counts(1)
    whole.add(*written(part))
    assert whole.errors_by(3) == {"frequent": 5, OTHER: 1}


def test_endpoints_are_bounded_and_their_requests_are_all_counted() -> None:
    counts = Counts(9)
    for number in range(ENDPOINTS + 50):
        for _ in range(2):
            counts.count_request(f"/{number}", "mobile", 1000, failed=number % 2 == 0)
    assert len(counts.routes) == ENDPOINTS + 1
    assert (counts.routes[OTHER].requests, counts.routes[OTHER].failed) == (100, 50)
    assert sum(one.requests for one in counts.routes.values()) == counts.whole().requests == 300


def test_releases_are_bounded() -> None:
    counts = Counts(9)
    for number in range(RELEASES + 5):
        counts.count_error(kind(), seen(1.0, f"v{number:02}"))
    assert len(counts.errors[kind()].releases) == RELEASES


def test_a_counts_shares_nothing_with_what_it_was_given() -> None:
    given = seen(1.0, "v1")
    first, second = Counts(9), Counts(9)
    for counts in (first, second):
        counts.count_error(kind(), given)
    first.count_error(kind(), seen(5.0, "v2"))
    assert (given.count, second.errors[kind()].count, second.errors[kind()].last) == (1, 1, 1.0)


def test_first_and_last_are_the_outermost_moments() -> None:
    counts = counts_of([("a", "mobile", at) for at in (5, 2, 9)], [])
    found = counts.errors[kind("a")]
    assert (found.count, found.first, found.last) == (3, 2.0, 9.0)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_durations_are_told_within_two_percent(share: float) -> None:
    durations = sorted(random.Random(1).lognormvariate(9, 1) for _ in range(2000))
    counts = counts_of(
        [], [("/", ("mobile", "desktop")[number % 2], int(one), False) for number, one in enumerate(durations)]
    )
    true = durations[int(share * (len(durations) - 1))] / 1e3
    assert counts.whole().millis(share) == pytest.approx(true, rel=0.021)
    assert Traffic().millis(share) is None


def test_no_time_at_all_is_a_duration_too() -> None:
    counts = counts_of([], [("/", "mobile", 0, True)])
    assert (counts.whole().requests, counts.whole().failed, counts.whole().millis(0.5)) == (1, 1, 0.0)
