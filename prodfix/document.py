"""A model of documents: a pydantic class bound to a collection.

::

    class Note(Document, collection="notes", indexes=[IndexModel("slug", unique=True)]):
        slug: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,80}$")]

An application that has no model loads neither this file nor pydantic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pymongo import IndexModel


class Document(BaseModel):
    """Base of an application's models. Unknown fields are refused. ``_id`` and ``version`` are ours."""

    model_config = ConfigDict(extra="forbid", str_max_length=1_000_000)

    collection_name: ClassVar[str]
    indexes: ClassVar[Sequence[IndexModel]]

    def __init_subclass__(cls, *, collection: str, indexes: Sequence[IndexModel] = (), **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.collection_name, cls.indexes = collection, tuple(indexes)

    @classmethod
    def __pydantic_init_subclass__(cls, **more: Any) -> None:
        """Takes the class's arguments that are ours, so that pydantic does not refuse them."""
