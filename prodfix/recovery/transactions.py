"""Transactions that are tried again as the driver's labels say, and never longer than the request may take.

Built on ``start_transaction`` and not on the driver's ``with_transaction``, which retries for 120 seconds; and not on
both. Source: the transactions and the convenient-transactions specifications of MongoDB's drivers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context
from functools import partial
from operator import length_hint
from typing import Any, TypeVar

import pymongo
from bson.errors import InvalidBSON
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, ProtocolError, PyMongoError
from pymongo.synchronous.client_session import ClientSession

from prodfix.classification.classifier import classify
from prodfix.context import current_context
from prodfix.errors import ErrorCategory, Outcome, Severity
from prodfix.frames import database_operation
from prodfix.operations import DatabaseOperation
from prodfix.queries.interceptor import Observed, observed
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.retries import retrying

Result = TypeVar("Result")
Report = Callable[[Severity, str, Mapping[str, Any]], None]

ABORT_LIMIT = 0.4  # seconds
MOST = 50  # operations of an attempt, and attempts, in the log
JITTER = 0.5  # those that met at one document should not meet there again
UNKNOWN_RESULT = "UnknownTransactionCommitResult"
_STANDALONE = 20  # IllegalOperation: "Transaction numbers are only allowed on a replica set member or mongos"


class TransactionsUnsupported(OperationFailure):
    """The server is a standalone one. Transactions need a replica set (one member is enough) or Atlas."""


class Transactions:
    """Runs callbacks in transactions (the seed's TransactionManager).

    Logged are those that failed or were tried again, and all of them if ``verbose``.
    """

    def __init__(
        self,
        client: Callable[[], MongoClient[Any]],
        *,
        retries: int,
        base: float,
        budget: RetryBudget | None = None,
        report: Report = lambda severity, message, facts: None,
        sleep: Callable[[float], None] = time.sleep,
        verbose: bool = False,
    ) -> None:
        self._client = client
        self.verbose = verbose
        self.retries, self.base = retries, base
        self._budget = budget
        self._report = report
        self._sleep = sleep

    def run(self, callback: Callable[[ClientSession], Result], *, retries: int | None = None) -> Result:
        """The result of ``callback(session)``, committed. It may be called several times: it should only use the database.

        Pass ``session`` to every operation: one without it is not part of the transaction. Raises what the callback or
        the commit raised last; then nothing is applied, or, if the error has the label
        ``UnknownTransactionCommitResult``, nobody knows.
        """
        if self._budget is not None:
            self._budget.tried()
        most = self.retries if retries is None else retries
        attempts: list[list[Observed]] = []
        left = iter(range(most))  # retries of the whole and of its commit together

        def attempt() -> Result:
            with observed() as commands, self._client().start_session() as session:
                attempts.append(commands)
                return self._attempt(session, callback, left)

        try:
            result: Result = self._retrying(left, "TransientTransactionError")(attempt)
        except PyMongoError as error:
            unknown = error.has_error_label(UNKNOWN_RESULT)
            outcome = Outcome.UNKNOWN if unknown else Outcome.NOT_APPLIED
            self._tell(_severity(error), attempts, outcome, error)
            explained = _explained(error)
            if explained is error:
                raise
            raise explained from error
        except Exception as error:
            self._tell(Severity.INFO, attempts, Outcome.NOT_APPLIED, error)
            raise
        if len(attempts) > 1 or self.verbose:
            severity = Severity.WARN if len(attempts) > 1 else Severity.INFO
            self._tell(severity, attempts, Outcome.APPLIED, None)
        self._warn_of_strays(attempts[-1])
        return result

    def _attempt(
        self, session: ClientSession, callback: Callable[[ClientSession], Result], left: Iterator[int]
    ) -> Result:
        session.start_transaction()
        _note(Outcome.NOT_APPLIED)
        try:
            result = callback(session)
        except BaseException:
            # Also for a deadline that cuts the callback. What is not aborted holds its locks for a minute.
            if session.in_transaction:
                # In a context of its own: within the request's time, which is over, nothing would be sent. Not shielded: that
                # makes new timers, and the one that is being raised now would no longer be known for the deadline's.
                Context().run(_abort, session)
            raise
        if session.in_transaction:
            _note(Outcome.UNKNOWN)
            self._retrying(left, UNKNOWN_RESULT)(partial(_commit, session))
        _note(None)
        return result

    def _retrying(self, left: Iterator[int], label: str) -> Any:
        return retrying(
            retries=length_hint(left),
            base=self.base,
            jitter=JITTER,
            transient=lambda error: (
                isinstance(error, PyMongoError) and error.has_error_label(label) and next(left, None) is not None
            ),
            allowed=self._budget.take if self._budget is not None else lambda: True,
            sleep=self._sleep,
        )

    def _tell(
        self, severity: Severity, attempts: list[list[Observed]], outcome: Outcome, error: Exception | None
    ) -> None:
        """Log the transaction, with the operations of each attempt as the driver's events told them."""
        context = current_context()
        if error is not None:
            _note(outcome)
        operation = database_operation(error) if error else None
        facts = {
            "database": operation.to_json() if operation else None,
            "attempts": len(attempts),
            "outcome": str(outcome),
            "error": type(error).__name__ if error else None,
            "endpoint": context.endpoint if context else None,
            "operations": [[command.to_json() for command in commands[:MOST]] for commands in attempts[-MOST:]],
        }
        self._report(severity, f"transaction {outcome} after {len(attempts)} attempts", facts)

    def _warn_of_strays(self, commands: list[Observed]) -> None:
        """A write in the callback that was not given the session is applied at once, and stays after a rollback."""
        for command in commands[:MOST]:
            if command.transaction is None and DatabaseOperation(command.operation).writes:
                message = f"{command.operation} on {command.collection} in a transaction's callback without its session"
                self._report(Severity.WARN, message, {"database": command.to_json(), "place": command.place})


def _commit(session: ClientSession) -> None:
    """A reply that nobody can read says as little as one that was lost. The driver labels only the second: without the label the
    commit was not sent again, and its transaction taken for one that was not applied."""
    try:
        session.commit_transaction()
    except (InvalidBSON, ProtocolError) as error:
        raise AutoReconnect("the reply to a commit cannot be read", {"errorLabels": [UNKNOWN_RESULT]}) from error


def _abort(session: ClientSession) -> None:
    with contextlib.suppress(PyMongoError), pymongo.timeout(ABORT_LIMIT):
        session.abort_transaction()


def _severity(error: PyMongoError) -> Severity:
    """The answer's record tells of the error itself; this line only of what its transaction did."""
    meaning = classify(error)
    lost = meaning.category is ErrorCategory.DATABASE_CONNECTION
    return Severity.INFO if meaning.status < 500 else Severity.WARN if lost else Severity.ERROR


def _note(outcome: Outcome | None) -> None:
    """What has become of the request's writes so far, should it end now, by an error or by its deadline."""
    context = current_context()
    if context is not None:
        context.notes.outcome = outcome


def _explained(error: PyMongoError) -> PyMongoError:
    if isinstance(error, OperationFailure) and error.code == _STANDALONE:
        text = "MongoDB runs as a standalone server: transactions need a replica set (mongod --replSet) or Atlas"
        return TransactionsUnsupported(text, error.code, dict(error.details or {}))
    return error
