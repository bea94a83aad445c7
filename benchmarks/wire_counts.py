"""``python -m benchmarks.wire_counts``: what the counts of a worker take on the way to MongoDB, by routes, requests and users.

Two workers of one instance with four errors a second each, eight kinds, on three types of devices. What they count passes to the
embedded server by the code that stores it, each ten seconds of a clock that is turned. "Bytes" are those of the commands as the
driver encodes them, of the hour's document and of the groups, a second and worker. The first minutes of the hour are not counted.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import bson
from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from rich.console import Console
from rich.table import Table

from prodfix.statistics.affected import hash_of
from prodfix.statistics.counters import KEYS
from prodfix.statistics.counts import Counts, ErrorKey
from prodfix.statistics.groups import ERROR_GROUPS, Groups
from prodfix.statistics.instance_hours import ERROR_MINUTES, InstanceHour
from prodfix.statistics.minutes import PERIOD, SETTLED
from prodfix.statistics.window import HOUR, Counted
from tests.support.servers import DatabaseServer

BOUND = 512  # bytes a second and worker
HEADER = 21  # bytes of a message before its document: OP_MSG
WORKERS = 2
ERRORS = 4  # a second and worker
KINDS = 8
DEVICES = ("mobile", "mobile", "tablet", "desktop")
RELEASE = frozenset(["3f2a9c1"])
BEGIN = 490_000  # the hour
ROUTES = (5, 20, 60)
REQUESTS = (600, 3_000)
FEW = 20  # users


class Load(NamedTuple):
    """``requests`` of a minute and worker. ``users``: so many, or another one for each error."""

    routes: int
    requests: int
    users: int | None
    kinds: int = KINDS


class Sizes(CommandListener):
    """Adds up what is sent."""

    def __init__(self) -> None:
        self.bytes = self.commands = 0

    def started(self, event: CommandStartedEvent) -> None:
        if event.command.get(event.command_name) in (ERROR_MINUTES, ERROR_GROUPS):
            self.bytes += HEADER + len(bson.encode(event.command))
            self.commands += 1

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wire_counts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=int, default=10, help="minutes that are counted (default 10)")
    parser.add_argument("--kinds", type=int, default=KINDS, help=f"of errors (default {KINDS})")
    options = parser.parse_args()
    loads = [Load(*one, options.kinds) for one in itertools.product(ROUTES, REQUESTS, (FEW, None))]
    table = Table("routes", "requests a minute", "few users", "each error another", title="bytes a second and worker")
    with DatabaseServer() as server:
        found = {load: measured(server.uri, load, options.minutes) for load in loads}
    for routes, requests in itertools.product(ROUTES, REQUESTS):
        each = [found[Load(routes, requests, users, options.kinds)] for users in (FEW, None)]
        table.add_row(str(routes), f"{requests:,}", *(f"{one:.0f}{' !' if one > BOUND else ''}" for one in each))
    Console().print(table)


def measured(uri: str, load: Load, minutes: int, *, before: int = 11) -> float:
    """Bytes a second and worker."""
    sizes, chance = Sizes(), random.Random(1)
    with MongoClient[Any](uri, event_listeners=[sizes]) as client:
        database = client.get_database("counts")
        for name in (ERROR_MINUTES, ERROR_GROUPS):
            database[name].drop()
        instance = _Instance(database, load, chance)
        instance.run(0, before)
        sizes.bytes = 0
        instance.run(before, before + minutes)
    return sizes.bytes / (minutes * 60) / WORKERS


class _Instance:
    def __init__(self, database: Any, load: Load, chance: random.Random) -> None:
        self._database, self._load, self._chance = database, load, chance
        self._now = BEGIN * HOUR * 60.0
        self._groups = Groups(lambda: database, clock=lambda: self._now)
        self._state = InstanceHour(BEGIN, "0123456789abcdef")
        self._rows: dict[tuple[str, int], Counted] = {}
        self._users = itertools.count()
        self._routes = [f"/api/v1/{_noun(one)}/<identity>" for one in range(load.routes)]
        self._means = [chance.uniform(8.5, 10.5) for _ in self._routes]
        self._often = list(itertools.accumulate(1 / (place + 1) for place in range(load.routes)))

    def run(self, first: int, last: int) -> None:
        """The minutes of the hour from ``first`` to before ``last``."""
        for minute in range(BEGIN * HOUR + first, BEGIN * HOUR + last):
            workers = {f"{number}-{number + 1000:012x}": Counts(KEYS) for number in range(WORKERS)}
            revisions = dict.fromkeys(workers, 0)
            for _ in range(int(60 / PERIOD)):
                for worker, counts in workers.items():
                    revisions[worker] += self._pass(counts)
                self._now += PERIOD
                rows = [
                    Counted(worker, minute, revisions[worker], 0, counts.error_rows(), counts.traffic_rows())
                    for worker, counts in workers.items()
                ]
                self._store(rows)

    def _pass(self, counts: Counts) -> int:
        """What a worker counts in a period; how much it was."""
        chance, load = self._chance, self._load
        requests, errors = round(load.requests * PERIOD / 60), round(ERRORS * PERIOD)
        for number in range(requests):
            place = chance.choices(range(load.routes), cum_weights=self._often)[0]
            micros = int(chance.lognormvariate(self._means[place], 0.7))
            commands = chance.randrange(4)
            counts.count_request(
                self._routes[place],
                chance.choice(DEVICES),
                micros,
                failed=number < errors,
                commands=commands,
                command_micros=micros // 5 * commands,
            )
        for _ in range(errors):
            kind = chance.randrange(load.kinds)
            title = f"INTERNAL_ERROR ({_noun(kind).title()}Failed) in shop/{_noun(kind)}.py:change"
            route, device = self._routes[kind % load.routes], chance.choice(DEVICES)
            key = ErrorKey("unknown", device, route, f"{random.Random(kind).getrandbits(64):016x}", title)
            user = next(self._users) if load.users is None else chance.randrange(load.users)
            at = round(self._now + chance.random() * PERIOD, 3)
            counts.count_one(key, at, RELEASE, hash_of(f"user-{user}", b"key"))
        return requests + errors

    def _store(self, rows: Sequence[Counted]) -> None:
        for row in rows:
            self._state.put(row, lambda minute: [])
        self._state.settle(int((self._now - SETTLED) // 60))
        result = self._database[ERROR_MINUTES].bulk_write([self._state.update()], ordered=False)
        if result.matched_count + result.upserted_count != 1:
            raise RuntimeError("the hour's document is another one")
        self._state.stored()
        self._groups.store(self._database, rows)


def _noun(number: int) -> str:
    words = "account basket cart delivery event fee group hold invoice job key label map note order price".split()
    return words[number % 16] + ("s", "_items", "_history", "_state")[number // 16 % 4] + str(number // 64 or "")


if __name__ == "__main__":
    main()
