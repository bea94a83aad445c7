"""The transaction of a session, also after a commit without an answer, where the driver would not abort it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.synchronous.client_session import ClientSession

from prodfix.driver.private_names import PrivateName, found, sets, takes

if TYPE_CHECKING:
    from pymongo.client_session_shared import _TxnState
else:
    _TxnState = found("pymongo.client_session_shared", "_TxnState") or found(
        "pymongo.synchronous.client_session",
        "_TxnState",  # until 4.17
    )

_STATES = all(hasattr(_TxnState, name) for name in ("IN_PROGRESS", "COMMITTED", "ABORTED"))
_HAS_TRANSACTION = sets(ClientSession, "_transaction")
_FINISHES = takes(ClientSession, "_finish_transaction_with_retry")
_KNOWN = _STATES and _HAS_TRANSACTION and _FINISHES

_ABORTS_LOST = "the abort of a transaction whose commit was not answered: it is left to the server's own limit"

TRANSACTION_NAMES = (
    PrivateName("_TxnState", _ABORTS_LOST, _STATES),
    PrivateName("ClientSession._transaction", _ABORTS_LOST, _HAS_TRANSACTION),
    PrivateName("ClientSession._finish_transaction_with_retry", _ABORTS_LOST, _FINISHES),
)


def commit_limit(session: ClientSession) -> int | None:
    """``max_commit_time_ms`` of the session's transaction."""
    options = getattr(getattr(session, "_transaction", None), "opts", None)
    return options.max_commit_time_ms if options is not None else None


def in_doubt(session: ClientSession) -> bool:
    """Whether a command of the session's transaction was sent, and no abort since. A commit that was answered ended it, but
    that is for the caller to know."""
    if not _KNOWN:
        return session.in_transaction
    return session._transaction.state in (_TxnState.IN_PROGRESS, _TxnState.COMMITTED)


def abort(session: ClientSession) -> None:
    """Abort the session's transaction, also after a commit without an answer. Raises what the server or the driver says.

    The driver's own ``abort_transaction`` tells nobody whether it worked, and does not abort after a commit.
    """
    if not _KNOWN:
        session.abort_transaction()
        return
    session._transaction.state = _TxnState.IN_PROGRESS  # as the driver does before another commit
    session._finish_transaction_with_retry("abortTransaction")


def aborted(session: ClientSession) -> None:
    """Have the session know that its transaction is open no more."""
    if _KNOWN:
        session._transaction.state = _TxnState.ABORTED
