"""Limits that a caller gives one operation (``max_time_ms``, ``max_commit_time_ms``, ``wtimeout``): the shorter of them and
the deadline holds.

Under ``pymongo.timeout`` the driver replaces the first two by all that is left of the deadline, and leaves the third out
(client-side-operations-timeout specification): a query that may take 300 ms was given 9.5 s.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from pymongo.write_concern import WriteConcern

from prodfix.driver import csot
from prodfix.driver.hooked_pool import ASKS_FOR_CLIENT, Connection
from prodfix.driver.operation_internals import concern_of
from prodfix.driver.session_transactions import commit_limit

Work = Callable[..., Any]


class _Left(int):
    """What is left of a deadline, in a command that is the caller's own mapping: sent again, it must not look like his limit."""


class LimitedConnection(Connection):
    """The driver's connection, whose commands have the shorter one of the caller's limit and what is left of the deadline.

    Every command with a deadline passes ``apply_timeout``. Without a limit of the caller's this is one look into the command.
    """

    max_time: int | None = None
    """Milliseconds, for the commands of the operation that runs now; None where they say it themselves."""
    write_wait: int | None = None
    """Milliseconds, for its write concern (``wtimeout``)."""

    if TYPE_CHECKING or not ASKS_FOR_CLIENT:

        def apply_timeout(self, cmd: MutableMapping[str, Any] | None) -> float | None:
            own = None if cmd is None else cmd.get("maxTimeMS", self.max_time)
            left = super().apply_timeout(cmd)
            return left if cmd is None or left is None else self._shortened(cmd, own, left)

    else:

        def apply_timeout(self, client: Any, cmd: MutableMapping[str, Any] | None) -> float | None:
            own = None if cmd is None else cmd.get("maxTimeMS", self.max_time)
            left = super().apply_timeout(client, cmd)
            return left if cmd is None or left is None else self._shortened(cmd, own, left)

    def _shortened(self, cmd: MutableMapping[str, Any], own: Any, left: float) -> float:
        """``left``, the seconds of the deadline, after the driver has put them into the command in the place of ``own``."""
        if own and type(own) is not _Left:  # 0 is no limit
            if isinstance(own, (int, float)):
                cmd["maxTimeMS"] = min(own, cmd["maxTimeMS"] or own)
        elif type(cmd) is not dict:
            cmd["maxTimeMS"] = _Left(cmd["maxTimeMS"])
        if self.write_wait is not None and "autocommit" not in cmd and self.write_wait < left * 1000:
            cmd.setdefault("writeConcern", {})["wtimeout"] = self.write_wait
        return left

    def command(self, dbname: str, spec: MutableMapping[str, Any], *arguments: Any, **options: Any) -> Any:
        concern: WriteConcern | None = options.get("write_concern")
        if concern is not None and not concern.is_server_default:
            wait, left = _wait(concern), csot.remaining()
            if wait is not None and left is not None and wait < left * 1000:
                spec, options["write_concern"] = {**spec, "writeConcern": concern.document}, None
        return super().command(dbname, spec, *arguments, **options)


def limited(work: Work, session: Any, bulk: Any, operation: str) -> Work:
    """``work(session, connection, retryable)`` of one write, with those limits of its caller's that the driver puts into no
    command: of a commit, and of the write concern of a bulk write."""
    if (bulk is None and operation != "commitTransaction") or csot.deadline() is None:
        return work
    most = commit_limit(session) if bulk is None else None
    concern = concern_of(bulk)
    wait = None if concern is None else _wait(concern)
    if not most and wait is None:
        return work

    def run(session: Any, connection: Any, retryable: bool) -> Any:
        connection.max_time, connection.write_wait = most, wait
        try:
            return work(session, connection, retryable)
        finally:
            connection.max_time = connection.write_wait = None

    return run


def _wait(concern: WriteConcern) -> int | None:
    """Its ``wtimeout``, if there is one: 0 is none, and nobody waits for what is not acknowledged."""
    return concern.document.get("wtimeout") or None if concern.acknowledged else None
