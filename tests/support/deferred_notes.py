"""What the tests of deferred writes share: one operation, and a look at what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prodfix.deferral.writes import Insert, Step, Update, Write
from prodfix.journal.journal import Journal


def steps(arguments: Mapping[str, Any]) -> Sequence[Step]:
    """Inserts a note and counts it, as an application would."""
    return [
        Insert("notes", {"text": arguments["text"]}),
        Update(
            "books",
            {"_id": arguments.get("book", "book")},
            {"$inc": {"notes": 1}, "$push": {"texts": arguments["text"]}},
            upsert=True,
        ),
    ]


def note(text: Any = "a", **more: Any) -> Write:
    return Write("note", {"text": text, **more})


def texts(database: Any) -> list[str]:
    """Of all notes, in the order of their coming."""
    return [document["text"] for document in database.notes.find().sort("$natural", 1)]


def waiting(journal: Journal) -> list[str]:
    """The IDs of what waits, in order."""
    return [row[0] for row in journal.read("SELECT id FROM writes ORDER BY position")]


def dead(journal: Journal) -> dict[str, str]:
    """The reason of each dead letter."""
    return dict(journal.read("SELECT id, reason FROM dead"))
