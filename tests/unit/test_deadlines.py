"""Every wait of a request spends from one deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix import deadlines
from prodfix.deadlines import VIEW, Enforced, backoff, database_remaining, database_share, remaining, retry_after


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(deadlines, "time", clock)
    return clock


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    token = deadlines.start(seconds)
    try:
        yield
    finally:
        deadlines.stop(token)


def test_what_is_left_shrinks_and_is_never_negative(clock: Clock) -> None:
    assert remaining() is None
    with deadline(10):
        assert remaining() == 10
        clock.now += 4
        assert remaining() == 6
        clock.now += 60
        assert remaining() == 0
    assert remaining() is None


def test_a_deadline_within_another_ends_with_its_own_block(clock: Clock) -> None:
    with deadline(10):
        with deadline(2):
            assert remaining() == 2
        assert remaining() == 10


def test_a_deadline_is_not_known_in_another_thread(clock: Clock) -> None:
    seen: list[Any] = []
    with deadline(10):
        thread = threading.Thread(target=lambda: seen.append(remaining()))
        thread.start()
        thread.join()
    assert seen == [None]


@given(seconds=st.floats(0.001, 3600))
def test_the_database_never_gets_the_share_of_the_journal(seconds: float) -> None:
    share = database_share(seconds)
    assert seconds / 2 <= share < seconds
    assert share == pytest.approx(seconds - 0.5) or seconds <= 1


def test_the_databases_time_is_over_before_the_requests(clock: Clock) -> None:
    assert database_remaining() is None
    with deadline(10):
        assert database_remaining() == 9.5
        clock.now += 9.7
        assert (database_remaining(), remaining()) == (0, pytest.approx(0.3))
    with deadline(0.4):
        assert database_remaining() == pytest.approx(0.2)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), len])
def test_what_is_no_deadline_is_refused_where_it_is_written(seconds: Any) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        deadlines.deadline(seconds)


@pytest.mark.parametrize("seconds", [None, 0.5, 30])
def test_a_view_stays_itself(seconds: float | None) -> None:
    def view() -> None: ...

    assert deadlines.deadline(seconds)(view) is view
    assert getattr(view, VIEW) == seconds


class Late(Exception):
    """The error of the test's deadline."""


@pytest.mark.parametrize("seconds", [None, 3600.0])
def test_without_gevent_nothing_is_interrupted_and_every_error_is_its_own(seconds: float | None) -> None:
    with pytest.raises(KeyError), Enforced(seconds, Late):
        raise KeyError


GEVENT = """
from gevent import monkey; monkey.patch_all()
import time, gevent
from prodfix.deadlines import Enforced
class Late(Exception): pass

def swallowed():
    for _ in range(100):
        try: time.sleep(3600)
        except Exception: pass

def outcome(seconds, work):
    try:
        with Enforced(seconds, Late): return work()
    except BaseException as error: return type(error).__name__, type(error.__cause__).__name__

def foreign():
    with gevent.Timeout(0.001): gevent.sleep(3600)

def nested():
    with Enforced(3600, KeyError): gevent.sleep(3600)

def naive():
    try: gevent.sleep(3600)
    except Late: return "naively swallowed"

print(outcome(0.01, swallowed))
print(outcome(3600, foreign))
print(outcome(0.01, nested))
print(outcome(3600, lambda: "done"))
with gevent.Timeout(0.01, Late): print(naive())
gevent.sleep(0.03)
"""


def test_under_gevent_a_deadline_ends_whatever_waits_and_only_its_own(python: Callable[..., str]) -> None:
    assert python(GEVENT).splitlines() == [
        "('Late', 'Timeout')",
        "('Timeout', 'NoneType')",
        "('Late', 'Timeout')",
        "done",
        "naively swallowed",
    ]


SHIELD = """
from gevent import monkey; monkey.patch_all()
import time, gevent
from prodfix.deadlines import ANSWERING, Enforced, shield
class Late(Exception): pass
class Outer(Exception): pass

def late(work, seconds=0.05, outer=3600):
    begun = time.monotonic()
    try:
        with Enforced(outer, Outer):
            with Enforced(seconds, Late):
                answer = work()
    except (Late, Outer) as error:
        answer = type(error).__name__
    return answer, round(time.monotonic() - begun, 1)

def put(): gevent.sleep(0.2)

def shielded():
    with shield(): put()
    return "told"

def waits_on():
    with shield(): put()
    gevent.sleep(3600)

def fails():
    with shield(): raise KeyError

def twice():
    with shield():
        with shield(): put()
        put()
    return "told"

def refused():
    try: fails()
    except KeyError: gevent.sleep(3600)

print(late(put))
print(late(shielded))
print(late(waits_on))
print(late(refused))
print(late(shielded, 3600, 0.05))
print(late(waits_on, 3600, 0.05))
print(late(twice))
with shield(): print("and nothing to shield is nothing")
print(ANSWERING)
"""


def test_what_is_shielded_is_not_cut_and_what_follows_has_time_to_answer(python: Callable[..., str]) -> None:
    assert python(SHIELD).splitlines() == [
        "('Late', 0.1)",  # the control
        "('told', 0.2)",
        "('Late', 0.7)",
        "('Late', 0.5)",
        "('told', 0.2)",
        "('Outer', 0.7)",
        "('told', 0.4)",
        "and nothing to shield is nothing",
        "0.5",
    ]


@given(attempt=st.integers(1, 1000), base=st.floats(0.001, 10))
def test_backoff_doubles_up_to_its_longest_within_its_jitter(attempt: int, base: float) -> None:
    exact = min(base * 2.0 ** min(attempt - 1, 30), 16.0)
    assert backoff(attempt, base, jitter=0) == exact
    assert 0.9 * exact <= backoff(attempt, base) <= 1.1 * exact


def test_phones_do_not_all_come_back_in_the_same_second() -> None:
    waits = {retry_after() for _ in range(500)}
    assert waits == {2, 3, 4, 5, 6}
    assert len({backoff(1, 1.0) for _ in range(50)}) > 40
