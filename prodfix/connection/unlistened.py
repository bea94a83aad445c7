"""What the writes of a client without command listeners came to (``ENABLE_QUERY_LOGGING=false``).

Events cost 13 to 16 µs a command, whoever listens; this costs a microsecond a write. It sees the driver's calls and not
their commands, and takes in doubt what it cannot tell; only of a write that nobody confirms (w: 0) it believes that it was
applied. :mod:`prodfix.queries.replies` knows more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.synchronous.client_session import ClientSession

from prodfix.classification.classifier import classify
from prodfix.errors import Outcome
from prodfix.operations.frames import driver_call
from prodfix.operations.operation import changes
from prodfix.request.context import watched_effects
from prodfix.request.effects import Effects

Result = TypeVar("Result")

_HARMLESS = frozenset({"createIndexes", "abortTransaction", "killCursors", "endSessions"})


def may_write(name: str, *, is_read: bool, writes_out: bool) -> bool:
    """Whether a call may change data. ``name`` is the driver's for its command; ``is_read`` and ``writes_out`` are what the
    driver takes it for: of ``Database.command`` a read, whatever it is."""
    return writes_out or (changes(name, {}) if is_read else name not in _HARMLESS)


def followed(operation: Callable[[], Result], name: str, session: ClientSession | None) -> Result:
    """The result of the driver's call ``operation``, which may write, and is noted."""
    effects = watched_effects()
    if effects is None:
        return operation()
    if session is not None and session.in_transaction:
        transaction = bytes(session.session_id["id"])
        if name != "commitTransaction":
            effects.wrote_within(transaction)
            return operation()
        effects.committing(transaction)
        return _noted(effects, transaction, name, operation)
    key = object()
    effects.sent(key)
    return _noted(effects, key, name, operation)


def _noted(effects: Effects, key: Hashable, name: str, operation: Callable[[], Result]) -> Result:
    try:
        result = operation()
    except PyMongoError as error:
        _failed(effects, key, error)
        raise
    if isinstance(result, Mapping) and result.get("n") == 0 and not result.get("upserted"):
        effects.met_nothing(key)
    elif result is None and name == "findAndModify":
        effects.doubtful(key)  # it met nothing, or made a document and was asked for the one before
    else:
        effects.applied(key)
    return result


def _failed(effects: Effects, key: Hashable, error: PyMongoError) -> None:
    outcome = classify(error).outcome
    call = driver_call(error, sys._getframe(2))
    if outcome is Outcome.APPLIED:
        effects.applied(key)
    elif outcome is Outcome.UNKNOWN or isinstance(error, BulkWriteError) or (call is not None and call.halfway):
        effects.doubtful(key)  # of a bulk write that the driver has tried twice only the second try is told
    else:
        effects.refused(key)
