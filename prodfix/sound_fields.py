"""What of a document that is stored can be believed: fields of the types that they are written with, and no others.

Another release, a hand or a damage may have left anything in a collection; one such document must not hide all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FieldTypes = Mapping[str, type[Any]]


def sound(document: Mapping[str, Any], types: FieldTypes) -> dict[str, Any]:
    """The document without those of ``types`` that are of another type. None, and fields that are not named there, stay."""
    return {
        name: value for name, value in document.items() if value is None or name not in types or _is(value, types[name])
    }


def _is(value: Any, wanted: type[Any]) -> bool:
    return isinstance(value, wanted) and not (isinstance(value, bool) and wanted is not bool)
