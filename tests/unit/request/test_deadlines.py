"""Every wait of a request spends from one deadline."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pymongo
import pytest
from flask import Flask, current_app, g, request
from hypothesis import given
from hypothesis import strategies as st
from pymongo import _csot

from prodfix import current_context, current_prodfix, in_request
from prodfix.request import deadlines
from prodfix.request.context import new_context, reset_context, set_context
from prodfix.request.deadlines import (
    VIEW,
    Enforced,
    backoff,
    database_remaining,
    database_share,
    remaining,
    retry_after,
)
from tests.support.waiting import Lasting


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
from prodfix.request.deadlines import Enforced
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
from prodfix.request.deadlines import ANSWERING, Enforced, shield
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
    return answer, round(time.monotonic() - begun, 3)

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
    *answers, nothing, answering = python(SHIELD).splitlines()
    assert [ast.literal_eval(answer) for answer in answers] == [
        ("Late", Lasting(0.05)),  # the control
        ("told", Lasting(0.2)),
        ("Late", Lasting(0.7)),
        ("Late", Lasting(0.5)),
        ("told", Lasting(0.2)),
        ("Outer", Lasting(0.7)),
        ("told", Lasting(0.4)),
    ]
    assert (nothing, answering) == ("and nothing to shield is nothing", "0.5")


@given(attempt=st.integers(1, 1000), base=st.floats(0.001, 10))
def test_backoff_doubles_up_to_its_longest_within_its_jitter(attempt: int, base: float) -> None:
    exact = min(base * 2.0 ** min(attempt - 1, 30), 16.0)
    assert backoff(attempt, base, jitter=0) == exact
    assert 0.9 * exact <= backoff(attempt, base) <= 1.1 * exact


def test_phones_do_not_all_come_back_in_the_same_second() -> None:
    waits = {retry_after() for _ in range(500)}
    assert waits == {2, 3, 4, 5, 6}
    assert len({backoff(1, 1.0) for _ in range(50)}) > 40


# -- greenlets and threads of a request -------------------------------------------------------------------------------------


def known() -> dict[str, Any]:
    """What a greenlet or thread knows of a request."""
    context = current_context()
    left, drivers = remaining(), _csot.remaining()
    return {
        "request": context.request_id if context else None,
        "left": left is not None and left > 0,
        "driver": drivers is not None and drivers > 0,
    }


def in_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(10)


@contextmanager
def served_request(seconds: float) -> Iterator[str]:
    context = new_context(endpoint="/", method="GET", ip="", headers={})
    token = set_context(context)
    try:
        with deadline(seconds), pymongo.timeout(database_share(seconds)):
            yield context.request_id
    finally:
        reset_context(token)


NOTHING_KNOWN = {"request": None, "left": False, "driver": False}


def test_a_thread_of_a_request_has_its_context_and_its_deadline() -> None:
    with served_request(10) as request_id:
        assert in_thread(known) == NOTHING_KNOWN, "the control: a thread begins with nothing"
        assert in_thread(in_request(known)) == {"request": request_id, "left": True, "driver": True}
        carried = in_request(known)
    assert in_thread(carried)["request"] == request_id, "it was made in the request"
    assert known() == NOTHING_KNOWN


def test_what_it_spends_from_is_the_same_deadline_and_no_new_one(clock: Clock) -> None:
    with deadline(10):
        carried = in_request(remaining)
        clock.now += 4
        assert in_thread(carried) == 6
        clock.now += 60
        assert in_thread(carried) == 0


def test_it_may_run_many_times_at_once_and_leaves_nothing_in_the_threads_of_a_pool() -> None:
    barrier = threading.Barrier(4)

    def meet(number: int) -> tuple[int, Any]:
        barrier.wait(10)
        return number, known()["request"]

    with ThreadPoolExecutor(4) as pool:
        with served_request(10) as request_id:
            assert sorted(pool.map(in_request(meet), range(4))) == [(number, request_id) for number in range(4)]
        assert list(pool.map(lambda _: known(), range(4))) == [NOTHING_KNOWN] * 4


def test_outside_of_a_request_it_is_just_the_work_with_its_name_arguments_and_errors() -> None:
    def add(first: int, *, second: int) -> int:
        """Adds."""
        if not first:
            raise KeyError
        return first + second

    carried = in_request(add)
    assert (carried.__name__, carried.__doc__, carried(1, second=2)) == ("add", "Adds.", 3)
    with pytest.raises(KeyError):
        in_thread(lambda: carried(0, second=1))


def test_flasks_own_are_there_too(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")

    @app.route("/<name>")
    def view(name: str) -> list[Any]:
        g.mine = name
        return in_thread(
            in_request(lambda: [request.path, current_app.name, g.mine, current_prodfix.settings is not None])
        )  # type: ignore[no-any-return]

    assert adopt(app, deadline=True).test_client().get("/a").get_json() == ["/a", "host", "a", True]


def test_what_outlives_a_request_has_its_deadline_still_and_what_is_not_of_it_has_none(
    adopt: Callable[..., Flask],
) -> None:
    app, carried = Flask("host"), list[Callable[[], Any]]()

    @app.get("/")
    def view() -> str:
        carried.extend([in_request(remaining), remaining])
        return str(0 < (remaining() or 0) <= 30)

    adopt(app, deadline=True)
    for _ in range(2):
        assert app.test_client().get("/").text == "True"
        assert remaining() is None, "it is over"
    left, nothing = (in_thread(work) for work in carried[:2])
    assert 0 < left <= 30
    assert nothing is None, "the control"


def test_a_request_within_other_work_has_its_own_deadline_and_leaves_that_works(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")

    @app.get("/")
    @deadlines.deadline(5)
    def inner() -> str:
        return str(0 < (remaining() or 0) <= 5)

    adopt(app, deadline=True)
    with deadline(100):
        assert app.test_client().get("/").text == "True"
        assert (remaining() or 0) > 90


CARRIED = """
from gevent import monkey; monkey.patch_all()
import time, threading, gevent, pymongo
from concurrent.futures import ThreadPoolExecutor
from gevent.pool import Pool
from gevent.threadpool import ThreadPool
from prodfix import in_request
from prodfix.request.deadlines import ANSWERING, Enforced, remaining, shield, start, stop
from prodfix.errors import DeadlineExceeded

gevent.hub.Hub.handle_error = lambda *facts: None  # it prints what a greenlet ends with, although somebody waits for it

def outcome(wait):
    begun = time.monotonic()
    try: got = wait()
    except BaseException as error: got = type(error).__name__
    return got, round(time.monotonic() - begun, 3)

def work(seconds):
    try: gevent.sleep(seconds)
    except Exception: return "swallowed"
    return "done"

def spawned(work, *arguments):
    return gevent.spawn(work, *arguments).get()

def pooled(work, *arguments):
    return Pool(2).spawn(work, *arguments).get()

def threaded(work, *arguments):
    with ThreadPoolExecutor(2) as pool: return pool.submit(work, *arguments).result()

def native(work, *arguments):
    pool = ThreadPool(1)
    try: return pool.spawn(work, *arguments).get()
    finally: pool.kill()

for way in (spawned, pooled, threaded, native):
    token = start(0.3)
    print(way.__name__, (outcome(lambda: way(in_request(work), 3600)), outcome(lambda: way(work, 0.4))))
    stop(token)
    token = start(5)
    print((outcome(lambda: way(in_request(work), 0.1)), remaining() > 1))
    stop(token)

class Late(Exception): pass

def shielding():
    with shield(): gevent.sleep(0.3)
    return "told"

def beside():
    with Enforced(0.1, Late):
        other = gevent.spawn(in_request(shielding))
        gevent.sleep(3600)

token = start(5)
print(("a shield of another greenlet", outcome(beside)))
stop(token)
"""


def test_under_gevent_the_deadline_ends_what_a_greenlet_or_thread_of_the_request_waits_for(
    python: Callable[..., str],
) -> None:
    *lines, last = python(CARRIED).splitlines()
    for number, way in enumerate(("spawned", "pooled", "threaded", "native")):
        # The control: without it nothing ends the wait.
        ended, control = ast.literal_eval(lines[2 * number].removeprefix(f"{way} "))
        assert (ended, control) == (("DeadlineExceeded", Lasting(0.3)), ("done", Lasting(0.4)))
        assert ast.literal_eval(lines[2 * number + 1]) == (("done", Lasting(0.1)), True)
    assert ast.literal_eval(last) == ("a shield of another greenlet", ("Late", Lasting(0.1)))
