"""Connections of an application's clients, counted from their pools' own events."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

from pymongo import monitoring

from prodfix.process.current import current
from prodfix.process.per_process import in_each_process

Counts = list[tuple[Any, dict[str, int]]]
"""``total``, ``out``, ``waiting`` and ``capacity`` of pools, each with its server's address."""


def summed(pools: Counts) -> dict[str, int]:
    """The sums over some pools."""
    return {name: sum(counts[name] for _, counts in pools) for name in ("total", "out", "waiting", "capacity")}


class PoolCounter(monitoring.ConnectionPoolListener):
    """Connections of the clients that have it as a listener, counted from their pools' events, per server.

    For clients of a host's: of our own the numbers are read where they are (:func:`prodfix.driver.pool_numbers.pool_counts`),
    and no event is made. PyMongo has no public number for them. The sums are those of the CMAP specification's events.
    """

    def __init__(self) -> None:
        in_each_process(self._begin)

    def _begin(self) -> None:
        """A fork inherits its parent's counts and no connection."""
        self._lock = threading.Lock()
        self._servers: dict[Any, dict[str, int]] = {}
        # Who waits, and for which server's. Of a wait that a deadline cuts the driver tells no end: whoever was cut waits no more
        # once it waits anew, or is gone.
        self._waits: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        # Of a server's pools that are open: one for each client that has us.
        self._capacities: dict[Any, list[int]] = {}

    def _add(self, address: Any, **changes: int) -> None:
        with self._lock:
            counts = self._servers.get(address)
            if counts is not None:  # a removed server's connections may still come back: they count no more
                for name, change in changes.items():
                    counts[name] += change

    def totals(self) -> dict[str, int]:
        """The sums over all servers: ``total``, ``out``, ``waiting`` and ``capacity``."""
        return summed(self.servers())

    def servers(self) -> Counts:
        """The counts of each server, by its address."""
        with self._lock:
            waits = Counter(self._waits.values())
            return [(address, counts | {"waiting": waits[address]}) for address, counts in self._servers.items()]

    def pool_created(self, event: monitoring.PoolCreatedEvent) -> None:
        capacity = int(event.options.get("maxPoolSize") or 100)
        with self._lock:
            counts = self._servers.setdefault(event.address, {"total": 0, "out": 0, "capacity": 0})
            counts["capacity"] += capacity
            self._capacities.setdefault(event.address, []).append(capacity)

    def pool_ready(self, event: monitoring.PoolReadyEvent) -> None: ...

    def pool_cleared(self, event: monitoring.PoolClearedEvent) -> None: ...

    def pool_closed(self, event: monitoring.PoolClosedEvent) -> None:
        with self._lock:
            capacities = self._capacities.get(event.address)
            if not capacities:  # it was open before a fork
                return
            # Which client's it was the event does not say: what was made later is mostly closed sooner.
            self._servers[event.address]["capacity"] -= capacities.pop()
            if not capacities:
                del self._servers[event.address], self._capacities[event.address]

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        self._add(event.address, total=1)

    def connection_ready(self, event: monitoring.ConnectionReadyEvent) -> None: ...

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        self._add(event.address, total=-1)

    def connection_check_out_started(self, event: monitoring.ConnectionCheckOutStartedEvent) -> None:
        with self._lock:
            self._waits[current()] = event.address

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        with self._lock:
            self._waits.pop(current(), None)

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        with self._lock:
            self._waits.pop(current(), None)
        self._add(event.address, out=1)

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        self._add(event.address, out=-1)
