"""A client with hooks: around each operation, before each selection of a server, at each overload, and for a pool of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pymongo import MongoClient
from pymongo.synchronous.client_session import ClientSession
from pymongo.topology_description import TopologyDescription

from prodfix.driver.hooked_pool import TAKES_POOL, Pool, of_monitor
from prodfix.driver.private_names import PrivateName, found, sets, takes
from prodfix.driver.resting import RestingClient

Work = Callable[..., Any]

_csot = found("pymongo", "_csot")
_RUNS = takes(MongoClient, "_retry_internal", "func", "session", "bulk", "operation", "is_read")
_SELECTS = takes(MongoClient, "_select_server", "server_selector", "session", "operation", "address")
_DESCRIBES = sets(MongoClient, "_topology")
_TELLS_IMPLICIT = sets(ClientSession, "_implicit")
_HAS_POLICY = sets(MongoClient, "_retry_policy")
_run: Any = getattr(MongoClient, "_retry_internal", None)
_SHORTENS_WAY = _DESCRIBES and _TELLS_IMPLICIT and hasattr(_csot, "set_rtt")

_SHORT_WAY = "the short way to a server that is known: each command selects it anew, which costs a twentieth of it"

CLIENT_NAMES = (
    PrivateName("MongoClient._retry_internal", "the breaker's view of operations, two tries for each of them", _RUNS),
    PrivateName("MongoClient._select_server", "the refusal at once while the database is down", _SELECTS),
    PrivateName("MongoClient._topology", _SHORT_WAY, _DESCRIBES),
    PrivateName("ClientSession._implicit", _SHORT_WAY, _TELLS_IMPLICIT),
    PrivateName("MongoClient._retry_policy", "the third try at a server that is overloaded", _HAS_POLICY),
    PrivateName("MongoClient._closed", "the doctor's look past clients that are closed", sets(MongoClient, "_closed")),
)


class HookedClient(RestingClient):
    """A client that tells of each operation, each selection of a server and each overload, and has a pool of ours.

    The driver has no public hook at these places (``server_selector`` is not called while no server is known).
    """

    def __init__(self, *arguments: Any, pool: type[Pool], **options: Any) -> None:
        self.prodfix_pools: dict[Any, Pool] = {}
        if TAKES_POOL:
            options["_pool_class"] = _kept(self.prodfix_pools, pool)
        super().__init__(*arguments, **options)
        if _HAS_POLICY:
            self._watch_overloads()

    @staticmethod
    def prodfix_work(work: Work, session: Any, bulk: Any, operation: str) -> Work:
        """What is done in the place of ``work``, the part of an operation that is tried again."""
        return work

    def prodfix_operation(
        self, run: Callable[[], Any], name: str, session: Any, is_read: bool, writes_out: bool
    ) -> Any:
        """The result of an operation of the driver's: of ``run``."""
        return run()

    def prodfix_try(self) -> None:
        """Called before a server is selected for a try of an operation."""

    def prodfix_known(self, description: TopologyDescription, selector: Any) -> Any:
        """The one server that ``selector`` finds as the deployment is described now; ``None`` if nobody knows."""

    def prodfix_selection(self, select: Callable[[], Any], selector: Any) -> Any:
        """The server that ``select`` finds, which may have to wait. ``selector``: ``None`` if it is taken by its address."""
        return select()

    @staticmethod
    def prodfix_overloaded(retries: int) -> None:
        """The driver is about to try again what an overloaded server has refused; it does so ``retries`` times at most."""

    if _RUNS:

        def _retry_internal(
            self, func: Work, session: Any, bulk: Any, operation: str, is_read: bool = False, *more: Any, **options: Any
        ) -> Any:
            name = _name_of(operation, func)
            work = func if is_read else self.prodfix_work(func, session, bulk, name)
            run = partial(_run, self, work, session, bulk, operation, is_read, *more, **options)
            return self.prodfix_operation(run, name, session, is_read, options.get("is_aggregate_write", False))

    if _SELECTS:

        def _select_server(
            self,
            server_selector: Any,
            session: Any,
            operation: str,
            address: Any = None,
            deprioritized_servers: Any = None,
            *more: Any,
            **options: Any,
        ) -> Any:
            self.prodfix_try()
            # An implicit session has no transaction, whose end the driver would note here, or which would be bound to a server.
            if _SHORTENS_WAY and address is None and not deprioritized_servers and (not session or session._implicit):
                topology = self._topology
                server = None if topology is None else self.prodfix_known(topology.description, server_selector)
                if server is not None:
                    if _csot.get_timeout():
                        _csot.set_rtt(server.description.min_round_trip_time)
                    return server
            if more or deprioritized_servers is not None:
                more = (deprioritized_servers, *more)
            select = partial(super()._select_server, server_selector, session, operation, address, *more, **options)
            return self.prodfix_selection(select, None if address else server_selector)

    def _watch_overloads(self) -> None:
        """The driver asks its policy before each of its waits for a server that is overloaded: its tries are more than
        others', and have pauses (client-backpressure specification, ``maxAdaptiveRetries``)."""
        policy: Any = self._retry_policy
        overloaded = self.prodfix_overloaded  # and not the client, which would hold itself
        asked = getattr(policy, "should_retry", None)
        if asked is None:
            return

        def should_retry(attempt: int, delay: float) -> bool:
            again: bool = asked(attempt, delay)
            if again:
                overloaded(policy.attempts)
            return again

        policy.should_retry = should_retry


def _name_of(operation: str, work: Work) -> str:
    """Its command's. Until 4.14 the driver calls the end of a transaction an abort, whichever it is."""
    if operation != "abortTransaction":
        return operation
    code, cells = getattr(work, "__code__", None), getattr(work, "__closure__", None) or ()
    held = dict(zip(code.co_freevars, cells, strict=True)) if code is not None else {}
    return str(held["command_name"].cell_contents) if "command_name" in held else operation


def _kept(pools: dict[Any, Pool], made: type[Pool]) -> Callable[..., Pool]:
    """What makes pools of that class, and keeps the newest one of each server. It knows no client, which would never end."""

    def make(address: Any, *arguments: Any, **options: Any) -> Pool:
        pool = made(address, *arguments, **options)
        if not of_monitor(pool):
            pools[address] = pool
        return pool

    return make


def is_closed(client: Any) -> bool:
    """Whether ``close`` was called, as far as one knows."""
    return bool(getattr(client, "_closed", False))
