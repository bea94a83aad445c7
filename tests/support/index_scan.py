"""What MongoDB reads of an index and of the documents behind it, by its documented rules: the embedded server's explain tells
what it returned in place of what it read.

Fields of the key that are asked to be equal, from the first one on, and a range of the next one, are bounds within which keys are
read in their order, and no further than the limit; what else is asked of fields in the key is compared with the key, and only for
the rest the document is read (mongodb.com/docs/manual/core/indexes/index-types/index-compound and /reference/explain-results).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import IndexModel

Document = Mapping[str, Any]


def value(document: Document, path: str) -> Any:
    found: Any = document
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def fits(found: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return bool(found == wanted)
    compare = {"$gte": lambda a, b: a >= b, "$lt": lambda a, b: a < b, "$lte": lambda a, b: a <= b}
    return all(found is not None and compare[operator](found, bound) for operator, bound in wanted.items())


def scanned(
    index: IndexModel, query: Mapping[str, Any], documents: Sequence[Document], limit: int
) -> tuple[int, list[Document]]:
    """How many documents are read, and those that are returned: in the order of ``index``, which must be newest first."""
    key: dict[str, int] = dict(index.document["key"])
    bounds: list[str] = []
    for field in key:
        if field not in query:
            break
        bounds.append(field)
        if isinstance(query[field], Mapping):
            break
    ordered = sorted(documents, key=lambda one: (one["timestamp"], one["_id"]), reverse=True)
    rest = [field for field in key if not isinstance(query.get(field), (str, type(None))) or field not in query]
    assert rest[:2] == ["timestamp", "_id"] or [*bounds, *rest][-2:] == ["timestamp", "_id"], "a sort in memory"
    read, returned = 0, []
    for document in ordered:
        if not all(fits(value(document, field), query[field]) for field in bounds):
            continue  # no key within the bounds
        if not all(fits(value(document, field), wanted) for field, wanted in query.items() if field in key):
            continue  # the key does not fit, and its document is not read
        read += 1
        if all(fits(value(document, field), wanted) for field, wanted in query.items()):
            returned.append(document)
            if len(returned) == limit:
                break
    return read, returned
