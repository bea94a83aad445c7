"""Transactions that are tried again as the driver's labels say, and never longer than the request may take.

Built on ``start_transaction`` and not on the driver's ``with_transaction``, which retries for 120 seconds; and not on
both. Source: the transactions and the convenient-transactions specifications of MongoDB's drivers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.synchronous.client_session import ClientSession

from prodfix.context import current_context
from prodfix.errors import Outcome, Severity
from prodfix.frames import database_operation
from prodfix.retries import retrying

Result = TypeVar("Result")
Report = Callable[[Severity, str, Mapping[str, Any]], None]

JITTER = 0.5  # those that met at one document should not meet there again
_STANDALONE = 20  # IllegalOperation: "Transaction numbers are only allowed on a replica set member or mongos"


class TransactionsUnsupported(OperationFailure):
    """The server is a standalone one. Transactions need a replica set (one member is enough) or Atlas."""


class Transactions:
    """Runs callbacks in transactions (the seed's TransactionManager)."""

    def __init__(
        self,
        client: Callable[[], MongoClient[Any]],
        *,
        retries: int,
        base: float,
        report: Report = lambda severity, message, facts: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self.retries, self.base = retries, base
        self._report = report
        self._sleep = sleep

    def run(self, callback: Callable[[ClientSession], Result], *, retries: int | None = None) -> Result:
        """The result of ``callback(session)``, committed. It may be called several times: it should only use the database.

        Pass ``session`` to every operation: one without it is not part of the transaction. Raises what the callback or
        the commit raised last; then nothing is applied, or, if the error has the label
        ``UnknownTransactionCommitResult``, nobody knows.
        """
        most = self.retries if retries is None else retries
        attempts = 0

        def attempt() -> Result:
            nonlocal attempts
            attempts += 1
            with self._client().start_session() as session:
                return self._attempt(session, callback, most)

        try:
            result: Result = self._retrying(most, "TransientTransactionError")(attempt)
        except PyMongoError as error:
            unknown = error.has_error_label("UnknownTransactionCommitResult")
            self._tell(Severity.ERROR, attempts, Outcome.UNKNOWN if unknown else Outcome.NOT_APPLIED, error)
            explained = _explained(error)
            if explained is error:
                raise
            raise explained from error
        except Exception as error:
            self._tell(Severity.INFO, attempts, Outcome.NOT_APPLIED, error)
            raise
        if attempts > 1:
            self._tell(Severity.WARN, attempts, Outcome.APPLIED, None)
        return result

    def _attempt(self, session: ClientSession, callback: Callable[[ClientSession], Result], most: int) -> Result:
        session.start_transaction()
        try:
            result = callback(session)
        except BaseException:
            # Also for a deadline that cuts the callback. The driver itself ignores errors of an abort.
            if session.in_transaction:
                session.abort_transaction()
            raise
        if session.in_transaction:
            self._retrying(most, "UnknownTransactionCommitResult")(session.commit_transaction)
        return result

    def _retrying(self, most: int, label: str) -> Any:
        return retrying(
            retries=most,
            base=self.base,
            jitter=JITTER,
            transient=lambda error: isinstance(error, PyMongoError) and error.has_error_label(label),
            sleep=self._sleep,
        )

    def _tell(self, severity: Severity, attempts: int, outcome: Outcome, error: Exception | None) -> None:
        context = current_context()
        operation = database_operation(error) if error else None
        facts = {
            "database": operation.to_json() if operation else None,
            "attempts": attempts,
            "outcome": str(outcome),
            "error": type(error).__name__ if error else None,
            "endpoint": context.endpoint if context else None,
        }
        self._report(severity, f"transaction {outcome} after {attempts} attempts", facts)


def _explained(error: PyMongoError) -> PyMongoError:
    if isinstance(error, OperationFailure) and error.code == _STANDALONE:
        text = "MongoDB runs as a standalone server: transactions need a replica set (mongod --replSet) or Atlas"
        return TransactionsUnsupported(text, error.code, dict(error.details or {}))
    return error
