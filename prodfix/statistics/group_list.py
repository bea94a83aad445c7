"""Kinds of errors of a window: put together of its counts, chosen by what is asked for, and put in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, get_args

from prodfix.slotted import frozen
from prodfix.statistics.counts import Seen
from prodfix.statistics.decisions import GroupState
from prodfix.statistics.group_summary import Group, rising, trend_of
from prodfix.statistics.window import Window

GroupSort = Literal["newest", "most", "users", "trend"]
GROUP_SORTS: tuple[GroupSort, ...] = get_args(GroupSort)

_KEYS: dict[GroupSort, Callable[[Group], tuple[float, ...]]] = {
    "newest": lambda group: (group.first_seen,),
    "most": lambda group: (group.seen.count,),
    "users": lambda group: (group.affected()[0] or 0, group.seen.count),
    "trend": lambda group: (group.decision.escalation is not None, rising(group.trend), group.seen.count),
}


@frozen
class GroupFilter:
    """Which kinds are asked for: each part that is not None must be so, or must have happened there. ``category`` and ``status``:
    one of these, where there are several. ``user``: whom it has met, by the records that are kept. ``q``: each of its words
    stands in the headline, the place, an endpoint, the code or the fingerprint."""

    status: GroupState | Collection[GroupState] | None = None
    category: str | Collection[str] | None = None
    endpoint: str | None = None
    device: str | None = None
    release: str | None = None
    user: str | None = None
    q: str | None = None

    def counted(self, group: Group) -> bool:
        """As far as that can be seen of what was counted, which does not tell whom it has met."""
        return (
            (self.category is None or group.category in self._categories)
            and (self.endpoint is None or self.endpoint in group.endpoints)
            and (self.device is None or self.device in group.devices)
            and (self.release is None or self.release in group.seen.releases)
        )

    @property
    def _categories(self) -> Collection[str]:
        return (self.category,) if isinstance(self.category, str) else self.category or ()

    def known(self, group: Group) -> bool:
        """As far as that is known only with what is stored of it. What is not known to be resolved or ignored is open: in an
        outage nobody must read that nothing is wrong."""
        return self._is_wanted(group.decision.status) and self._found(group)

    def _is_wanted(self, status: GroupState) -> bool:
        wanted = {self.status} if isinstance(self.status, str) else self.status
        return wanted is None or status in wanted or (status == "unknown" and "open" in wanted)

    @property
    def asks_what_is_stored(self) -> bool:
        """Whether :meth:`known` is needed."""
        return self.status is not None or bool(self.q)

    def _found(self, group: Group) -> bool:
        if not self.q:
            return True
        words = group.told()
        text = "\n".join((*words, group.title, group.fingerprint, *group.endpoints)).casefold()
        return all(word in text for word in self.q.casefold().split())


ALL_GROUPS = GroupFilter()


def groups_of(window: Window, fingerprint: str | None = None) -> dict[str, Group]:
    """By fingerprint: all, or only that one."""
    groups: dict[str, Group] = {}
    for key, seen in window.counts.errors.items():
        if fingerprint is not None and key.fingerprint != fingerprint:
            continue
        group = groups.get(key.fingerprint)
        if group is None:
            nothing = Seen(0, seen.first, seen.last, frozenset())
            group = groups[key.fingerprint] = Group(key.fingerprint, key.title, key.category, nothing)
        group.add(key, seen)
    return groups


def with_trends(groups: Iterable[Group], window: Window) -> None:
    """Add the trends. Of a window without a beginning it begins with what there is."""
    for group in groups:
        points = window.trends.get(group.fingerprint, {})
        if points:
            first, last = window.first, window.last
            group.trend = trend_of(
                points, min(points) if first is None else first, max(points) if last is None else last
            )


def ordered(groups: Iterable[Group], sort: GroupSort) -> list[Group]:
    """The greatest first; of equal ones always in the same order."""
    by = _KEYS[sort]
    return sorted(sorted(groups, key=lambda group: group.fingerprint), key=by, reverse=True)


def most_frequent(groups: Iterable[Group], most: int) -> Sequence[Group]:
    return sorted(groups, key=lambda group: (-group.seen.count, group.fingerprint))[:most]
