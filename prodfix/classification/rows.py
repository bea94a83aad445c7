"""A classifier's table: exception types, and what each of them means."""

from __future__ import annotations

from prodfix.classification.classifications import Row
from prodfix.classification.error_types import LATER_TYPES
from prodfix.classification.web_errors import LATER_WEB_TYPES

LATER = LATER_TYPES | LATER_WEB_TYPES
"""By module and name: classes of libraries that are loaded by who uses them (:mod:`prodfix.loaded`)."""
_MODULES = frozenset(module for module, _ in LATER)


class Rows(dict[type[BaseException], Row]):
    """Rows by type. A class that has one in :data:`LATER` has it in here from when it is asked for."""

    def __contains__(self, kind: object) -> bool:
        return super().__contains__(kind) or (
            isinstance(kind, type) and kind.__module__ in _MODULES and self._learns(kind)
        )

    def _learns(self, kind: type) -> bool:
        row = LATER.get((kind.__module__, kind.__name__))
        if row is not None:
            self[kind] = row
        return row is not None
