"""Which process of ``pytest -n`` tests what, and what gives way to what.

A module is tested by one process, so that its fixtures are made once. The first process begins with the faults, whose limits
are the tightest, so that no two of them share the machine; the second with what else is served; all others with what needs no
served application, and give way. Who is ready helps the others, and the slowest modules come first.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

FAULTS, SERVED, REST = "faults", "served", "the rest"
_FOLDERS = {"tests/faults/": FAULTS, "tests/browser/": SERVED, "tests/integration/": SERVED}
_ORDERS = [(FAULTS, SERVED, REST), (SERVED, FAULTS, REST), (REST, SERVED, FAULTS)]
"""What the first process looks for, the second, and all others."""

# The faults that are judged by the clock, and then of each kind what takes longest: at the end nobody waits for one of them.
FIRST = (
    *("test_health", "test_outage", "test_deadlines", "test_load", "test_deferred", "test_trials", "test_idempotency"),
    *("test_doctor", "test_openapi", "test_page", "test_development"),
    *("test_property_14_sanitization", "test_property_11_diagnostics_authentication", "test_property_09_dual_logging"),
    *(
        "test_request_outcomes",
        "test_redactor",
        "test_alert_delivery",
        "test_alerts",
        "test_under_gevent",
        "test_logs",
        "test_drainer",
    ),
)
GIVING_WAY = 5  # added to the niceness: it still gets a quarter of the machine


def kind_of(nodeid: str) -> str:
    return next((kind for folder, kind in _FOLDERS.items() if nodeid.startswith(folder)), REST)


def rank_of(module: str) -> int:
    name = module.rpartition("/")[2].removesuffix(".py")
    return FIRST.index(name) if name in FIRST else len(FIRST)


def chosen(number: int, modules: list[str]) -> str:
    """The next one of ``modules`` for the process of this number."""
    order = _ORDERS[min(number, len(_ORDERS) - 1)]
    return min(modules, key=lambda module: (order.index(kind_of(module)), rank_of(module)))


class Scheduler(LoadScopeScheduling):
    """By modules. With a group's mark in its place xdist 3.8 does not group anything under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]

    def _assign_work_unit(self, node: Any) -> None:
        self.workqueue.move_to_end(chosen(number_of(node.gateway.id), list(self.workqueue)), last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        # A process knows the test that it runs and the next one; a module more would wait for it while others are idle.
        if not self.workqueue or self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)


def number_of(worker: str) -> int:
    return int(worker.removeprefix("gw"))


class Priority:
    """What needs no served application gives way to what does, in each process for itself."""

    def __init__(self) -> None:
        self._given = os.nice(0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        wanted = self._given + (GIVING_WAY if kind_of(item.nodeid) == REST else 0)
        if os.nice(0) != wanted:
            with contextlib.suppress(PermissionError):  # only root may come back; by then nobody else is left
                os.setpriority(os.PRIO_PROCESS, 0, wanted)
