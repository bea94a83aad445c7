"""Which row of the table an error has: the rules in their order, and the first one that answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pymongo.errors import PyMongoError

from prodfix.causes import MOST, came_from
from prodfix.classification import (
    by_name,
    foreign,
    mongo_rules,
    outbound,
    places,
    validation_rules,
    web_errors,
    wrapper_rules,
    wrappers,
)
from prodfix.classification.by_name import Name
from prodfix.classification.classifications import (
    INTERNAL_ERROR,
    UNAVAILABLE,
    UNFINISHED,
    Classification,
    Row,
    check_row,
    check_rows,
)
from prodfix.classification.error_types import RULES, TYPES
from prodfix.classification.rows import Rows
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.classification.server_replies import server_code
from prodfix.errors import ProdFixError
from prodfix.loaded import loaded
from prodfix.operations.tracebacks import Way, walked

MOST_KNOWN = 256  # classes, and ways of them, whose meaning is remembered
# Whoever raises one of these puts into it what it means.
_TELLING = (PyMongoError, ProdFixError, BaseExceptionGroup, web_errors.HOLDING)
_NAMED: tuple[Mapping[Name, Any], ...] = (wrappers.NOTES, outbound.NOTES, foreign.READERS)


class Classifier:
    """The table as an object of its own for each application.

    ``rows`` are the application's: exception type -> :class:`Classification`, or a callable that finds it for one error.
    They win over ours for the same type, and a row for a subclass wins over one for its parent. Raises ``ValueError`` for a row
    that could not be answered with.
    """

    def __init__(self, rows: Mapping[type[BaseException], Row] | None = None) -> None:
        check_rows(rows or {})
        self.rows = Rows({**TYPES, **RULES, **web_errors.WEB_TYPES, **web_errors.WEB_RULES})
        self.rows.update(rows or {})
        self.own = frozenset(rows or ())
        self.failures = 0
        """How often a callable of the application's rows raised, or gave something that is no answer."""
        self._kinds: dict[type[BaseException], type[BaseException] | None] = {}
        self._plain: dict[type[BaseException], bool] = {}
        self._known: dict[tuple[type[BaseException], Way], Classification] = {}

    def classify(self, error: BaseException, way: Way | None = None) -> Classification:
        """What ``error`` means. Never raises; what is not known is ``INTERNAL_ERROR``. ``way``: of its traceback, for who has
        it."""
        kind = type(error)
        plain = self._plain.get(kind)
        if plain is None:
            plain = self._plain[kind] = self._is_plain(error)
            _bound(self._plain)
        if not plain or came_from(error) is not None or not web_errors.by_class(error):
            return self._at(0, error)
        # Then its class and its way through the code decide, and most go a way that others went before.
        if way is None:
            way, _ = walked(error.__traceback__)
        known = self._known.get((kind, way))
        if known is None:
            known = self._known[kind, way] = self._at(0, error)
            _bound(self._known)
        return known

    def _is_plain(self, error: BaseException) -> bool:
        """Whether nothing that an error of this class holds says what it means."""
        kind = self._kind(error)
        row = self.rows[kind] if kind is not None else None
        fixed = row is None or isinstance(row, Classification) or row is web_errors.of_status
        telling = (*_TELLING, loaded("pydantic_core", "ValidationError"), loaded("tenacity", "RetryError"))
        return fixed and not isinstance(error, telling) and not any(by_name.found(table, error) for table in _NAMED)

    @staticmethod
    def of_status(status: int) -> Classification:
        """What an answer says of which nothing is known but its status."""
        return web_errors.row_of(status)

    def claims(self, error: BaseException) -> bool:
        """Whether a row of the application's decides what ``error`` means."""
        return self._kind(error) in self.own

    def unreachable(self, timeout: Classification) -> Classification:
        """What a timeout means while the database is known not to answer at all."""
        return replace(UNAVAILABLE, outcome=timeout.outcome)

    def _at(self, depth: int, error: BaseException) -> Classification:
        """An application's row outranks all of ours, and what an error only passes on outranks what it is itself."""
        kind = self._kind(error)
        if kind in self.own:
            return validation_rules.detailed(self._asked(self.rows[kind], error), error)
        if depth == MOST:
            return INTERNAL_ERROR
        within = partial(self._at, depth + 1)
        return wrapper_rules.passed_on(error, within) or self._itself(error, kind, within)

    def _itself(
        self, error: BaseException, kind: type[BaseException] | None, within: wrapper_rules.Within
    ) -> Classification:
        """By name before the server's word, and by that before the type. A row that only says "a defect" gives way to where
        the error came from."""
        row = (
            (UNFINISHED if places.reading_a_reply(error) else None)
            or web_errors.named(error)
            or outbound.named(error)
            or wrappers.named(error)
            or mongo_rules.of_server(error, within)
            or self._of_type(error, kind)
            or validation_rules.foreign_input(error)
        )
        if row is not None and row.code != INTERNAL_ERROR.code:
            return validation_rules.detailed(mongo_rules.with_known_outcome(row, error), error)
        return web_errors.of_body(error) or wrapper_rules.of_origin(error, within, known=row) or row or INTERNAL_ERROR

    def _kind(self, error: BaseException) -> type[BaseException] | None:
        """The most derived of its classes that has a row."""
        of = type(error)
        found = self._kinds.get(of, of)
        if found is of and of not in self.rows:  # not looked for yet
            found = next((kind for kind in of.__mro__ if kind in self.rows), None)
            self._kinds[of] = found
            _bound(self._kinds)
        return found

    def _of_type(self, error: BaseException, kind: type[BaseException] | None) -> Classification | None:
        row = self.rows[kind] if kind is not None else None
        return row if row is None or isinstance(row, Classification) else row(error)

    def _asked(self, row: Row, error: BaseException) -> Classification:
        if isinstance(row, Classification):
            return row
        try:
            found = row(error)
            check_row(found, type(error).__name__)
        except Exception:  # noqa: BLE001 - the error that is being answered must not become another one
            self.failures += 1
            return INTERNAL_ERROR
        return found


def _bound(known: dict[Any, Any]) -> None:
    """Classes may be made at run time, without end."""
    if len(known) > MOST_KNOWN:
        known.clear()


_default = Classifier()


def classify(error: BaseException) -> Classification:
    """Classify by the default table (:class:`Classifier` without rows of an application)."""
    return _default.classify(error)


def server_code_name(error: BaseException) -> str | None:
    """The server's name for the code of ``error``; ``None`` for no code, or one that the table does not know."""
    known = SERVER_CODES.get(server_code(error) or 0)
    return known[0] if known is not None else None
