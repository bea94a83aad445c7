"""The driver's own threads: in our clients they sleep until they are due or woken, and do not wake up in vain."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient

from prodfix.driver.private_names import PrivateName, found, sets, takes

if TYPE_CHECKING:
    from pymongo.synchronous.monitor import Monitor
else:
    Monitor = found("pymongo.synchronous.monitor", "Monitor") or type("Monitor", (), {})

_PeriodicExecutor = found("pymongo.periodic_executor", "PeriodicExecutor") or found(
    "pymongo.synchronous.periodic_executor",
    "PeriodicExecutor",  # until 4.14
)
_RESTS = takes(_PeriodicExecutor, "wake") and sets(
    _PeriodicExecutor, "_event", "_interval", "_min_interval", "_skip_sleep", "_stopped", "_target"
)
_BEGINS = takes(MongoClient, "_init_background", "old_pid")
_TAKES_MONITOR = sets(MongoClient, "_monitor_class") and sets(Monitor, "_executor")

_REST_LOST = "the rest of an idle worker: the driver's threads look twice a second whether there is something to do"

THREAD_NAMES = (
    PrivateName("PeriodicExecutor._skip_sleep", _REST_LOST, _RESTS),
    PrivateName("MongoClient._init_background", _REST_LOST, _BEGINS),
    PrivateName("MongoClient(_monitor_class)", _REST_LOST, _TAKES_MONITOR),
)


def _rest(executor: Any, interval: float | None = None) -> None:
    """Let a periodic thread of the driver's sleep until it is due or woken, in one go.

    By itself it wakes up every half second and looks for both: with a dozen of them, half of what an idle worker uses. How
    often it works stays as it is, unless ``interval`` (seconds) is given; once it is woken, it does so at once.

    It waits for a bare lock. A ``threading.Event`` has one within, and :meth:`close` is also called by the garbage collector, in
    whatever thread that runs: perhaps in the one that holds it. To release a lock never waits.
    """
    if not _RESTS or executor is None:
        return
    called, known = threading.Lock(), weakref.ref(executor)
    called.acquire()  # locked: nobody has called
    if interval is not None:
        executor.update_interval(interval)
    executor._target = partial(_turn, executor._target, known, called)
    for name in ("wake", "close"):
        setattr(executor, name, partial(_call, getattr(type(executor), name), known, called))


def _turn(work: Callable[[], bool], known: Callable[[], Any], called: Any) -> bool:
    """``work``, and the pause after it."""
    goes_on, executor = work(), known()
    if goes_on and executor is not None and not executor._skip_sleep:
        _wait_until_due(executor, called)
        executor._skip_sleep = True  # that was it
    return goes_on


def _wait_until_due(executor: Any, called: Any) -> None:
    begun = now = time.monotonic()
    soonest, due = begun + min(executor._min_interval, executor._interval), begun + executor._interval
    while not executor._stopped and now < (soonest if executor._event else due):
        # Whoever calls before ``soonest`` has the lock released already, and the rest is waited for.
        called.acquire(timeout=(soonest if executor._event else due) - now)
        now = time.monotonic()


def _call(work: Callable[..., Any], known: Callable[[], Any], called: Any, dummy: object = None) -> None:
    """``work`` of the executor; then ``called`` is released. ``dummy``: see ``PeriodicExecutor.close``."""
    executor = known()
    if executor is not None:
        work(executor)
    try:  # noqa: SIM105 - at the interpreter's end the collector still calls this, without the module's names
        called.release()
    except RuntimeError:  # it was so already
        pass


class RestingMonitor(Monitor):
    """A monitor of a server whose threads sleep between two heartbeats."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        _rest(self._executor)
        _rest(getattr(getattr(self, "_rtt_monitor", None), "_executor", None))


class RestingClient(MongoClient[Any]):
    """A client whose threads do not wake up in vain. ``tidying``: seconds between two looks for cursors that were left open and
    for connections that the pool should have or not, if not the driver's own (1)."""

    def __init__(self, *arguments: Any, tidying: float | None = None, **options: Any) -> None:
        self._prodfix_tidying = tidying
        if _TAKES_MONITOR:
            options["_monitor_class"] = RestingMonitor
        super().__init__(*arguments, **options)

    if _BEGINS:

        def _init_background(self, old_pid: int | None = None) -> None:
            super()._init_background(old_pid)
            _rest(getattr(self, "_kill_cursors_executor", None), self._prodfix_tidying)
            topology = getattr(self, "_topology", None)
            _rest(getattr(topology, "_events_executor", None))
            _rest(getattr(getattr(topology, "_srv_monitor", None), "_executor", None))
