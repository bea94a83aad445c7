"""Error records found again: those that MongoDB has, and those that still wait for it in the journals of this instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bson
import pymongo
from pymongo.errors import PyMongoError
from pymongo.synchronous.database import Database

from prodfix.journal.journal import Journal
from prodfix.records.storage import ERROR_LOG


class Lookup:
    """Finds records. ``answering`` is our own database while it answers. Raises ``TimeoutError`` if the disk does not."""

    def __init__(self, journal: Journal, answering: Callable[[], Database[Any] | None]) -> None:
        self._journal, self._answering = journal, answering

    def recent(self, most: int = 20) -> list[dict[str, Any]]:
        """The newest error summaries: those of MongoDB, and those that still wait for it."""
        query = "SELECT entry FROM records WHERE collection = ? ORDER BY at DESC LIMIT ?"
        return self._merged(query, (ERROR_LOG, most), {}, most)

    def request(self, request_id: str, most: int = 50) -> list[dict[str, Any]]:
        """All records of one request, newest first, from whichever worker served it, also while MongoDB is down."""
        query = "SELECT entry FROM records WHERE collection = ? AND request_id = ? ORDER BY at DESC LIMIT ?"
        return self._merged(query, (ERROR_LOG, request_id, most), {"requestId": request_id}, most)

    def _merged(self, query: str, values: tuple[Any, ...], wanted: dict[str, Any], most: int) -> list[dict[str, Any]]:
        found: dict[Any, dict[str, Any]] = {}
        document: dict[str, Any]
        for (entry,) in self._journal.read(query, values):
            document = bson.decode(entry, bson.CodecOptions(tz_aware=True))
            found[document["_id"]] = document
        database = self._answering()
        if database is not None:
            try:
                with pymongo.timeout(2.0):
                    for document in database[ERROR_LOG].find(wanted).sort("timestamp", -1).limit(most):
                        found[document["_id"]] = document
            except PyMongoError:
                pass  # the answer says what it covers; what this instance holds is still right
        return sorted(found.values(), key=lambda document: document["timestamp"], reverse=True)[:most]
