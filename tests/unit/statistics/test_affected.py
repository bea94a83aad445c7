"""How many users something met: exact for few, an estimate that says so for many, and the same however it is merged."""

from __future__ import annotations

import random
import statistics

import pytest

from prodfix.statistics.affected import K, affected, hash_of, joined, key_of, smallest

KEY = key_of("secret")


def sketch(users: range, key: bytes = KEY) -> str:
    found = ""
    for user in users:
        found = joined(found, hash_of(f"user {user}", key))
    return found


@pytest.mark.parametrize("count", [1, 2, K - 1])
def test_few_are_counted(count: int) -> None:
    assert affected(sketch(range(count)) * 3) == (count, True)


def test_nobody_is_not_none_of_them() -> None:
    assert affected("") is None


@pytest.mark.parametrize("count", [K, 300, 20_000])
def test_many_are_estimated_within_what_is_said(count: int) -> None:
    errors = []
    for number in range(60):
        found = affected(sketch(range(count), key_of(str(number))))
        assert found is not None
        assert not found.exact
        errors.append(found.users / count - 1)
    assert abs(statistics.fmean(errors)) < 0.1, "without bias"
    assert statistics.pstdev(errors) < 0.3


def test_parts_add_up_to_what_one_would_have_seen() -> None:
    chance = random.Random(7)
    parts = [sketch(range(start, start + 40)) for start in range(0, 200, 20)]
    whole = smallest(sketch(range(220)))
    for _ in range(5):
        chance.shuffle(parts)
        merged = ""
        for part in parts:
            merged = joined(merged, smallest(part))
        assert smallest(merged) == whole


def test_it_is_bounded() -> None:
    assert len(sketch(range(10_000))) <= 4 * 4 * K
    assert len(smallest(sketch(range(10_000)))) == 4 * K


def test_without_the_key_nobody_can_try_ids() -> None:
    assert hash_of("ann", KEY) == hash_of("ann", key_of("secret"))
    assert hash_of("ann", KEY) != hash_of("ann", key_of("another"))
    assert "ann" not in hash_of("ann", KEY)


@pytest.mark.parametrize("user", ["", "ä", "half \ud800", "x" * 10_000])
def test_any_id_has_a_hash(user: str) -> None:
    assert len(hash_of(user, KEY)) == 4
