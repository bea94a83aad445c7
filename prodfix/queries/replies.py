"""What the driver's events of one command tell of its effect, for :class:`prodfix.request.effects.Effects`.

Sources: the command-logging-and-monitoring, transactions, retryable-writes and bulk-write specifications of MongoDB's drivers;
the server's replies to ``insert``, ``update``, ``delete``, ``findAndModify`` and ``bulkWrite``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from pymongo.errors import OperationFailure

from prodfix.classification.classifier import classify
from prodfix.errors import Outcome
from prodfix.operations.operation import merges
from prodfix.request.effects import Effects

Told = Callable[[Hashable], None]

_STATEMENTS = frozenset({"insert", "update", "delete"})
_COUNTS = ("nInserted", "nMatched", "nModified", "nUpserted", "nDeleted")


def note_sent(effects: Effects, name: str, command: Mapping[str, Any], operation_id: Hashable) -> None:
    """A command that writes is about to be sent. ``operation_id`` is the driver's, and the same for each of its tries."""
    if command.get("autocommit") is not False:
        effects.sent(operation_id)
    elif name == "commitTransaction":
        effects.committing(_transaction(command))
    else:
        effects.wrote_within(_transaction(command))


def key_of(name: str, command: Mapping[str, Any], operation_id: Hashable) -> Hashable | None:
    """The key under which the write was sent; None for one within a transaction, which is nothing by itself."""
    if command.get("autocommit") is not False:
        return operation_id
    return _transaction(command) if name == "commitTransaction" else None


def note_reply(
    effects: Effects, key: Hashable, name: str, command: Mapping[str, Any], reply: Mapping[str, Any]
) -> None:
    """It was answered. Refusals of single statements are in the reply, too."""
    if name in _STATEMENTS:
        _of_statements(effects, name, command, reply)(key)
    else:
        _of_reply(effects, name, command, reply)(key)


def note_failure(
    effects: Effects, key: Hashable, name: str, command: Mapping[str, Any], failure: Mapping[str, Any]
) -> None:
    """It was refused as a whole, or its reply never came."""
    _of_failure(effects, name, command, failure)(key)


def _transaction(command: Mapping[str, Any]) -> tuple[bytes, int]:
    return bytes(command["lsid"]["id"]), command["txnNumber"]


def _of_reply(effects: Effects, name: str, command: Mapping[str, Any], reply: Mapping[str, Any]) -> Told:
    if name == "commitTransaction":
        # Applied where it was asked, and perhaps rolled back yet.
        return effects.doubtful if "writeConcernError" in reply else effects.applied
    if name == "bulkWrite":
        some = any(reply.get(count) for count in _COUNTS)
        if reply.get("nErrors"):
            return effects.doubtful if some or _many(command.get("ops")) else effects.refused
        return effects.applied if some or not reply.get("ok") else effects.met_nothing
    if name in ("findAndModify", "findandmodify"):
        last = reply.get("lastErrorObject")
        met = last.get("n") if isinstance(last, Mapping) else reply.get("value") is not None
        return effects.applied if met else effects.met_nothing
    return effects.applied


def _of_statements(effects: Effects, name: str, command: Mapping[str, Any], reply: Mapping[str, Any]) -> Told:
    count = reply.get("n")
    if count is None:
        return effects.doubtful  # w: 0, which nobody confirms
    some = bool(count) or bool(reply.get("upserted"))
    if reply.get("writeErrors"):
        # A statement for many documents that fails at one of them reports n: 0, and has changed those before it (SERVER-25716).
        return effects.doubtful if some or (name != "insert" and _many(command.get(name + "s"))) else effects.refused
    return effects.applied if some else effects.met_nothing


def _of_failure(effects: Effects, name: str, command: Mapping[str, Any], failure: Mapping[str, Any]) -> Told:
    code = failure.get("code")
    if not isinstance(code, int):
        return effects.doubtful  # the driver's own words: the connection was lost, or the time was over
    labels = failure.get("errorLabels") or ()
    if "NoWritesPerformed" in labels or (name == "commitTransaction" and "TransientTransactionError" in labels):
        return effects.refused
    if merges(command):
        return effects.doubtful  # it writes as it reads
    outcome = classify(OperationFailure("", code, dict(failure))).outcome
    return effects.refused if outcome is Outcome.NOT_APPLIED else effects.doubtful


def _many(statements: Any) -> bool:
    """Whether one of the statements is for many documents. What cannot be looked at may be."""
    if not isinstance(statements, list):
        return True
    return any(statement.get("multi") or statement.get("limit") == 0 for statement in statements)
