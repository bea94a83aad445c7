"""Each kind of fault, produced."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

from tests.faults.trials import machine, network, processes
from tests.faults.trials.deployment import Deployment, Instance
from tests.faults.trials.network import OUTAGE
from tests.faults.trials.plan import KINDS, Fault

_JUMPS = (-86_400, -3600, -61, 61, 3600, 86_400)  # seconds; a write that waits may be three days old

AtInstance = Callable[[Instance, Fault], None]
Exposed = frozenset[str]

_AT_INSTANCE: dict[str, AtInstance] = {
    "reply lost": network.lose_replies,
    "replies of the drain lost": network.lose_replies_of_the_drain,
    "reset in a reply": partial(network.with_mode, mode="cut"),
    "end in a reply": partial(network.with_mode, mode="end"),
    "black hole": partial(network.with_mode, mode="blackhole"),
    "half open": partial(network.with_mode, mode="half_open"),
    "corrupt replies": network.corrupt_replies,
    "latency": network.delay,
    "connections refused": partial(network.with_mode, mode="refuse"),
    "worker killed": processes.kill_worker,
    "all workers killed": processes.kill_workers,
    "worker stopped": processes.stop_worker,
    "worker reaped": processes.reap_worker,
    "worker recycled": processes.recycle_worker,
    "arbiter killed": processes.kill_arbiter,
    "reload": processes.reload,
}


def produce(deployment: Deployment, fault: Fault) -> tuple[str, Exposed]:
    """Produce it and end it. What was done beyond what the fault says, and IDs of writes that it may have cost."""
    instance = deployment.instances[fault.instance]
    if fault.kind in _AT_INSTANCE:
        _AT_INSTANCE[fault.kind](instance, fault)
    elif fault.kind == "page damaged":
        return _damage_page(instance, fault)
    else:
        _OF_ALL[fault.kind](deployment, fault)
    return "", frozenset()


def _kill_database_and_worker(deployment: Deployment, fault: Fault) -> None:
    deployment.server.kill()
    time.sleep(fault.lasts / 2)
    processes.kill_worker(deployment.instances[fault.instance], fault)
    time.sleep(fault.lasts / 2)
    deployment.server.start()


def _jump(deployment: Deployment, fault: Fault) -> None:
    """There and back, for all instances, while writes wait."""
    assert deployment.clock is not None
    deployment.clock.shift(_JUMPS[int(fault.chance * len(_JUMPS))])
    deployment.instances[fault.instance].proxy.set("refuse")
    time.sleep(fault.lasts)
    deployment.instances[fault.instance].proxy.set("pass")
    time.sleep(OUTAGE)
    deployment.clock.shift(0)


def _fill_disk(deployment: Deployment, fault: Fault) -> None:
    """In an outage: what waits already stays, and what comes is refused. The database is back before there is room."""
    instance = deployment.instances[fault.instance]
    assert instance.disk is not None
    instance.proxy.set("refuse")
    time.sleep(OUTAGE)
    instance.disk.fill()
    time.sleep(fault.lasts)
    instance.proxy.set("pass")
    time.sleep(fault.lasts)
    instance.disk.free()


def _damage_page(instance: Instance, fault: Fault) -> tuple[str, Exposed]:
    """Writes wait, all processes are killed, a page rots, and they are started again."""
    instance.proxy.set("refuse")
    time.sleep(OUTAGE + fault.lasts)
    instance.served.kill()
    told, exposed = machine.damage(instance.journal, random.Random(fault.chance))
    instance.proxy.set("pass")
    instance.start()
    return told, exposed


_OF_ALL: dict[str, Callable[[Deployment, Fault], None]] = {
    "database killed": network.kill_database,
    "database stopped": network.stop_database,
    "database and worker killed": _kill_database_and_worker,
    "clock jump": _jump,
    "disk full": _fill_disk,
}
assert set(_AT_INSTANCE) | set(_OF_ALL) | {"page damaged"} == set(KINDS)
