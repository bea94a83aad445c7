"""A limit that ends while its greenlet has, or takes, a lock of a condition or of the driver's: it is ended right after it.

Each case has its control: the same with gevent's own ``Timeout``, which does not look.
"""

from __future__ import annotations

from collections.abc import Callable

PATCHED = """
from gevent import monkey; monkey.patch_all()
import sys, threading, time, types, gevent, gevent.event
from prodfix.process import limits

def limited(seconds):
    if sys.argv[-1] == "control":
        return gevent.Timeout.start_new(seconds)
    return limits.start_limit(seconds)

def within(seconds, block):
    limit = limited(seconds)
    try:
        return block()
    except gevent.Timeout as error:
        return "cut" if error is limit or error is limit.raised else error
    except RuntimeError as error:
        return str(error)
    finally:
        limit.close()

condition = threading.Condition(threading.Lock())
waiting, done = gevent.event.Event(), []

def waits(seconds=60):
    with condition:
        waiting.set()
        condition.wait(seconds)
        done.append("has it")
    gevent.sleep(60)
"""

TAKES_AGAIN = """
one = gevent.spawn(within, 0.1, waits)
waiting.wait()
try:
    with condition:
        condition.notify()
        gevent.sleep(0.3)  # its limit ends while it waits for the lock
    gevent.sleep(0.1)
except RuntimeError as error:
    done.append(str(error))
print(one.get(), done, condition._lock.locked())
"""

BOTH_DUE = """
def other(then):
    within(0.1, lambda: gevent.sleep(60))
    then()  # when the limits of both have been found over, and this one alone has been ended

def both(block, then):
    two = gevent.spawn(other, then)
    one = gevent.spawn(within, 0.1, block)
    gevent.sleep(0.01)
    end = time.monotonic() + 0.15
    while time.monotonic() < end: pass
    one.join()
    return one
"""

REENTRANT = """
condition = threading.Condition()  # with an RLock
one = gevent.spawn(within, 0.1, lambda: waits(0.05))
waiting.wait()
with condition:
    gevent.sleep(0.3)  # its wait is over meanwhile, and then its limit
print(one.get(), done)
"""

NOTIFIED = """
def notify():  # as Condition.notify does it, but for its look at the lock, which yields
    with condition:
        condition._waiters.popleft().release()

print(both(waits, notify).value, done)
"""

LOOKS = """
def notifies():
    gevent.get_hub().switch()
    with condition:
        condition.notify()
        done.append("counted")
    gevent.sleep(60)

def go_on():
    one.switch()

def block():
    global one
    one = gevent.getcurrent()
    return notifies()

print(both(block, go_on).value, done)
"""

DRIVER = """
module = types.ModuleType(sys.argv[1])
exec('''
def give_back(lock, counts):
    with lock:
        counts.append("there")
    with lock:
        counts.append("free")
''', module.__dict__)
lock, counts = threading.Lock(), []

def taken():
    with lock:
        gevent.sleep(0.2)

holder = gevent.spawn(taken)
gevent.sleep(0)

def block():
    module.give_back(lock, counts)
    gevent.sleep(60)

begun = time.monotonic()
print(within(0.1, block), counts, 0.1 < time.monotonic() - begun < 1)
"""

STUCK = """
limits.LATEST = 0.3
module = types.ModuleType("pymongo.pool")
exec("def take(lock):\\n with lock: pass", module.__dict__)
lock = threading.Lock()
lock.acquire()
begun = time.monotonic()
print(within(0.1, lambda: module.take(lock)), round(time.monotonic() - begun, 1))
"""

WAITS = """
module = types.ModuleType("pymongo.pool")
exec("def wait(condition, sleep):\\n with condition:\\n  condition.wait(60) if condition else sleep(60)", module.__dict__)
begun = time.monotonic()
print(within(0.1, lambda: module.wait(condition, gevent.sleep)), round(time.monotonic() - begun, 1))
exec("def sleeps(sleep): sleep(60)", module.__dict__)
begun = time.monotonic()
print(within(0.1, lambda: module.sleeps(gevent.sleep)), round(time.monotonic() - begun, 1))
"""


def printed(python: Callable[..., str], code: str, *arguments: str) -> list[str]:
    return python(PATCHED + code, *arguments).splitlines()


def test_a_lock_that_a_condition_takes_again_is_taken(python: Callable[..., str]) -> None:
    assert printed(python, TAKES_AGAIN) == ["cut ['has it'] False"]
    assert printed(python, TAKES_AGAIN, "control") == ["cut ['Semaphore released too many times'] False"]


def test_a_lock_that_one_may_take_twice_is_taken_again_too(python: Callable[..., str]) -> None:
    assert printed(python, REENTRANT) == ["cut ['has it']"]
    assert printed(python, REENTRANT, "control") == ["cannot release un-acquired lock []"]


def test_who_has_been_notified_runs(python: Callable[..., str]) -> None:
    assert printed(python, BOTH_DUE + NOTIFIED) == ["cut ['has it']"]
    assert printed(python, BOTH_DUE + NOTIFIED, "control") == ["cut []"]


def test_who_notifies_has_not_done_so_by_half(python: Callable[..., str]) -> None:
    assert printed(python, BOTH_DUE + LOOKS) == ["cut ['counted']"]
    assert printed(python, BOTH_DUE + LOOKS, "control") == ["cut []"]


def test_the_driver_counts_to_the_end_what_it_counts_under_its_locks(python: Callable[..., str]) -> None:
    assert printed(python, DRIVER, "pymongo.synchronous.pool") == ["cut ['there', 'free'] True"]
    assert printed(python, DRIVER, "shop.stock") == ["cut [] True"], "a lock of the application's is let go in time"


def test_what_else_the_driver_waits_for_is_ended_in_time(python: Callable[..., str]) -> None:
    assert printed(python, WAITS) == ["cut 0.1", "cut 0.1"]


def test_a_lock_that_never_comes_is_not_waited_for_for_ever(python: Callable[..., str]) -> None:
    assert printed(python, STUCK) == ["cut 0.4"]
