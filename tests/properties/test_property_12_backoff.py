from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from prodfix import Classifier, Recovery, Settings
from prodfix.recovery.conflicts import Conflicts
from prodfix.recovery.transactions import JITTER as TRANSACTION_JITTER
from prodfix.recovery.transactions import Transactions

JITTER = 0.1
LONGEST = 16.0  # seconds: the last of the seed's five delays
SEED = [1.0, 2.0, 4.0, 8.0, 16.0]

bases = st.floats(0.01, 10.0)


def doubling(delays: Sequence[float], base: float, jitter: float = JITTER) -> bool:
    """Whether each delay is about double the one before, from ``base`` up to the longest."""
    exact = [min(base * 2**step, LONGEST) for step in range(len(delays))]
    each = all(abs(delay - right) <= right * jitter * 1.0001 for delay, right in zip(delays, exact, strict=True))
    growing = [pair for pair, right in zip(pairwise(delays), exact[1:], strict=False) if right < LONGEST]
    least, most = 2 * (1 - jitter) / (1 + jitter), 2 * (1 + jitter) / (1 - jitter)
    return each and all(least * 0.9999 <= later / sooner <= most * 1.0001 for sooner, later in growing)


def delays_of(retries: int, base: float) -> list[float]:
    slept: list[float] = []

    def lost() -> None:
        raise AutoReconnect("lost")

    recovery = Recovery(Classifier(), None, retries=retries, base=base, sleep=slept.append)  # type: ignore[arg-type]
    with pytest.raises(AutoReconnect):
        recovery.run(lost, idempotent=True)
    return slept


@given(retries=st.integers(1, 20), base=bases)
def test_delays_double(retries: int, base: float) -> None:
    """For any retry sequence with exponential backoff, each retry delay should be approximately double the previous delay
    (within tolerance).

    The tolerance is the jitter of 10 % on each delay, which keeps workers from coming back in step; so a delay is 1.6 to
    2.5 times the one before. It grows up to 16 s, the longest of the seed's delays.

    Feature: production-deployment-fix, Property 12
    """
    delays = delays_of(retries, base)
    assert len(delays) == retries
    assert doubling(delays, base)


@given(retries=st.integers(1, 20), base=bases)
def test_those_of_transactions_too(retries: int, base: float) -> None:
    """The same between the tries of a transaction, with a jitter of half: those that an election has ended should not come
    back together. It is the middle of the delays that doubles.

    Feature: production-deployment-fix, Property 12
    """
    slept: list[float] = []

    def elected(session: Any) -> None:
        raise OperationFailure("again", 11602, {"errorLabels": ["TransientTransactionError"]})

    client: MongoClient[Any]
    with MongoClient("127.0.0.1", 1, connect=False) as client, pytest.raises(OperationFailure):
        Transactions(lambda: client, retries=retries, base=base, sleep=slept.append).run(elected)
    assert len(slept) == retries
    assert doubling(slept, base, TRANSACTION_JITTER)


@given(most=st.integers(1, 60), base=bases)
def test_those_after_write_conflicts(most: int, base: float) -> None:
    """A write conflict is no failure of the database, and has waits of its own, whatever the base: any up to 5 ms, 7.5 ms,
    11.25 ms ... 500 ms (convenient-transactions specification). Their limit grows by half each time, and not to the double.

    Feature: production-deployment-fix, Property 12
    """
    slept: list[float] = []

    def conflict(session: Any) -> None:
        raise OperationFailure("again", 112, {"errorLabels": ["TransientTransactionError"]})

    client: MongoClient[Any]
    conflicts = Conflicts(most=most, sleep=slept.append)
    with MongoClient("127.0.0.1", 1, connect=False) as client, pytest.raises(OperationFailure):
        Transactions(lambda: client, retries=0, base=base, conflicts=conflicts).run(conflict)
    assert len(slept) == most
    # The first wait is for who has no turn yet; with it they begin anew.
    limits = [0.005, *(min(0.005 * 1.5**step, 0.5) for step in range(most - 1))]
    assert all(0 <= delay <= limit for delay, limit in zip(slept, limits, strict=True))
    assert sum(slept) > sum(limits) / 20, "the control: they wait"


@given(crowd=st.lists(st.tuples(st.integers(1, 10), bases), min_size=2, max_size=8))
def test_those_of_many_at_once(crowd: list[tuple[int, float]]) -> None:
    """The same for each of many operations at once (threads here, greenlets in the run under gevent): one's failures do
    not lengthen another's delays.

    Feature: production-deployment-fix, Property 12
    """
    delays: dict[int, list[float]] = {}

    def work(number: int) -> None:
        slept = delays[number] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            time.sleep(0)  # the others' turn

        def lost() -> None:
            raise AutoReconnect("lost")

        retries, base = crowd[number]
        recovery = Recovery(Classifier(), None, retries=retries, base=base, sleep=sleep)  # type: ignore[arg-type]
        with contextlib.suppress(AutoReconnect):
            recovery.run(lost, idempotent=True)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(crowd))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (retries, base) in enumerate(crowd):
        assert len(delays[number]) == retries
        assert doubling(delays[number], base)


def test_the_default_is_the_seeds() -> None:
    """1, 2, 4, 8 and 16 seconds, of which the default of three retries uses the first three."""
    default = Settings()
    assert default.retry_base_delay_ms / 1000 == SEED[0]
    assert doubling(delays_of(5, SEED[0]), SEED[0])


@given(
    wrong=st.sampled_from(
        [[1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 3.0, 9.0], SEED[::-1], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]]
    )
)
def test_the_check_knows_what_is_none(wrong: list[float]) -> None:
    """The control: constant, linear, tripling, falling and endless delays are not taken for it."""
    assert not doubling(wrong, wrong[0])
    assert doubling(SEED, SEED[0])
