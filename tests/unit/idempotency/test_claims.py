"""Claims on idempotency keys: one of many gets each, an overdue one is taken over once, and nothing is undone by who lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from prodfix.errors import AnswerNotKept, IdempotencyKeyReused, RequestInProgress
from prodfix.idempotency import claims
from prodfix.idempotency.claims import KEYS, Claim, KeptAnswer

CREATED = KeptAnswer(201, {"Content-Type": "application/json", "Location": "$notes/1"}, b'{"id": "$1"}')


def a_claim(identity: str = "k", *, fingerprint: str = "f", seconds: float = 30.0) -> Claim:
    return Claim(identity, fingerprint, seconds)


def test_the_first_gets_it_and_a_copy_meanwhile_is_told_to_wait(database: Any) -> None:
    assert claims.take(database, a_claim(), ttl=60) is None
    with pytest.raises(RequestInProgress):
        claims.take(database, a_claim(), ttl=60)


def test_the_driver_may_send_a_claim_twice(database: Any) -> None:
    claim = a_claim()
    assert [claims.take(database, claim, ttl=60) for _ in range(2)] == [None, None]
    assert database[KEYS].count_documents({}) == 1


@pytest.mark.parametrize("overdue", [False, True])
def test_of_eight_at_the_same_moment_one_gets_it(connect: Callable[..., Any], database: Any, overdue: bool) -> None:
    others = [connect().get_default_database() for _ in range(8)]
    for number in range(10):
        if overdue:
            claims.take(database, a_claim(f"k{number}", seconds=-1), ttl=60)
        start = threading.Barrier(len(others))

        def compete(other: Any, start: threading.Barrier = start, identity: str = f"k{number}") -> bool:
            start.wait()
            try:
                return claims.take(other, a_claim(identity), ttl=60) is None
            except RequestInProgress:
                return False

        with ThreadPoolExecutor(len(others)) as pool:
            assert sum(pool.map(compete, others)) == 1


def test_the_stored_answer_is_the_same_to_the_byte(database: Any) -> None:
    claim = a_claim()
    claims.take(database, claim, ttl=60)
    claims.put(database, claim, CREATED)
    assert claims.take(database, a_claim(), ttl=60) == CREATED


def test_another_body_is_refused_whether_the_first_runs_has_failed_or_is_answered(database: Any) -> None:
    claim = a_claim()
    claims.take(database, claim, ttl=60)
    for change in (None, CREATED):
        with pytest.raises(IdempotencyKeyReused):
            claims.take(database, a_claim(fingerprint="another"), ttl=60)
        claims.put(database, claim, change)
        with pytest.raises(IdempotencyKeyReused):
            claims.take(database, a_claim(fingerprint="another"), ttl=60)


def test_after_an_end_without_an_answer_a_copy_runs_at_once(database: Any) -> None:
    claim = a_claim()
    claims.take(database, claim, ttl=60)
    claims.put(database, claim, None)
    assert claims.take(database, a_claim(), ttl=60) is None


def test_who_has_lost_the_claim_changes_nothing(database: Any) -> None:
    late, second = a_claim(seconds=-1), a_claim()
    claims.take(database, late, ttl=60)
    assert claims.take(database, second, ttl=60) is None
    claims.put(database, late, KeptAnswer(201, {}, b"the late one's"))
    claims.put(database, late, None)
    with pytest.raises(RequestInProgress):
        claims.take(database, a_claim(), ttl=60)
    claims.put(database, second, CREATED)
    assert claims.take(database, a_claim(), ttl=60) == CREATED


def test_what_was_not_kept_is_never_run_again(database: Any) -> None:
    claim = a_claim(seconds=-1)
    claims.take(database, claim, ttl=60)
    claims.put(database, claim, KeptAnswer(201, {}, None))
    with pytest.raises(AnswerNotKept):
        claims.take(database, a_claim(), ttl=60)


def test_what_has_expired_counts_no_more_also_before_the_server_has_removed_it(database: Any) -> None:
    claim = a_claim()
    claims.take(database, claim, ttl=-1)
    claims.put(database, claim, CREATED)
    assert claims.take(database, a_claim(fingerprint="another"), ttl=60) is None
    assert "answer" not in database[KEYS].find_one()


def test_the_times_are_the_servers_and_it_removes_what_has_expired(sweeping: Any, until: Callable[..., Any]) -> None:
    claims.take(sweeping, a_claim(seconds=20), ttl=100)
    seen = sweeping[KEYS].find_one()
    assert seen["expires"] - seen["until"] == timedelta(seconds=80)
    claims.make_index(sweeping)
    claims.make_index(sweeping)
    sweeping[KEYS].update_one({}, {"$set": {"expires": datetime.now(UTC) - timedelta(seconds=5)}})
    until(lambda: sweeping[KEYS].count_documents({}) == 0, 70.0)


def test_an_index_of_the_operators_own_stays(database: Any, fail: Any) -> None:
    fail("createIndexes", times=1, errorCode=85)
    claims.make_index(database)
    fail("createIndexes", times=1, errorCode=13)
    with pytest.raises(OperationFailure):
        claims.make_index(database)
