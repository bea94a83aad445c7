"""Several updates of one document as one: what a hundred writes count up need not be written a hundred times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LISTS = ("$push", "$addToSet")
_LARGEST = 2**63  # of an integer that BSON holds


def mergeable(update: Mapping[str, Any]) -> bool:
    """Whether :func:`merged` does exactly what this update does: it counts in whole numbers, or adds to lists."""
    return all(
        isinstance(changes, Mapping)
        and (_counts(changes) if operator == "$inc" else operator in _LISTS and _adds(changes))
        for operator, changes in update.items()
    )


def merged(updates: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]] | None:
    """One update that does what these do, one after another; None if BSON cannot hold a sum. Each must be mergeable."""
    result: dict[str, dict[str, Any]] = {}
    for update in updates:
        for operator, changes in update.items():
            whole = result.setdefault(operator, {})
            for path, value in changes.items():
                if operator == "$inc":
                    whole[path] = whole.get(path, 0) + value
                else:
                    whole[path] = {"$each": [*whole.get(path, {"$each": []})["$each"], *_items(value)]}
    sums = result.get("$inc", {}).values()
    return result if all(-_LARGEST <= total < _LARGEST for total in sums) else None


def _counts(changes: Mapping[str, Any]) -> bool:
    # Not bson.Int64, which also says of what type the field is to be; nor a float, whose sum depends on the order.
    return all(type(value) is int for value in changes.values())


def _adds(changes: Mapping[str, Any]) -> bool:
    return all(_is_plain(value) for value in changes.values())


def _is_plain(value: Any) -> bool:
    """Whether it is what is added, or a list of that, and says nothing else: neither where, nor how many are kept."""
    if isinstance(value, Mapping) and list(value) == ["$each"]:
        return isinstance(value["$each"], (list, tuple))
    return not isinstance(value, Mapping) or not any(str(name).startswith("$") for name in value)


def _items(value: Any) -> Sequence[Any]:
    return value["$each"] if isinstance(value, Mapping) and "$each" in value else [value]
