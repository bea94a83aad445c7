"""The collections of the application's database, and ours where they are in another one: how many documents, which indexes,
how large. Each figure has its own limit of time, and one that is refused or too slow is missing, and says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Annotated, Any

import pymongo
from pymongo.synchronous.database import Database

from prodfix.classification.server_replies import server_code
from prodfix.errors import UNANSWERED
from prodfix.serialization import Description, Serializable, camel
from prodfix.slotted import frozen

MOST = 50
LIMIT = 3.0  # seconds for all that MongoDB is asked
EACH_LIMIT = 1.0  # seconds for one figure


@frozen
class CollectionFigures(Serializable):
    """One collection or view."""

    name: str
    document_count: int | None
    indexes: list[str] | None
    avg_doc_size: Annotated[float | None, Description("Bytes")]
    type: str
    unavailable: Annotated[dict[str, str], Description("Why a figure is null")]


class Collections:
    """Asks through our own client; ``database`` is None while that cannot read. Counts are the server's estimates: counting
    would read every document. ``only``: those of these names."""

    def __init__(self, database: Callable[[], Database[Any] | None], *, only: Container[str] | None = None) -> None:
        self._database, self._only = database, only

    def read(self) -> list[CollectionFigures] | None:
        """One entry for each collection, at most :data:`MOST`; None if not even their names can be had."""
        end = time.monotonic() + LIMIT
        try:
            database = self._database()
            if database is None:
                return None
            with pymongo.timeout(EACH_LIMIT):
                listed = list(database.list_collections())
        except Exception:  # noqa: BLE001 - no URI, no database, no right: a report without this part is still one
            return None
        known = {one["name"]: one.get("type", "collection") for one in listed}
        names = [name for name in sorted(known) if not name.startswith("system.") and self._wanted(name)]
        return [_figures(database, name, known[name], end) for name in names[:MOST]]

    def _wanted(self, name: str) -> bool:
        return self._only is None or name in self._only


def _figures(database: Database[Any], name: str, kind: str, end: float) -> CollectionFigures:
    collection = database[name]
    unavailable: dict[str, str] = {}

    def figure(name: str, ask: Callable[[], Any]) -> Any:
        field = camel(name)
        left = end - time.monotonic()
        if left <= 0:
            unavailable[field] = "no time left"
            return None
        try:
            with pymongo.timeout(min(left, EACH_LIMIT)):
                return ask()
        except UNANSWERED as error:
            code = server_code(error)
            unavailable[field] = f"{type(error).__name__} (code {code})" if code else type(error).__name__
            return None

    return CollectionFigures(
        name=name,
        document_count=figure("document_count", collection.estimated_document_count),
        indexes=figure("indexes", lambda: sorted(collection.index_information())),
        avg_doc_size=figure("avg_doc_size", lambda: database.command("collStats", name).get("avgObjSize")),
        type=kind,
        unavailable=unavailable,
    )
