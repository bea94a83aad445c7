"""Faults of an instance's own processes. PIDs of workers come from /proc only, from below the arbiter that was started here."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from tests.faults.trials.deployment import REAPED_AFTER, Instance
from tests.faults.trials.plan import Fault
from tests.support.processes import alive
from tests.support.waiting import until

RENEWED_LIMIT = 60.0  # seconds in which a worker that was killed has another in its place


def signal_worker(instance: Instance, fault: Fault, number: signal.Signals) -> int | None:
    """To one of them; its PID, None if there is none just now."""
    pids = instance.served.worker_pids()
    if not pids:
        return None
    pid = pids[int(fault.chance * len(pids))]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


def kill_worker(instance: Instance, fault: Fault) -> None:
    signal_worker(instance, fault, signal.SIGKILL)


def recycle_worker(instance: Instance, fault: Fault) -> None:
    """As gunicorn does itself after so many requests: it ends in order, and another one begins."""
    signal_worker(instance, fault, signal.SIGTERM)


def kill_workers(instance: Instance, fault: Fault) -> None:
    for pid in instance.served.worker_pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stop_worker(instance: Instance, fault: Fault) -> None:
    """It stands still for a moment, and goes on as if nothing had been."""
    pid = signal_worker(instance, fault, signal.SIGSTOP)
    time.sleep(2 * fault.lasts)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def reap_worker(instance: Instance, fault: Fault) -> None:
    """It stands still until gunicorn gives it up. The oldest one: one that has just begun gunicorn never gives up, as its
    first sign of life is compared with another clock."""
    pids = instance.served.worker_pids()[:1]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        until(
            lambda: not any(map(alive, pids)), limit=2 * REAPED_AFTER + 4, every=0.2, what="the end of a stopped worker"
        )
    except AssertionError:  # it was young all the same
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)


def kill_arbiter(instance: Instance, fault: Fault) -> None:
    """The workers are orphans for a moment. Somebody, as systemd would, starts it again."""
    orphans = instance.served.worker_pids()
    instance.served.kill_arbiter()
    time.sleep(fault.lasts)
    with contextlib.suppress(AssertionError):
        until(lambda: not any(map(alive, orphans)), limit=5, what="the end of the orphans")
    for pid in filter(alive, orphans):  # they hold the port
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    instance.start()


def reload(instance: Instance, fault: Fault) -> None:
    """SIGHUP: new workers, while the old ones finish what they do."""
    before = set(instance.served.worker_pids())
    os.kill(instance.served.pid, signal.SIGHUP)
    until(
        lambda: len(set(instance.served.worker_pids()) - before) >= len(before),
        limit=RENEWED_LIMIT,
        what="other workers",
    )
    time.sleep(fault.lasts)
