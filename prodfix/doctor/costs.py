"""What prodfix costs the database that it is a guest of, as ``python -m benchmarks.guest --parts idle cost`` has measured it.

The figures are of an instance with 25 requests a second, of which 4 fail and are stored; docs/limits.md has the whole table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError
from pymongo.synchronous.database import Database

from prodfix.doctor.findings import Finding, counted, told, warning
from prodfix.doctor.indexes import COLLECTIONS
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.slotted import frozen

DAY = 86_400
MEGABYTE = 1024 * 1024
REQUESTS, ERRORS = 25, 4  # a second of an instance, in what was measured
INSTANCE, WORKER = 0.65, 0.2  # commands a second under that load, besides pings
RECORDS, COUNTS = 4_500, 400  # bytes written a second: of errors, and of what is counted
SHARE = 0.1  # of a quota, beyond which a guest is worth a warning


@frozen
class Quota:
    """What a database allows: commands a second, and bytes."""

    name: str
    commands: int
    size: int


# Commands and bytes: mongodb.com/docs/atlas/reference/free-shared-limitations. Only free and Flex clusters know `atlasSize`
# (mongodb.com/docs/atlas/free-tier-commands), and do not say which of the two they are: the lesser one is taken.
FREE = Quota("a free Atlas cluster", 100, 512 * MEGABYTE)


@check("database-cost", "database")
def cost(subject: Subject) -> Iterator[Finding]:
    """What prodfix sends and stores is a small part of what the database allows.

    Told are commands and bytes of an instance a second and a day, as they were measured with 25 requests a second of which 4
    fail. A warning says that they are more than a tenth of a quota that is known: of a free Atlas cluster, which tells by
    answering `atlasSize`, or of the disk, if dbStats tells of it. Nothing else is guessed.
    """
    with subject.server.asked() as database:
        quota, disk, stored = _quota(database), _disk(database), _stored(database)
    workers, instances = subject.workers, subject.deployment.instances
    idle = 1000 / subject.settings.health_ping_interval_ms
    busy = idle + INSTANCE + WORKER * workers
    written = (RECORDS + COUNTS) * DAY / MEGABYTE
    facts: dict[str, Any] = {
        "workers": workers,
        "instances": instances,
        "idleCommands": round(idle, 2),
        "busyCommands": round(busy, 2),
        "writtenMbADay": round(written),
        "storedBytes": stored,
    }
    found = (
        f"an instance of {counted(workers, 'worker')} sends {_rate(idle)} while nobody asks it, and {_rate(busy)}"
        f" with {REQUESTS} requests and {ERRORS} errors a second, the load that it was measured with, which send"
        f" {written:.0f} MB a day; what stays of it is bounded by ERROR_MAX_MB"
    )
    too_much = []
    if quota is not None and busy * instances > quota.commands * SHARE:
        too_much.append(
            f"{counted(instances, 'instance')} take more than a tenth of {quota.name}'s {quota.commands} a second"
        )
    room = min([size for size in (quota.size if quota else None, disk) if size], default=None)
    if stored is not None and room is not None and stored > room * SHARE:
        too_much.append(
            f"what prodfix has stored is {stored / MEGABYTE:.0f} MB of the {room / MEGABYTE:.0f} MB that there are"
        )
    if too_much:
        yield warning(
            f"{found}: {', and '.join(too_much)}",
            "Raise HEALTH_PING_INTERVAL_MS, keep fewer errors (ERROR_RETENTION_DAYS), or give prodfix a database of its own;"
            " see docs/limits.md",
            **facts,
        )
    else:
        yield told(found, **facts)


def _rate(commands: float) -> str:
    return f"{commands:.1f} commands a second ({commands * DAY:,.0f} a day)"


def _quota(database: Database[Any]) -> Quota | None:
    """What is known of the database's limits: nothing of one that knows no such command, or lets us not ask."""
    try:
        database.client.admin.command("atlasSize")
    except OperationFailure:
        return None
    return FREE


def _disk(database: Database[Any]) -> int | None:
    """Bytes of the disk that the data are on, where the server tells."""
    try:
        return int(database.command("dbStats").get("fsTotalSize") or 0) or None
    except PyMongoError:
        return None


def _stored(database: Database[Any]) -> int | None:
    """Bytes of our collections and their indexes."""
    found = 0
    try:
        for name in sorted(COLLECTIONS & set(database.list_collection_names())):
            stats = database.command("collStats", name)
            found += int(stats.get("storageSize") or stats.get("size") or 0) + int(stats.get("totalIndexSize") or 0)
    except PyMongoError:  # not allowed, or it takes too long
        return None
    return found
