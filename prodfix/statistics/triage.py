"""What an admin decides of a kind of error: that it is done, open again, or to be ignored; and what is noted of it.

It is kept in the group's document, for all instances. While MongoDB is away it is kept on this instance's disk
(:mod:`prodfix.statistics.decision_orders`), shown by its workers, and stored as soon as that can be.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Literal
from urllib.parse import urlsplit

import pymongo
from pymongo.errors import ConnectionFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.synchronous.database import Database

from prodfix.errors import FieldError, ValidationFailed
from prodfix.redaction.redactor import redact_text
from prodfix.statistics.decision_changes import changes_of
from prodfix.statistics.decision_orders import DecisionOrder, DecisionOrders
from prodfix.statistics.groups import ERROR_GROUPS, LIMIT, Groups
from prodfix.statistics.windows import Window

LONGEST_NOTE = 1_000  # characters
LONGEST_NAME = 100
LONGEST_LINK = 500
LATEST = timedelta(days=1)  # for which a decision waits for its group
MOST_MORE = 1_000_000  # errors until which a kind may be ignored


WaitedResult = Literal["changed", "superseded", "not found"]
"""What became of a decision that has waited; superseded: something else was decided later, by somebody's clock."""


class TriageResult(IntEnum):
    """What became of a decision. True for what was decided."""

    NOWHERE = 0
    """There is no such group."""
    STORED = 1
    PENDING = 2
    """It is on this instance's disk, after fsync, and waits for MongoDB."""


class Triage:
    """Changes of groups by hand. Each raises what MongoDB says, except that it is away: then it is kept on disk, where there are
    ``orders``. Raises :class:`prodfix.errors.JournalUnavailable` if the disk does not take it. ``on_waited`` is told what became
    of each that has waited: its admin was told that it holds."""

    def __init__(
        self,
        answering: Callable[[], Database[Any] | None],
        groups: Groups,
        orders: DecisionOrders | None = None,
        *,
        on_waited: Callable[[DecisionOrder, WaitedResult], None] = lambda order, result: None,
    ) -> None:
        self._answering, self._groups, self._orders = answering, groups, orders
        self._on_waited = on_waited

    def resolve(self, fingerprint: str, window: Window, *, by: str, in_next_release: bool = False) -> TriageResult:
        """Mark a group as done, which MongoDB has or, since a moment ago, ``window``. What comes back is a regression; with
        ``in_next_release`` only in a release that the group was not seen in yet."""
        return self._decide(DecisionOrder("resolve", fingerprint, by, _now(), in_next_release=in_next_release), window)

    def reopen(self, fingerprint: str, window: Window | None = None, *, by: str = "") -> TriageResult:
        """Take that back, and that it is ignored."""
        return self._decide(DecisionOrder("reopen", fingerprint, by, _now()), window)

    def ignore(
        self,
        fingerprint: str,
        window: Window,
        *,
        by: str,
        until: datetime | None = None,
        more: int | None = None,
        escalates: bool = False,
    ) -> TriageResult:
        """Let nobody hear of it, for ever, ``until`` a time, until so many ``more`` have happened, or until it ``escalates``; it
        is counted all the same. Raises ``ValidationFailed`` for a time that is over, and for two of them."""
        now = _now()
        if (until is not None) + (more is not None) + escalates > 1:
            problem = FieldError("until", "alone", "only one of until, more and escalates can be asked for")
            return self._refuse(fingerprint, window, problem)
        if until is not None and until <= now:
            problem = FieldError("until", "future", "must be a moment that is yet to come")
            return self._refuse(fingerprint, window, problem)
        if more is not None and not 1 <= more <= MOST_MORE:
            problem = FieldError("more", "range", f"must be from 1 to {MOST_MORE}")
            return self._refuse(fingerprint, window, problem)
        had = window.trends.get(fingerprint, {}).get(int(now.timestamp() // 60), 0)
        order = DecisionOrder("ignore", fingerprint, by, now, until=until, more=more, escalates=escalates, had=had)
        return self._decide(order, window)

    def note(
        self,
        fingerprint: str,
        window: Window,
        *,
        by: str,
        text: str | None = None,
        owner: str | None = None,
        link: str | None = None,
    ) -> TriageResult:
        """Write a note, or who looks after it, or the address of an issue elsewhere; an empty text takes away what was there.
        Notes and names are kept redacted: nobody knows what is pasted. Raises ``ValidationFailed`` for a ``link`` that is no
        http or https URL, or holds what looks like a secret."""
        if text is None and owner is None and link is None:
            return self._refuse(fingerprint, window, FieldError("text", "missing", "or an owner, or a link is needed"))
        address = None if link is None else link.strip()
        if address and (reason := _wrong(address)) is not None:
            return self._refuse(fingerprint, window, FieldError("link", "url", reason))
        order = DecisionOrder(
            "note",
            fingerprint,
            by,
            _now(),
            text=_redacted(text, LONGEST_NOTE),
            owner=_redacted(owner, LONGEST_NAME),
            link=address,
        )
        return self._decide(order, window)

    def apply(self, database: Database[Any]) -> int:
        """Store what has waited on this instance's disk; how many decisions. Raises what MongoDB says; what is not stored by then
        waits on, as does what was decided of a group that MongoDB has not heard of yet."""
        waiting = self._orders.waiting() if self._orders is not None else {}
        if self._orders is None or not waiting:
            return 0
        done: dict[str, WaitedResult] = {}
        with pymongo.timeout(LIMIT):
            for name, order in sorted(waiting.items(), key=lambda item: item[1].at):
                if self._change(database, order, waited=True):
                    done[name] = "changed"
                    if order.action == "resolve":
                        self._groups.look_back(database, order.fingerprint)
                elif self._is_there(database, order.fingerprint):
                    done[name] = "superseded"
                elif _now() - order.at > LATEST:
                    done[name] = "not found"
        if done:
            self._orders.done(done)
        for name, result in done.items():
            self._on_waited(waiting[name], result)
        return len(done)

    def _refuse(self, fingerprint: str, window: Window, problem: FieldError) -> TriageResult:
        """Of a group that is not there, that is what is wrong; of any other, or while nobody can tell, the problem is raised."""
        database = self._answering()
        if database is not None and not _known(fingerprint, window):
            with pymongo.timeout(LIMIT):
                if not self._is_there(database, fingerprint):
                    return TriageResult.NOWHERE
        raise ValidationFailed(problem.message, problems=(problem,))

    def _decide(self, order: DecisionOrder, window: Window | None) -> TriageResult:
        database = self._answering()
        if database is None:
            return self._keep(order, window, ServerSelectionTimeoutError("the database does not answer"))
        try:
            with pymongo.timeout(LIMIT):
                return self._store(database, order, window)
        except PyMongoError as error:
            if isinstance(error, ConnectionFailure) or error.timeout:
                return self._keep(order, window, error)
            raise

    @staticmethod
    def _is_there(database: Database[Any], fingerprint: str) -> bool:
        return database[ERROR_GROUPS].find_one({"_id": fingerprint}, {"_id": 1}) is not None

    def _store(self, database: Database[Any], order: DecisionOrder, window: Window | None) -> TriageResult:
        """Change a group that may not have been stored yet."""
        found = self._change(database, order, waited=False) or (
            window is not None
            and self._groups.introduce(order.fingerprint, window)
            and self._change(database, order, waited=False)
        )
        return TriageResult.STORED if found else TriageResult.NOWHERE

    @staticmethod
    def _change(database: Database[Any], order: DecisionOrder, *, waited: bool) -> bool:
        """Whether one of its parts has found the group; of what has waited, the others gave way to a later decision."""
        groups = database[ERROR_GROUPS]
        found = [
            groups.update_one(change.query(order.fingerprint, waited=waited), change.update()).matched_count
            for change in changes_of(order)
        ]
        return any(found)

    def _keep(self, order: DecisionOrder, window: Window | None, error: PyMongoError) -> TriageResult:
        """What nobody can tell to be a group is refused, as before anything could wait."""
        known = window is None or _known(order.fingerprint, window)
        if self._orders is None or not known:
            raise error
        self._orders.keep(order)
        return TriageResult.PENDING


def _known(fingerprint: str, window: Window) -> bool:
    return any(key.fingerprint == fingerprint for key in window.counts.errors)


def _now() -> datetime:
    return datetime.now(UTC)


def _redacted(text: str | None, longest: int) -> str | None:
    return None if text is None else redact_text(text.strip()[:longest].encode("utf-8", "replace").decode())


def _wrong(link: str) -> str | None:
    """What is wrong with the address of an issue; None if nothing is."""
    if len(link) > LONGEST_LINK or not link.isprintable() or not link.isascii() or " " in link:
        return f"must be a URL of at most {LONGEST_LINK} characters"
    try:
        parts = urlsplit(link)
        port_or_none = parts.port  # which may be none that there is
    except ValueError:
        return "must be an http or https URL"
    if parts.scheme not in ("http", "https") or not parts.hostname or port_or_none == 0:
        return "must be an http or https URL"
    if "@" in parts.netloc:
        return "must not hold credentials"
    return "must not hold what looks like a secret" if redact_text(link) != link else None
