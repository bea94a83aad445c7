"""What a decision changes in a group's document: for MongoDB, and for whoever shows what waits for it.

``decided`` tells when state, note, owner and link were decided last. A decision that has waited gives way to a later one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from prodfix.statistics.decision_orders import DecisionOrder

RESOLVED = ("resolvedAt", "resolvedBy", "regressedAt", "resolvedReleases")


class DecisionChange(NamedTuple):
    """One part of a decision: ``set`` and ``unset`` are fields of the document. ``releases``: those that the group has now are
    kept as those in which it was resolved."""

    part: str
    at: datetime
    set: Mapping[str, Any]
    unset: tuple[str, ...] = ()
    releases: bool = False

    def query(self, fingerprint: str, *, waited: bool) -> dict[str, Any]:
        """For the group; of what has ``waited`` only while nothing later was decided."""
        later = {f"decided.{self.part}": {"$not": {"$gte": self.at}}} if waited else {}
        return {"_id": fingerprint, **later}

    def update(self) -> Any:
        """For ``update_one``."""
        fields = {**self.set, f"decided.{self.part}": self.at}
        if self.releases:  # a pipeline, as it copies a field: what is text in it must be said to be so
            literal = {name: {"$literal": value} if isinstance(value, str) else value for name, value in fields.items()}
            return [{"$set": {**literal, "resolvedReleases": "$releases"}}]
        return {"$set": fields, **({"$unset": dict.fromkeys(self.unset, "")} if self.unset else {})}

    def shown(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document as it will be."""
        decided = document.get("decided") or {}
        before = decided.get(self.part)
        if isinstance(before, datetime) and before >= self.at:
            return document
        kept = {name: value for name, value in document.items() if name not in self.unset}
        return {**kept, **self.set, "decided": {**decided, self.part: self.at}}


def changes_of(order: DecisionOrder) -> Iterator[DecisionChange]:
    """The parts of a decision, each of which may be later or earlier than what is stored of it."""
    at, by = order.at, order.by
    if order.action == "resolve":
        fields = {"resolvedAt": at, "resolvedBy": by, "regressedAt": None, "resolvedReleases": [], "ignored": None}
        yield DecisionChange("state", at, fields, releases=order.in_next_release)
    elif order.action == "reopen":
        yield DecisionChange("state", at, {}, (*RESOLVED, "ignored"))
    elif order.action == "ignore":
        ignored: dict[str, Any] = {"by": by, "at": at, "until": order.until}
        watched = {"watched": True} if order.until is not None else {}
        if order.more is not None:
            # Counted from its own minute on, without what that had already; see prodfix.statistics.escalations.
            counted = int(at.timestamp() // 60) - 1
            ignored |= {"more": order.more, "left": order.more, "countedTo": counted, "had": order.had}
            watched = {"watched": True}
        if order.escalates:
            ignored |= {"escalates": True, "had": order.had}
            watched = {"watched": True}
        yield DecisionChange("state", at, {"ignored": ignored, **watched}, (*RESOLVED, "escalation"))
    else:
        noted = {"text": order.text, "by": by, "at": at} if order.text else None
        for part, given, value in (
            ("note", order.text, noted),
            ("owner", order.owner, order.owner),
            ("link", order.link, order.link),
        ):
            if given is not None:
                yield DecisionChange(part, at, {part: value} if value else {}, () if value else (part,))


def with_orders(document: Mapping[str, Any], orders: Iterable[DecisionOrder]) -> dict[str, Any]:
    """A group's document as it will be once these are applied."""
    shown = dict(document)
    for order in orders:
        for change in changes_of(order):
            shown = change.shown(shown)
    return shown


def decides_state(orders: Iterable[DecisionOrder]) -> bool:
    """Whether one of them says what state the group is in."""
    return any(order.action != "note" for order in orders)
