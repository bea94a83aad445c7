"""What is known of groups of errors, for who shows them: chosen, put in order, and with what MongoDB and the journals tell.

Only those that are shown are told in full. A list counts all of its kinds, and shows some of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pymongo
from pymongo.synchronous.database import Database

from prodfix.errors import UNANSWERED
from prodfix.sound_fields import sound
from prodfix.statistics.counts import Seen
from prodfix.statistics.decision_changes import decides_state, with_orders
from prodfix.statistics.decision_orders import DecisionOrder, DecisionOrders, pending_by_kind
from prodfix.statistics.decisions import GROUP_TYPES, OPEN, UNKNOWN, Decision, decision_of
from prodfix.statistics.group_list import (
    ALL_GROUPS,
    GroupFilter,
    GroupSort,
    groups_of,
    most_frequent,
    ordered,
    with_trends,
)
from prodfix.statistics.group_summary import NEW, Group, GroupSummary, KindWords, moment
from prodfix.statistics.kinds import Kinds
from prodfix.statistics.window import Window

ERROR_GROUPS = "error_groups"
MOST = 1_000  # groups that are told apart in one answer
LIMIT = 3.0  # seconds


class KnownGroups:
    """Those that a window has, and those of MongoDB. ``kinds_of`` finds the kinds that a user has met. Never raises for a
    database that is down."""

    def __init__(
        self,
        answering: Callable[[], Database[Any] | None],
        *,
        kinds: Kinds | None = None,
        orders: DecisionOrders | None = None,
        kinds_of: Callable[[str, Window], Collection[str]] = lambda user, window: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._answering, self._kinds, self._orders = answering, kinds, orders
        self._kinds_of, self._clock = kinds_of, clock

    def page(
        self,
        window: Window,
        wanted: GroupFilter = ALL_GROUPS,
        *,
        sort: GroupSort = "most",
        limit: int = MOST,
        offset: int = 0,
    ) -> tuple[list[GroupSummary], int]:
        """Groups of a window, the greatest by ``sort`` first, and how many there are in all. Of more than :data:`MOST` the rare
        ones are left out. Their figures are of all that they have in the window. What MongoDB cannot tell the status of may be
        open, and is found as such, too.
        """
        if sort == "most" and not wanted.asks_what_is_stored:
            found = self._counted(window, wanted)
            shown = found[offset : offset + limit]
            self._know(shown)
        else:
            found = self.chosen(window, wanted, sort=sort)
            shown = found[offset : offset + limit]
        return self.summaries(shown, window), len(found)

    def chosen(self, window: Window, wanted: GroupFilter = ALL_GROUPS, *, sort: GroupSort = "most") -> Sequence[Group]:
        """All of them, with what was decided of each: for a list that counts them, and has a page of them told by
        :meth:`summaries`."""
        found = self._counted(window, wanted)
        self._know(found)
        if sort == "trend":
            with_trends(found, window)
        return ordered(filter(wanted.known, found), sort)

    def summaries(self, groups: Sequence[Group], window: Window) -> list[GroupSummary]:
        """What is shown of some of :meth:`chosen`."""
        with_trends(groups, window)
        return [group.summary() for group in groups]

    def _counted(self, window: Window, wanted: GroupFilter) -> Sequence[Group]:
        """The most frequent that are so as far as the counts and the records tell."""
        found: Iterable[Group] = filter(wanted.counted, groups_of(window).values())
        if wanted.user is not None:
            met = self._kinds_of(wanted.user, window)
            found = (group for group in found if group.fingerprint in met)
        return most_frequent(found, MOST)

    def find(self, fingerprint: str, window: Window) -> GroupSummary | None:
        """One group: as often as it happened in ``window``, which may be never. None if nobody knows it."""
        group = groups_of(window, fingerprint).get(fingerprint)
        if group is not None:
            self._know([group])
            return self.summaries([group], window)[0]
        for document in self._stored([fingerprint]) or ():
            now = moment(self._clock())
            first, last = ((document.get(name) or now).timestamp() for name in ("firstSeen", "lastSeen"))
            seen = Seen(0, first, last, frozenset(filter(_is_text, document.get("releases") or ())))
            group = Group(
                fingerprint, document.get("title") or fingerprint, document.get("category") or "unknown", seen
            )
            self._add(group, document, self._pending().get(fingerprint, ()))
            return group.summary()
        return None

    def _know(self, groups: Sequence[Group]) -> None:
        """Add what MongoDB knows of them, and what waits for it."""
        stored, pending = self._stored([group.fingerprint for group in groups]), self._pending()
        known = None if stored is None else {document["_id"]: document for document in stored}
        for group in groups:
            document = known.get(group.fingerprint, {}) if known is not None else None
            self._add(group, document, pending.get(group.fingerprint, ()))
        silent = [group.fingerprint for group in groups if group.words is None]
        words = self._kinds.words(silent) if self._kinds is not None else {}
        for group in groups:
            group.words = group.words or words.get(group.fingerprint)

    def _add(self, group: Group, document: Mapping[str, Any] | None, orders: Sequence[DecisionOrder]) -> None:
        """``document``: empty while MongoDB has not heard of the group yet, None while it does not answer."""
        if document:
            group.first = document["firstSeen"].timestamp() if document.get("firstSeen") else None
            if document.get("headline"):
                group.words = KindWords(document["headline"], document.get("place") or "", document.get("code") or "")
        if document is not None:
            group.new = self._clock() - group.first_seen < NEW.total_seconds()
        group.pending = bool(orders)
        group.decision = _decision(document, orders, moment(self._clock()))

    def _pending(self) -> Mapping[str, list[DecisionOrder]]:
        return pending_by_kind(self._orders.waiting().values()) if self._orders is not None else {}

    def _stored(self, fingerprints: Sequence[str]) -> list[dict[str, Any]] | None:
        database = self._answering()
        if database is None:
            return None
        try:
            with pymongo.timeout(LIMIT):
                found = database[ERROR_GROUPS].find({"_id": {"$in": list(fingerprints)}})
                return [sound(document, GROUP_TYPES) for document in found]
        except UNANSWERED:
            return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _decision(document: Mapping[str, Any] | None, orders: Sequence[DecisionOrder], now: datetime) -> Decision:
    if not orders:
        return UNKNOWN if document is None else decision_of(document, now) if document else OPEN
    found = decision_of(with_orders(document or {}, orders), now)
    return found if document is not None or decides_state(orders) else replace(found, status="unknown")
