"""Transactions that are tried again as the driver's labels say, and never longer than the request may take.

Built on ``start_transaction`` and not on the driver's ``with_transaction``, which retries for 120 seconds; and not on
both. Source: the transactions and the convenient-transactions specifications of MongoDB's drivers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from operator import length_hint
from typing import Any, TypeVar

from bson.errors import InvalidBSON
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, ProtocolError, PyMongoError, WriteConcernError
from pymongo.synchronous.client_session import ClientSession

from prodfix.classification.classifier import classify
from prodfix.classification.server_replies import code_of, details_of, server_code
from prodfix.errors import ErrorCategory, Outcome, Severity
from prodfix.operations.frames import database_operation
from prodfix.operations.operation import DatabaseOperation
from prodfix.queries.interceptor import Observed, observed
from prodfix.recovery import conflicts
from prodfix.recovery.aborts import Aborts, answered
from prodfix.recovery.budget import RetryBudget
from prodfix.recovery.conflicts import Conflicts
from prodfix.recovery.retries import retrying
from prodfix.request.context import current_context
from prodfix.settings import Settings

Result = TypeVar("Result")
Report = Callable[[Severity, str, Mapping[str, Any]], None]

MOST = 50  # operations of an attempt, and attempts, in the log
JITTER = 0.5  # those that met at one document should not meet there again
TRANSIENT, UNKNOWN_RESULT = "TransientTransactionError", "UnknownTransactionCommitResult"
_EXPIRED = 50  # MaxTimeMSExpired
_STANDALONE = 20  # IllegalOperation: "Transaction numbers are only allowed on a replica set member or mongos"


LONGEST_BASE = 0.2  # seconds; an election is over sooner than an outage


class TransactionsUnsupported(OperationFailure):
    """The server is a standalone one. Transactions need a replica set (one member is enough) or Atlas."""


class Transactions:
    """Runs callbacks in transactions (the seed's TransactionManager).

    Logged are those that failed or were tried again, and all of them if ``verbose``. ``retries`` and ``budget`` are for what an
    outage does to them; ``conflicts`` and ``aborts`` know what to do with write conflicts, and with what is cut off.
    """

    def __init__(
        self,
        client: Callable[[], MongoClient[Any]],
        *,
        retries: int,
        base: float,
        budget: RetryBudget | None = None,
        conflicts: Conflicts | None = None,
        aborts: Aborts | None = None,
        report: Report = lambda severity, message, facts: None,
        sleep: Callable[[float], None] = time.sleep,
        verbose: bool = False,
    ) -> None:
        self._client = client
        self.verbose = verbose
        self.retries, self.base = retries, base
        self._budget = budget
        self._conflicts = conflicts or Conflicts(sleep=sleep)
        self.aborts = aborts or Aborts(lambda session: client().admin.command("killSessions", [session]))
        self._report = report
        self._sleep = sleep

    @classmethod
    def made(
        cls,
        settings: Settings,
        client: Callable[[], MongoClient[Any]],
        *,
        budget: RetryBudget,
        conflicts: Conflicts,
        aborts: Aborts,
        report: Report,
    ) -> Transactions:
        """Those of an application."""
        return cls(
            client,
            retries=settings.max_retry_attempts,
            base=min(settings.retry_base_delay_ms / 1000, LONGEST_BASE),
            budget=budget,
            conflicts=conflicts,
            aborts=aborts,
            report=report,
            verbose=settings.log_level == "debug",
        )

    def run(
        self, callback: Callable[[ClientSession], Result], *, retries: int | None = None, place: Hashable = None
    ) -> Result:
        """The result of ``callback(session)``, committed. It may be called several times: it should only use the database.

        Pass ``session`` to every operation: one without it is not part of the transaction. ``retries``: how often it may be
        called again at most, after write conflicts too. ``place``: a document that it is known to change. Raises what the
        callback or the commit raised last; then nothing is applied, or, if the error has the label
        ``UnknownTransactionCommitResult``, nobody knows.
        """
        if self._budget is not None:
            self._budget.tried()
        attempts: list[list[Observed]] = []
        left = iter(range(self.retries if retries is None else retries))  # of the whole and of its commit together
        again = self._conflicts.tries() if retries is None else left  # after write conflicts

        def attempt() -> Result:
            with observed() as commands:
                attempts.append(commands)
                return self._attempt(callback, left)

        try:
            result: Result = self._retrying(left, _transient)(
                self._conflicts.through, attempt, again, place=place, worth=_labelled
            )
        except PyMongoError as error:
            explained = _explained(error)
            unknown = explained.has_error_label(UNKNOWN_RESULT)
            outcome = Outcome.UNKNOWN if unknown else Outcome.NOT_APPLIED
            self._tell(_severity(explained), attempts, outcome, explained)
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

    def _attempt(self, callback: Callable[[ClientSession], Result], left: Iterator[int]) -> Result:
        session = self._client().start_session()
        session.start_transaction()
        try:
            result = callback(session)
        except BaseException as error:
            # Also for a deadline that cuts the callback. What is not aborted holds its locks for a minute.
            (self.aborts.now if answered(error) else self.aborts.put)(session)
            raise
        if session.in_transaction:
            conflicts.forget()
            try:
                self._retrying(left, _commit_again)(partial(_commit, session))
            except BaseException as error:
                if _told(error):
                    session.end_session()
                else:
                    self.aborts.put(session)
                raise
        session.end_session()
        return result

    def _retrying(self, left: Iterator[int], again: Callable[[PyMongoError], bool]) -> Any:
        return retrying(
            retries=length_hint(left),
            base=self.base,
            jitter=JITTER,
            transient=lambda error: isinstance(error, PyMongoError) and again(error) and next(left, None) is not None,
            allowed=self._budget.take if self._budget is not None else lambda: True,
            sleep=self._sleep,
        )

    def _tell(
        self, severity: Severity, attempts: list[list[Observed]], outcome: Outcome, error: Exception | None
    ) -> None:
        """Log the transaction, with the operations of each attempt as the driver's events told them."""
        context = current_context()
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


def _labelled(error: BaseException) -> bool:
    """Whether all of it may be done again: it was taken back."""
    if not isinstance(error, PyMongoError) or not error.has_error_label(TRANSIENT):
        return False
    return not error.has_error_label(UNKNOWN_RESULT)


def _transient(error: PyMongoError) -> bool:
    """Whether it was taken back for another reason than a conflict."""
    return _labelled(error) and not classify(error).contended


def _commit_again(error: PyMongoError) -> bool:
    """Whether the commit may be sent again: not one whose time was over (convenient-transactions specification)."""
    concern = details_of(error).get("writeConcernError")
    codes = (server_code(error), code_of(concern) if isinstance(concern, Mapping) else None)
    return error.has_error_label(UNKNOWN_RESULT) and _EXPIRED not in codes


def _told(error: BaseException) -> bool:
    """Whether ``error``, which ended a commit, tells that the transaction is over: applied, or taken back."""
    if isinstance(error, WriteConcernError):
        return True
    return isinstance(error, OperationFailure) and not error.has_error_label(UNKNOWN_RESULT)


def _commit(session: ClientSession) -> None:
    """A reply that nobody can read says as little as one that was lost. The driver labels only the second: without the label the
    commit was not sent again, and its transaction taken for one that was not applied."""
    try:
        session.commit_transaction()
    except (InvalidBSON, ProtocolError) as error:
        raise AutoReconnect("the reply to a commit cannot be read", {"errorLabels": [UNKNOWN_RESULT]}) from error


def _severity(error: PyMongoError) -> Severity:
    """The answer's record tells of the error itself; this line only of what its transaction did."""
    meaning = classify(error)
    lost = meaning.category is ErrorCategory.DATABASE_CONNECTION
    return Severity.INFO if meaning.status < 500 else Severity.WARN if lost else Severity.ERROR


def _explained(error: PyMongoError) -> PyMongoError:
    if isinstance(error, OperationFailure) and error.code == _STANDALONE:
        text = "MongoDB runs as a standalone server: transactions need a replica set (mongod --replSet) or Atlas"
        return TransactionsUnsupported(text, error.code, dict(error.details or {}))
    if getattr(error, "timeout", False) and conflicts.fresh():
        return conflicts.without_end(error)
    return error
