"""Idempotent requests below HTTP: what makes two requests the same, whose key it is, and what is owed to a lost database."""

from __future__ import annotations

import json
import time
from typing import Any

import bson
import pymongo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import ExecutionTimeout, OperationFailure, PyMongoError, ServerSelectionTimeoutError

from prodfix import current_operation_id
from prodfix.classification.classifier import Classifier
from prodfix.errors import Outcome, RequestInProgress
from prodfix.idempotency.claims import KEYS, Claim, KeptAnswer
from prodfix.idempotency.keys import LARGEST, STORE_LIMIT, WAITING, Idempotency
from prodfix.request.context import current_context, new_context, reset_context, set_context

DONE = KeptAnswer(201, {}, b"{}")
FINGERPRINT = "f" * 64


def keys_of(database: Any, *, secret: str = "s", **options: Any) -> Idempotency:
    return Idempotency(lambda: database, Classifier(), secret=secret, ttl=60, **options)


AWAY = keys_of(None)


def fingerprint(**changes: Any) -> str:
    request = {"method": "POST", "route": "/n/<x>", "arguments": {"x": 1}, "query": b"a=1", "body": b"{}"} | changes
    return AWAY.fingerprint(**{"is_json": True} | request)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PATCH"},
        {"route": "/n/<y>"},
        {"arguments": {"x": 2}},
        {"arguments": {}},
        {"arguments": {"x": 1, "y": 2}},
        {"query": b"a=2"},
        {"query": b""},
        {"body": b"[]"},
        {"body": b"{ }", "is_json": False},
        {"body": b"{"},
        {"query": b"a=1{}", "body": b""},
    ],
)
def test_each_part_of_a_request_counts(change: dict[str, Any]) -> None:
    assert fingerprint(**change) != fingerprint()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def reversed_members(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reversed_members(inner) for name, inner in reversed(value.items())}
    return [reversed_members(inner) for inner in value] if isinstance(value, list) else value


@given(value=VALUES)
def test_json_counts_by_its_content(value: Any) -> None:
    other = json.dumps(reversed_members(value), indent=1, ensure_ascii=False)
    assert fingerprint(body=json.dumps(value).encode()) == fingerprint(body=other.encode("utf-8", "surrogatepass"))


@given(one=VALUES, other=VALUES)
def test_other_content_is_another_request(one: Any, other: Any) -> None:
    bodies = [json.dumps(value, sort_keys=True).encode() for value in (one, other)]
    assert (fingerprint(body=bodies[0]) == fingerprint(body=bodies[1])) == (bodies[0] == bodies[1])


@pytest.mark.parametrize("body", [b"[" * 60_000, b"1" * 5_000, b"\xff", b'{"a": 1} ' + b" " * LARGEST])
def test_no_body_is_too_strange(body: bytes) -> None:
    assert fingerprint(body=body) == fingerprint(body=body) != fingerprint(body=body + b"1")


def test_the_operation_id_depends_on_user_route_key_and_secret_and_is_an_object_id() -> None:
    parts = ("user a", "POST /n", "key-12345")
    identity = AWAY.operation_id(*parts)
    assert str(bson.ObjectId(identity)) == identity == keys_of(None).operation_id(*parts)
    others = [AWAY.operation_id(*parts[:at], "other", *parts[at + 1 :]) for at in range(3)]
    others += [keys_of(None, secret="t").operation_id(*parts), AWAY.operation_id("user aPOST", " /n", "key-12345")]
    assert len({identity, *others}) == 6
    assert len(keys_of(None, secret="").operation_id(*parts)) == 24


def test_two_users_with_the_same_key_never_meet(database: Any) -> None:
    keys = keys_of(database)
    claim = keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)
    assert isinstance(claim, Claim)
    keys.settle(claim, lambda: DONE)
    assert isinstance(keys.claim("user b", "key-12345", FINGERPRINT, seconds=9), Claim)
    assert keys.claim("user a", "key-12345", FINGERPRINT, seconds=9) == DONE
    stored = str(list(database[KEYS].find()))
    assert "key-12345" not in stored
    assert "user" not in stored
    assert keys.counts().to_json() | {"claimed": 2, "replayed": 1} == keys.counts().to_json()


def test_while_the_database_is_away_nothing_is_claimed_and_nothing_waits() -> None:
    keys = keys_of(None)
    assert keys.claim("user a", "key-12345", FINGERPRINT, seconds=9) is None
    assert (keys.counts().to_json()["unprotected"], keys.counts().to_json()["waiting"]) == (1, 0)


def test_a_database_that_goes_away_under_the_claim_does_not_stop_the_view(nowhere: Any) -> None:
    keys = keys_of(nowhere.test)
    assert isinstance(keys.claim("user a", "key-12345", FINGERPRINT, seconds=9), Claim)
    assert keys.counts().to_json()["unprotected"] == 1


@pytest.mark.parametrize("code", [13, 50, 112])
def test_a_database_that_refuses_the_claim_or_is_late_stops_the_view(database: Any, fail: Any, code: int) -> None:
    keys = keys_of(database)
    token = set_context(new_context(endpoint="/n", method="POST", ip="", headers={}))
    fail("update", errorCode=code)
    try:
        with pytest.raises(OperationFailure):
            keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)
        context = current_context()
        assert context is not None
        assert context.notes.effects.outcome is Outcome.NOT_APPLIED
    finally:
        reset_context(token)


def test_an_answer_that_could_not_be_stored_is_stored_later_and_told_of_once(database: Any, fail: Any) -> None:
    told: list[str] = []
    keys = keys_of(database, report=lambda message, facts: told.append(f"{message} {facts}"))
    claim = keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)
    assert isinstance(claim, Claim)
    fail("update", errorCode=13, times=2)
    keys.settle(claim, lambda: DONE)
    keys.work()
    assert (keys.counts().to_json()["waiting"], keys.counts().to_json()["unstored"]) == (1, 2)
    with pytest.raises(RequestInProgress):
        keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)
    keys.work()
    assert keys.claim("user a", "key-12345", FINGERPRINT, seconds=9) == DONE
    assert keys.counts().to_json()["waiting"] == 0
    assert told == ["answers cannot be stored {'error': 'OperationFailure'}", "answers are stored again {}"]
    assert "prodfix_expiry" in database[KEYS].index_information()


def test_what_waits_is_bounded_and_what_is_lost_is_counted(nowhere: Any) -> None:
    keys = keys_of(nowhere.test)
    for number in range(WAITING + 3):
        keys.settle(Claim(str(number), FINGERPRINT, 1), lambda: DONE)
    assert (keys.counts().to_json()["waiting"], keys.counts().to_json()["lost"]) == (WAITING, 3)


def test_an_expired_deadline_does_not_cut_the_storing(database: Any) -> None:
    keys = keys_of(database)
    claim = keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)
    assert isinstance(claim, Claim)
    with pymongo.timeout(0.000_001):
        with pytest.raises(PyMongoError):
            database.command("ping")
        keys.settle(claim, lambda: DONE)
    assert keys.claim("user a", "key-12345", FINGERPRINT, seconds=9) == DONE


def test_storing_waits_for_a_slow_database_no_longer_than_its_limit(database: Any, fail: Any) -> None:
    keys = keys_of(database)
    claim = keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)
    assert isinstance(claim, Claim)
    fail("update", times=1, blockConnection=True, blockTimeMS=3000)
    begun = time.monotonic()
    keys.settle(claim, lambda: DONE)
    assert STORE_LIMIT / 2 < time.monotonic() - begun < STORE_LIMIT + 2
    assert keys.counts().to_json()["waiting"] == 1


@pytest.mark.parametrize("error", [ValueError("x"), ServerSelectionTimeoutError("x"), ExecutionTimeout("x")])
def test_settling_never_raises_and_leaves_the_claim(database: Any, error: Exception) -> None:
    def broken() -> KeptAnswer:
        raise error

    keys = keys_of(database)
    claim = keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)
    assert isinstance(claim, Claim)
    keys.settle(claim, broken)
    assert keys.counts().to_json()["unstored"] == 1
    with pytest.raises(RequestInProgress):
        keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)


def test_an_index_that_is_refused_is_told_of_once_and_one_that_is_late_is_tried_again(database: Any, fail: Any) -> None:
    told: list[str] = []
    keys = keys_of(database, report=lambda message, facts: told.append(message))
    keys.claim("user a", "key-12345", FINGERPRINT, seconds=9)
    fail("createIndexes", times=1, errorCode=50)
    keys.work()
    assert told == []
    fail("createIndexes", times=1, errorCode=13)
    keys.work()
    keys.work()
    assert told == ["the index that removes expired keys cannot be made"]
    assert "prodfix_expiry" not in database[KEYS].index_information()


def test_an_index_is_made_only_where_keys_are_used(database: Any) -> None:
    keys_of(database).work()
    assert database.list_collection_names() == []


def test_the_current_operation_id_is_the_requests_own() -> None:
    assert current_operation_id() != current_operation_id()
    token = set_context(new_context(endpoint="/n", method="POST", ip="", headers={}))
    try:
        assert current_operation_id() == current_operation_id()
        labels = {current_operation_id(), current_operation_id("audit"), current_operation_id("audit"), "x"}
        assert len(labels) == 3
        assert bson.ObjectId.is_valid(current_operation_id("audit"))
    finally:
        reset_context(token)
