"""What is broken: one database, and one or two instances of the application, each with a network and a disk of its own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.trials import machine
from tests.support.proxy import Proxy
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

DATABASE = "trials"
HOST = "tests.hosts.ledger:app"
REAPED_AFTER = 4  # seconds of silence after which gunicorn kills a worker
RECYCLED_AFTER = 1500  # requests of one worker


@dataclasses.dataclass(slots=True)
class Instance:
    served: Served
    proxy: Proxy
    disk: machine.Disk | None

    @property
    def journal(self) -> Path:
        return Path(self.served.variables["STATE_DIR"]) / "journal"

    def start(self) -> None:
        """After it was killed: the same port, the same disk."""
        self.served.start()


@dataclasses.dataclass(slots=True)
class Deployment:
    server: DatabaseServer
    instances: Sequence[Instance]
    clock: machine.Clock | None

    @property
    def served(self) -> list[Served]:
        return [instance.served for instance in self.instances]

    def missing(self) -> dict[str, str]:
        """Kinds of faults that this machine cannot produce, and why."""
        found = {}
        if self.clock is None:
            found["clock jump"] = "no C compiler"
        if any(instance.disk is None for instance in self.instances):
            found["disk full"] = "mount is not permitted here"
        return found

    def waiting(self) -> int:
        """Writes that wait on any disk, or are asked for in vain; dead letters are none of them."""
        return sum(_waiting(served) for served in self.served)


def _waiting(served: Served) -> int:
    if served.get("/health/db").status != 200:
        return 1
    told = served.get("/api/v1/diagnostics/database", served.bearer())
    if told.status != 200 or told.body["deferred"]["waiting"] is None:
        return 1
    return int(told.body["deferred"]["waiting"])


@contextlib.contextmanager
def deployed(folder: Path, *, instances: int = 1, workers: int = 2, txn_lifetime: float = 5.0) -> Iterator[Deployment]:
    """All of it, started in ``folder`` and ended, with so many ``workers`` of each instance.

    ``txn_lifetime`` in seconds, after which the server ends a transaction.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        clock = machine.clock(folder)
        server = stack.enter_context(DatabaseServer(folder / "data", txn_lifetime=txn_lifetime))
        made = [_instance(stack, folder / f"instance-{number}", server, clock, workers) for number in range(instances)]
        for instance in made:
            stack.enter_context(instance.served)
            health = instance.served
            until(lambda health=health: health.get("/health/db").status == 200, limit=30, what="/health/db -> 200")  # type: ignore[misc]
        yield Deployment(server, made, clock)


def _instance(
    stack: contextlib.ExitStack, folder: Path, server: DatabaseServer, clock: machine.Clock | None, workers: int
) -> Instance:
    proxy = stack.enter_context(Proxy(server.port))
    disk = stack.enter_context(machine.disk(folder / "disk"))
    variables = {
        "STATE_DIR": str(folder / "disk" / "state"),
        "LOG_DIR": str(folder / "disk" / "log"),
        "LOG_LEVEL": "error",
        "REQUEST_DEADLINE_MS": "4000",
        "DEFERRED_MAX_ATTEMPTS": "1000",
        "JWT_SECRET_KEY": "one key for all instances of the trials",
        **(clock.variables if clock is not None else {}),
    }
    options = ("--timeout", str(REAPED_AFTER), "--max-requests", str(RECYCLED_AFTER), "--max-requests-jitter", "200")
    uri = proxy.database_uri(DATABASE)
    served = Served(
        folder / "served", uri, workers=workers, application=HOST, options=options, wait_for_database=False, **variables
    )
    return Instance(served, proxy, disk)
