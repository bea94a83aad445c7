"""Instances as they are served, each before a proxy that counts what passes by command and collection."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pymongo import MongoClient

from tests.support.processes import cpu_seconds
from tests.support.proxy import Proxy
from tests.support.served import Served
from tests.support.servers import DatabaseServer

APPLICATION = "guest_notes"  # the one collection of the application's
DATABASE = "guest"
DRIVER = frozenset({"hello", "ismaster", "isMaster", "endSessions", "saslStart", "saslContinue"})
READS = frozenset({"find", "aggregate", "getMore", "count", "distinct", "ping", "explain", "dbStats", "collStats"})
READS |= {"listCollections", "listIndexes", "killCursors", "buildInfo", "hostInfo", "connectionStatus", "serverStatus"}
NOT_COUNTS = frozenset({"error_log", "connection_events", "incidents", "incident_heads", "alert_claims"})
NOT_COUNTS |= {"error_sampling"}

Taken = Counter[tuple[str, str]]


class Sent(NamedTuple):
    """What passed in ``seconds``: commands and bytes by command and collection; ``cpu`` in seconds, of all workers."""

    seconds: float
    commands: Taken
    sizes: Taken
    cpu: float

    def own(self, *, of: Callable[[str, str], bool] = lambda name, place: True) -> float:
        """Commands of ours a second."""
        return sum(n for key, n in self.commands.items() if _ours(*key) and of(*key)) / self.seconds

    def bytes_for_counts(self) -> float:
        """A second."""
        counted = (n for (name, place), n in self.sizes.items() if _ours(name, place) and _counts(place))
        return sum(counted) / self.seconds

    def written(self) -> float:
        """Bytes of ours a second in commands that write."""
        sizes = (n for (name, place), n in self.sizes.items() if _ours(name, place) and name not in READS)
        return sum(sizes) / self.seconds

    def shown(self) -> dict[str, dict[str, float]]:
        """By collection and command, a second: so that nobody must believe the sums."""
        found: dict[str, dict[str, float]] = {}
        for (name, place), commands in sorted(self.commands.items()):
            if _ours(name, place):
                each = {"commands": commands / self.seconds, "bytes": self.sizes[name, place] / self.seconds}
                found[f"{place} {name}".strip()] = {what: round(value, 3) for what, value in each.items()}
        return found


def _ours(name: str, place: str) -> bool:
    return name not in DRIVER and place != APPLICATION


def _counts(place: str) -> bool:
    return place.startswith("error_") and place not in NOT_COUNTS


@dataclass
class Instance:
    """One build as it is served, with what stands before its database."""

    served: Served
    proxy: Proxy | None

    def taken(self) -> tuple[float, dict[tuple[str, str], tuple[int, int]], float]:
        traffic = self.proxy.traffic if self.proxy is not None else {}
        return time.monotonic(), traffic, sum(map(cpu_seconds, self.served.worker_pids()))


@contextmanager
def instance(build: Path, workers: int, *, counted: bool = True, **variables: str) -> Iterator[Instance]:
    """One of ``build``, with a database of its own."""
    with ExitStack() as stack:
        proxy, uri = stack.enter_context(database(counted=counted))
        yield Instance(stack.enter_context(served(build, uri, workers, **variables)), proxy)


@contextmanager
def database(*, counted: bool = True) -> Iterator[tuple[Proxy | None, str]]:
    """A server that keeps its data on disk; its URI, which leads through the proxy if there is one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prodfix-guest-")))
        server = stack.enter_context(DatabaseServer(folder / "data", failpoints=False))
        proxy = stack.enter_context(Proxy(server.port)) if counted else None
        yield proxy, proxy.database_uri(DATABASE) if proxy is not None else f"{server.uri}{DATABASE}"


@contextmanager
def served(build: Path, uri: str, workers: int, **variables: str) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="prodfix-guest-") as folder:
        shutil.copy(Path(__file__).with_name("guest_host.py"), folder)
        with Served(
            Path(folder),
            uri,
            workers=workers,
            application="guest_host:app",
            options=("-c", str(build / "config" / "gunicorn.conf.py")),
            PYTHONPATH=str(build),
            **variables,
        ) as application:
            yield application


def passed(
    instances: Mapping[str, Instance], seconds: float, settle: float, wait: Callable[[float], None]
) -> dict[str, Sent]:
    """What each of them sends within ``seconds``, once it has settled."""
    wait(settle)
    before = {name: one.taken() for name, one in instances.items()}
    wait(seconds)
    found: dict[str, Sent] = {}
    for name, one in instances.items():
        (begun, first, used), (ended, last, all_used) = before[name], one.taken()
        commands, sizes = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for key, (number_of, size) in last.items():
            known = first.get(key, (0, 0))
            commands[key], sizes[key] = number_of - known[0], size - known[1]
        found[name] = Sent(ended - begun, +commands, +sizes, all_used - used)
    return found


def stored(uri: str) -> dict[str, dict[str, int]]:
    """Documents and bytes of each collection of ours, as the server counts them, without indexes."""
    found: dict[str, dict[str, int]] = {}
    with MongoClient[dict[str, Any]](uri) as client:
        kept = client.get_default_database()
        for name in sorted(kept.list_collection_names()):
            if name != APPLICATION:
                stats = kept.command("collStats", name)
                found[name] = {"documents": int(stats["count"]), "bytes": int(stats["size"])}
    return found
