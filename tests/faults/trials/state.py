"""What MongoDB holds of what the clients wrote, as plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pymongo.synchronous.database import Database

from tests.faults.trials.history import Request


@dataclass(slots=True)
class State:
    """``notes`` by slug, with how many there are, and their version, title and notebook; ``counters`` of notebooks;
    how often each number is in ``entries``, and how often it was counted."""

    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    entries: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)


def read(database: Database[Any]) -> State:
    state = State()
    for note in database.notes.find({}, {"slug": 1, "version": 1, "title": 1, "notebook": 1}):
        state.notes[note["slug"]] = note
    state.counters = {book["_id"]: book.get("notes", 0) for book in database.notebooks.find({}, {"notes": 1})}
    state.entries = Counter(str(entry["number"]) for entry in database.entries.find({}, {"number": 1}))
    state.counted = Counter({str(count["_id"]): count["n"] for count in database.counts.find({}, {"n": 1})})
    return state


def there(database: Database[Any], request: Request, state: str) -> bool:
    """Whether the write is in MongoDB now: all of it where it is said to be ``applied``, any of it where it ``failed``."""
    if request.action == "note":
        return database.notes.find_one({"slug": request.subject}, {"_id": 1}) is not None
    number = int(request.subject)
    steps = [
        database.entries.find_one({"number": number}, {"_id": 1}) is not None,
        database.counts.find_one({"_id": number}, {"_id": 1}) is not None,
    ]
    return all(steps) if state == "applied" else any(steps)
