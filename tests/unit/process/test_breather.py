"""A long computation lets others go on, and not so often that it takes longer for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prodfix.process.breather import EVERY, HELD, INSTANT, Breather, give_way


def test_others_go_on_once_in_a_while() -> None:
    now, slept = [0.0], []
    breather = Breather(clock=lambda: now[0], sleep=slept.append)
    for step in (0.0, EVERY / 2, EVERY / 2, EVERY / 2, EVERY / 4, EVERY):
        now[0] += step
        breather()
    assert slept == [INSTANT, 0] * 2


def test_who_has_held_the_hub_gives_way_and_not_for_ever() -> None:
    held, slept = [HELD], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        held[0] -= HELD / 3

    give_way(held=lambda: held[0], sleep=sleep)
    assert slept == [INSTANT, 0], "and nobody else has held it meanwhile"
    give_way(held=lambda: held[0], sleep=sleep)
    assert slept == [INSTANT, 0], "there is no need to"
    give_way(held=lambda: HELD, sleep=slept.append, tries=3)
    assert slept == [INSTANT, 0] * 4, "while everybody is busy this goes on all the same"


WAITS = """
from gevent import monkey; monkey.patch_all()
import gevent, os, socket, time
from prodfix.process import breather, loops
from prodfix.process.native import hub_held
near, far = socket.socketpair()
order = []
def request():
    while far.recv(1): order.append("request")
gevent.spawn(request); gevent.sleep(0.01)
def hold(name):
    order.append(name); hub_held()
    end = time.monotonic() + 0.002
    while time.monotonic() < end: pass
    os.write(near.fileno(), b"x")  # comes meanwhile
"""


@pytest.mark.parametrize(
    ("way", "order"), [("breather.give_way()", "work request on"), ("gevent.sleep(0); gevent.sleep(0)", "work on")]
)
def test_under_gevent_a_request_that_came_meanwhile_has_its_turn(
    python: Callable[..., str], way: str, order: str
) -> None:
    """The control: who yields with nothing else is called again before the hub has looked."""
    code = f"{WAITS}gevent.sleep(0.01); hold('work'); {way}; order.append('on'); print(*order)"
    assert python(code).strip() == order


LANES = """
loop = {name: loops.Loop(name, lambda name=name: hold(name), 99.0, print, delay=99.0) for name in ("first", "second")}
for lane in loops.lanes([loop.values()]): lane.start()
gevent.sleep(0.01)
for one in loop.values(): one.wake()
gevent.sleep(0.3); print(*order)
"""


def test_under_gevent_requests_have_their_turn_between_loops_that_wake_together(python: Callable[..., str]) -> None:
    assert python(WAITS + LANES).strip() == "first request second request"
    control = "loops.give_way = lambda: None\n"
    assert python(WAITS + control + LANES).strip() == "first second request request"


def test_a_native_thread_has_no_hub_and_gets_none(python: Callable[..., str]) -> None:
    code = """
from prodfix.process.native import Pool
from gevent._hub_local import get_hub_if_exists
sleepy = lambda: (hub_held(), get_hub_if_exists())
print(*Pool(1).run(sleepy), hub_held() < 1)
"""
    held, hub, here = python(WAITS + code).split()
    assert (float(held), here) == (0.0, "True")
    assert hub == "None"
