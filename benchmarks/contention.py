"""``python -m benchmarks.contention``: many writers of one document, against the driver's own helper, in one run.

Each piece of work inserts a document and counts it in another one, which is the same for all: with ``with_transaction`` of the
driver, with ``run_transaction``, as a deferrable write in one transaction, and as one whose steps run one by one. Greenlets of
one process do it, 1, 4, 8 and 16 at once, and the ways take turns. Nobody's time is over before 9.5 s, as in a request.
"""

from gevent import monkey

monkey.patch_all()

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gevent
import pymongo
from pymongo.errors import PyMongoError

from prodfix import Insert, Update, Write
from prodfix.connection.clients import GatedClient
from prodfix.deferral import guards
from prodfix.deferral.queue import DeferredQueue
from prodfix.journal.journal import Journal
from prodfix.recovery.transactions import Transactions
from tests.support.servers import DatabaseServer

CROWDS = (1, 4, 8, 16)
LIMIT = 9.5  # seconds: the database's part of a request's deadline
Way = Callable[[Write], object]


def steps(arguments: Mapping[str, Any]) -> list[Insert | Update]:
    return [Insert("notes", arguments), Update("notebooks", {"_id": "hot"}, {"$inc": {"notes": 1}}, upsert=True)]


class Ways:
    """The ways of doing it, over one client."""

    def __init__(self, client: GatedClient, folder: Path) -> None:
        database = client.get_default_database()
        database.notes.insert_one({})
        database.notebooks.insert_one({"_id": "hot"})
        transactions = Transactions(lambda: client, retries=3, base=0.2)
        bounds = {"enabled": False, "durable": True, "max_entries": 1, "max_bytes": 1024}
        deferred = DeferredQueue(Journal(folder), lambda: database, transact=transactions.run, **bounds)
        deferred.register("together", steps, atomic=True)
        deferred.register("one by one", steps)

        def work(write: Write, session: Any) -> None:
            for number, step in enumerate(steps(write.arguments)):
                guards.apply(database, step, write.id, number, session=session)

        def drivers(write: Write) -> None:
            with client.start_session() as session:
                session.with_transaction(lambda session: work(write, session))

        self.all: dict[str, Way] = {
            "with_transaction": drivers,
            "run_transaction": lambda write: transactions.run(lambda session: work(write, session)),
            "together": deferred.apply,
            "one by one": deferred.apply,
        }


def crowd(way: Way, name: str, size: int, times: int) -> tuple[list[float], int]:
    """Milliseconds of each of ``times`` pieces of work, ``size`` at once; and how many failed."""
    took: list[float] = []
    failed: list[PyMongoError] = []

    def one() -> None:
        for _ in range(times // size):
            begun = time.monotonic()
            try:
                with pymongo.timeout(LIMIT):
                    way(Write(name, {"text": "x" * 100}))
            except PyMongoError as error:
                failed.append(error)
            took.append((time.monotonic() - begun) * 1000)

    gevent.joinall([gevent.spawn(one) for _ in range(size)], raise_error=True)
    return took, len(failed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contention", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each way (default 3)")
    parser.add_argument("--times", type=int, default=160, help="pieces of work in a round (default 160)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        DatabaseServer(txn_lifetime=60) as server,
        GatedClient(f"{server.uri}contention", gate=lambda: None, maxPoolSize=50) as client,
    ):
        measure(Ways(client, Path(folder)).all, options.rounds, options.times)


def measure(ways: dict[str, Way], rounds: int, times: int) -> None:
    """Print the figures."""
    for size in CROWDS:
        took: dict[str, list[float]] = {name: [] for name in ways}
        failed = dict.fromkeys(ways, 0)
        for _ in range(rounds):
            for name, way in ways.items():
                milliseconds, errors = crowd(way, name, size, times)
                took[name] += milliseconds
                failed[name] += errors
        p95 = {name: statistics.quantiles(values, n=20, method="inclusive")[18] for name, values in took.items()}
        print(f"one document, {size} at once: {rounds * times} of each")
        for name, values in took.items():
            figures = f"p50 {statistics.median(values):7.1f}   p95 {p95[name]:7.1f}   max {max(values):7.1f} ms"
            print(f"  {name:<18} {figures}   p95 x {p95[name] / p95['with_transaction']:.2f}   {failed[name]} failed")


if __name__ == "__main__":
    main()
