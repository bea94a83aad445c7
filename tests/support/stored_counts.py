"""What MongoDB has of counts, taken apart for a test."""

from __future__ import annotations

from typing import Any

from prodfix.statistics.instance_hours import ERROR_MINUTES, InstanceHour, hour_of
from prodfix.statistics.packing import unpacked
from prodfix.statistics.window import Window
from prodfix.statistics.windows import ERROR_HOURS


def states(database: Any) -> list[InstanceHour]:
    """The hours of all instances, as they are stored."""
    found = database[ERROR_MINUTES].find().sort("_id", 1)
    return [InstanceHour(hour_of(one["_id"]), one["_id"].partition(".")[2], one) for one in found]


def revisions(database: Any) -> list[tuple[str, int, int]]:
    """Each minute of each worker with its revision."""
    kept = [state.final | {key: row.revision for key, row in state.open.items()} for state in states(database)]
    return sorted((worker, minute, revision) for one in kept for (worker, minute), revision in one.items())


def window_of(*found: InstanceHour) -> Window:
    """Their sum."""
    window = Window()
    for state in found:
        for content in state.contents():
            window.add_part(state.hour, content, 0, 2**40)
        window.workers |= state.workers
    return window


def hour_contents(database: Any) -> dict[int, Any]:
    """What each document of a closed hour has."""
    found = {}
    for document in database[ERROR_HOURS].find():
        content = found[document["_id"]] = unpacked(document["counts"])
        for row, steps in zip(content["errors"], unpacked(document["steps"]), strict=True):
            row.append(steps)
    return found
