"""A week of a service's life, as its workers would have stored it in MongoDB: for the benchmark and the pictures."""

from __future__ import annotations

import math
import random
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
from pymongo import MongoClient

from prodfix.incidents.incident_log import INCIDENTS
from prodfix.journal.journal import Journal
from prodfix.records.record_indexes import CONNECTION_EVENTS, ERROR_LOG
from prodfix.statistics.affected import hash_of
from prodfix.statistics.counts import Counts, ErrorKey, Seen
from prodfix.statistics.groups import ERROR_GROUPS
from prodfix.statistics.hours import HOUR_KEYS, Hours
from prodfix.statistics.instance_hours import ERROR_MINUTES, InstanceHour
from prodfix.statistics.windows import KEPT, Counted, Windows

HOURS = 24 * 7
DEVICES = {"mobile": 0.72, "desktop": 0.18, "unknown": 0.10}
ENDPOINTS = (
    "/api/v1/notes",
    "/api/v1/notes/<ObjectId:identity>",
    "/api/v1/orders",
    "/api/v1/orders/<identity>/pay",
    "unmatched",
)
KINDS = (
    ("unknown", "INTERNAL_ERROR", "KeyError", "blueprints/orders.py:total", 500, 0.6),
    ("unknown", "INTERNAL_ERROR", "TypeError", "blueprints/notes.py:_shown", 500, 0.3),
    ("timeout", "DATABASE_TIMEOUT", "ExecutionTimeout", "blueprints/orders.py:report", 504, 0.5),
    ("database_query", "DATABASE_ERROR", "OperationFailure", "blueprints/orders.py:search", 500, 0.15),
    ("network", "INTERNAL_ERROR", "ConnectionError", "blueprints/orders.py:pay", 500, 0.2),
    ("validation", "VALIDATION_FAILED", "ValidationFailed", "blueprints/notes.py:create", 422, 2.5),
    ("duplicate_key", "DUPLICATE_KEY", "DuplicateKeyError", "blueprints/notes.py:create", 409, 0.8),
    ("client", "NOT_FOUND", "NotFound", "", 404, 3.0),
    ("authentication", "AUTHENTICATION_REQUIRED", "AuthenticationRequired", "blueprints/orders.py:pay", 401, 0.7),
)
USERS = tuple(hash_of(f"u-{number}", b"a made-up week") for number in range(3_000))
RELEASED = 52  # hours ago
LOST = ("database_connection", "DATABASE_UNAVAILABLE", "DatabaseUnavailable", "blueprints/notes.py:create", 503, 40.0)


def fill(uri: str, *, records: int = 20_000, seed: int = 7) -> None:
    """Store it: hours, today's minutes, groups, incidents, changes of the connection, and ``records`` errors."""
    chance = random.Random(seed)
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, tz_aware=True) as client:
        database = client.get_default_database()
        now = int(time.time() // 60)
        outages = {now - 37, now - 36, now - 35, now - 60 * 31, now - 60 * 31 - 1, now - 60 * 24 * 4}
        hours: dict[int, list[Counted]] = {}
        for minute in range(now - HOURS * 60, now):
            for worker in ("w1", "w2"):
                hours.setdefault(minute // 60, []).append(_minute(worker, minute, minute in outages, chance))
        windows = Windows(Journal(Path("nowhere")), lambda: database)
        for hour, rows in hours.items():
            state = InstanceHour(hour, "week")
            for row in rows:
                state.put(row, lambda minute: [])
            state.settle(now)
            database[ERROR_MINUTES].bulk_write([state.update()])
            if hour * 60 < windows.open():
                Hours(windows).close(database, hour)
        database[ERROR_MINUTES].delete_many({"timestamp": {"$lt": _moment(now - KEPT)}})
        database[ERROR_GROUPS].insert_many(_groups(chance))
        database[INCIDENTS].insert_many(_incidents(sorted(outages)))
        database[CONNECTION_EVENTS].insert_many(_events(sorted(outages)))
        _insert_records(database[ERROR_LOG], records, chance)


def _fingerprint(kind: tuple[Any, ...]) -> str:
    return f"{abs(hash(kind[:4])) % 16**16:016x}"


def _minute(worker: str, minute: int, lost: bool, chance: random.Random) -> Counted:
    counts, release = Counts(HOUR_KEYS), _release(minute * 60)
    busy = 1.2 + math.sin((minute % 1440) / 1440 * 2 * math.pi - 2)  # people sleep at night
    for kind in (*KINDS, *([LOST] if lost else [])):
        count = min(400, int(chance.expovariate(1 / max(0.05, kind[5] * busy))))
        if count:
            device = chance.choices([*DEVICES], [*DEVICES.values()])[0]
            title = f"{kind[1]} ({kind[2]})" + (f" in {kind[3]}" if kind[3] else "")
            key = ErrorKey(kind[0], device, chance.choice(ENDPOINTS), _fingerprint(kind), title)
            users = "".join(USERS[_user(chance)] for _ in range(min(count, 8)))
            seen = Seen(count, minute * 60.0, minute * 60.0 + 59, frozenset([release]), users=users)
            counts.count_error(key, seen)
    for _ in range(int(40 * busy) + 3):
        device = chance.choices([*DEVICES], [*DEVICES.values()])[0]
        micros = int(chance.lognormvariate(9.2, 0.8))
        failed = chance.random() < (0.9 if lost else 0.004)
        counts.count_request(chance.choice(ENDPOINTS), device, micros, failed, commands=2, command_micros=micros // 3)
    return Counted(worker, minute, 1, 1, counts.error_rows(), counts.traffic_rows())


def _user(chance: random.Random) -> int:
    """Some come often, most seldom."""
    return min(int(chance.expovariate(1 / 400)), len(USERS) - 1)


def _release(at: float) -> str:
    return "3f2a9c1" if at > time.time() - RELEASED * 3600 else "1c07be4"


def _groups(chance: random.Random) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    groups = []
    for number, kind in enumerate((*KINDS, LOST)):
        title = f"{kind[1]} ({kind[2]})" + (f" in {kind[3]}" if kind[3] else "")
        group = {
            "_id": _fingerprint(kind),
            "title": title,
            "category": kind[0],
            "releases": ["1c07be4", "3f2a9c1"],
            "firstSeen": now - timedelta(days=7, hours=chance.randrange(20)),
            "lastSeen": now,
        }
        if number in (1, 3):
            group |= {"resolvedAt": now - timedelta(days=1), "resolvedBy": "ann", "resolvedReleases": ["1c07be4"]}
            group["regressedAt"] = now - timedelta(hours=2) if number == 1 else None
        groups.append(group)
    return groups


def _moment(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


def _incidents(minutes: list[int]) -> list[dict[str, Any]]:
    found = []
    for first in [minute for minute in minutes if minute - 1 not in minutes]:
        last = first
        while last + 1 in minutes:
            last += 1
        counts = {"failed": 212, "retried": 9, "recovered": 3, "deferred": 74, "replayed": 74}
        whole = {
            "cause": "database_lost",
            "from": _moment(first),
            "to": _moment(last + 1),
            "publishedAt": _moment(last + 2),
        }
        seen = {"counts": counts, "workers": 1, "instances": ["srv-1"], "releases": ["3f2a9c1"]}
        found.append({"_id": bson.ObjectId(), **whole, **seen})
    return found


def _events(minutes: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "_id": bson.ObjectId(),
            "timestamp": _moment(minute + later),
            "event": event,
            "details": {"state": event, "poolSize": 2, "availableConnections": 10, "error": "AutoReconnect"},
            "environment": {},
        }
        for minute in minutes
        for later, event in ((0, "disconnected"), (1, "connected"))
    ]


def _insert_records(collection: Any, number: int, chance: random.Random) -> None:
    now = time.time()
    stored = [kind for kind in (*KINDS, LOST) if kind[4] >= 500]
    documents = []
    for at in sorted(now - chance.random() * HOURS * 3600 for _ in range(number)):
        kind = chance.choice(stored)
        device = chance.choices([*DEVICES], [*DEVICES.values()])[0]
        documents.append(
            {
                "timestamp": datetime.fromtimestamp(at, UTC),
                "requestId": secrets.token_hex(16),
                "traceId": secrets.token_hex(16),
                "fingerprint": _fingerprint(kind),
                "category": kind[0],
                "severity": "error",
                "code": kind[1],
                "status": kind[4],
                "message": kind[2],
                "errorType": kind[2],
                "stack": f"builtins.{kind[2]}\n  flask/app.py:917 in full_dispatch_request\n  {kind[3].replace(':', ':42 in ')}",
                "context": {
                    "endpoint": chance.choice(ENDPOINTS),
                    "method": "POST",
                    "deviceType": device,
                    "userId": f"u-{_user(chance)}",
                },
                "database": {"operation": "find", "collection": "orders", "query": {"filter": {"status": "?str"}}},
                "trail": [{"operation": "find", "collection": "orders", "durationMs": 4.2, "failed": False}],
                "recovery": {"attempted": False, "successful": False, "attempts": 0, "driverRetries": 0},
                "facts": {},
                "outcome": None,
                "retryable": False,
                "release": _release(at),
            }
        )
    for first in range(0, len(documents), 1000):
        collection.insert_many(documents[first : first + 1000])
