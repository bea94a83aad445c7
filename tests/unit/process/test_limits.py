"""Limits of what greenlets wait for: one timer for all of them, and as exact as one for each."""

from __future__ import annotations

import ast
from collections.abc import Callable

from prodfix.process.limits import start_limit


def test_there_is_no_limit_without_gevent() -> None:
    assert start_limit(0.0) is None


PATCHED = """
from gevent import monkey; monkey.patch_all()
import time, gevent
from gevent.threadpool import ThreadPool
from prodfix.process.limits import start_limit

def lasting(seconds, wait=60.0):
    begun, limit = time.monotonic(), start_limit(seconds)
    try:
        gevent.sleep(wait)
        return "done", round(time.monotonic() - begun, 1)
    except gevent.Timeout as error:
        return error is limit.raised, round(time.monotonic() - begun, 1)
    finally:
        limit.close()
"""

CROWD = """
seconds = [0.1, 0.5, 0.3, 0.1, 0.2, 0.4]  # in no order, and two at once
greenlets = [gevent.spawn(lasting, each) for each in seconds]
gevent.joinall(greenlets)
print([each.value for each in greenlets] == [(True, each) for each in seconds])
"""

EARLY = """
first = gevent.spawn(lasting, 60, 0.1)  # whose timer runs already when a shorter limit comes, and on when it is over
gevent.sleep(0.01)
print(lasting(0.3), first.value)
print(lasting(0.2, 0.1), lasting(0.2))
"""

FALSE = """
def twice():
    limit = start_limit(0.1)
    limit.close()
    gevent.sleep(0.3)
    return "nothing came after it was closed"
print(twice())
"""

MANY = """
opened = [start_limit(3600) for _ in range(100)]
there = gevent.get_hub().prodfix_limits
print(len(there.running), there.timer.ref)
for one in opened: one.close()
print(len(there.running), there.timer.ref)
begun = time.monotonic()
gevent.get_hub().join()  # nobody waits for a timer of blocks that are over
print(time.monotonic() - begun < 1)
"""

THREADS = """
pool = ThreadPool(2)
print(pool.spawn(lasting, 0.2).get(), lasting(0.1))
pool.kill()
"""

WITHOUT = """
from gevent.event import Event
event = Event()
limit = start_limit(0.2)
try: event.wait()  # by nothing but the limit
except gevent.Timeout as error: print(error is limit.raised)
"""


def answers(python: Callable[..., str], code: str) -> list[str]:
    return python(PATCHED + code).split("\n")[:-1]


def test_each_of_many_is_ended_when_its_own_time_is_over(python: Callable[..., str]) -> None:
    assert answers(python, CROWD) == ["True"]


def test_a_shorter_one_that_comes_later_is_not_late_and_a_longer_one_not_early(python: Callable[..., str]) -> None:
    first, second = answers(python, EARLY)
    assert ast.literal_eval(f"[{first.replace(') (', '), (')}]") == [(True, 0.3), ("done", 0.1)]
    assert ast.literal_eval(f"[{second.replace(') (', '), (')}]") == [("done", 0.1), (True, 0.2)]


def test_a_block_that_is_over_is_not_ended(python: Callable[..., str]) -> None:
    assert answers(python, FALSE) == ["nothing came after it was closed"]


def test_nothing_is_kept_of_blocks_that_are_over_and_nobody_waits_for_them(python: Callable[..., str]) -> None:
    assert answers(python, MANY) == ["100 True", "0 False", "True"]


def test_a_native_thread_has_limits_of_its_own(python: Callable[..., str]) -> None:
    assert answers(python, THREADS) == ["(True, 0.2) (True, 0.1)"]


def test_a_greenlet_that_waits_for_nothing_else_is_ended(python: Callable[..., str]) -> None:
    assert answers(python, WITHOUT) == ["True"]
