"""Faults between an application and its database, and of the database itself."""

from __future__ import annotations

import time

from tests.faults.trials.deployment import Deployment, Instance
from tests.faults.trials.plan import Fault
from tests.support.proxy import Mode

OUTAGE = 1.0  # seconds in which writes come to wait on a disk
MOST_LOST = 5  # replies
MOST_DELAY = 0.3  # seconds


def lose_replies(instance: Instance, fault: Fault) -> None:
    """The command is applied, and its answer does not arrive."""
    instance.proxy.lose_reply_of(fault.command, 1 + int(fault.chance * MOST_LOST))
    time.sleep(fault.lasts)
    instance.proxy.lose_reply_of("", 0)


def lose_replies_of_the_drain(instance: Instance, fault: Fault) -> None:
    """What has waited through an outage is applied, and whoever applies it is not told."""
    instance.proxy.set("refuse")
    time.sleep(OUTAGE + fault.lasts)
    command = fault.command if fault.command in ("insert", "update") else "update"
    instance.proxy.lose_reply_of(command, 1 + int(fault.chance * MOST_LOST))
    instance.proxy.set("pass")
    time.sleep(OUTAGE)
    instance.proxy.lose_reply_of("", 0)


def corrupt_replies(instance: Instance, fault: Fault) -> None:
    """Of one command, or of all."""
    if fault.chance < 0.5:
        instance.proxy.corrupt_reply_of(
            fault.command, 1 + int(2 * fault.chance * MOST_LOST), kept=16 + 5 * (fault.number % 2)
        )
        time.sleep(fault.lasts)
        instance.proxy.corrupt_reply_of("", 0)
    else:
        with_mode(instance, fault, "corrupt")


def with_mode(instance: Instance, fault: Fault, mode: Mode) -> None:
    instance.proxy.cut_after = int(fault.chance * 60)
    instance.proxy.set(mode)
    time.sleep(fault.lasts)
    instance.proxy.set("pass")


def delay(instance: Instance, fault: Fault) -> None:
    instance.proxy.delay = fault.chance * MOST_DELAY
    time.sleep(fault.lasts)
    instance.proxy.delay = 0.0


def kill_database(deployment: Deployment, fault: Fault) -> None:
    deployment.server.kill()
    time.sleep(fault.lasts)
    deployment.server.start()


def stop_database(deployment: Deployment, fault: Fault) -> None:
    deployment.server.stop_signal()
    time.sleep(2 * fault.lasts)
    deployment.server.resume()
