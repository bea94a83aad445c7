"""What was before a kind of error was ignored, and what has come since: told apart within the minute in which that was decided.

Counts are kept by minutes. So a decision carries how many its own minute had already (``had``), as the worker that was asked knew
it: what came after it, in the same minute, is the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prodfix.statistics.predictions import DAY, usual_of
from prodfix.statistics.window import HOUR

WEEK = 7 * DAY  # minutes


def decided_in(ignored: Mapping[str, Any]) -> int:
    """The minute in which it was decided."""
    return int(ignored["at"].timestamp() // 60)


def after_decision(
    points: Mapping[int, int], ignored: Mapping[str, Any], last: int, *, counted: int | None = None
) -> int:
    """How many of ``points`` (by minute) came after it was decided, until ``last``; only those after the minute ``counted``."""
    at = decided_in(ignored)
    since = at - 1 if counted is None else counted
    more = sum(count for minute, count in points.items() if max(since, at - 1) < minute <= last)
    return more - min(_had(ignored), points.get(at, 0)) if since < at <= last else more


def before_decision(document: Mapping[str, Any], points: Mapping[int, int], hour: Mapping[int, int]) -> dict[str, Any]:
    """What was usual within an hour when the kind was ignored: since it was first seen, at most seven days; and no less than the
    hour before that, of which whoever decided did not want to hear any more. ``points``: all of an hour may stand in
    its middle; ``hour``: the minutes until it was decided."""
    ignored = document["ignored"]
    at = decided_in(ignored)
    begun = at // HOUR * HOUR
    first = int(document["firstSeen"].timestamp() // 60) // HOUR * HOUR
    minutes = min(WEEK, max(HOUR, at - first + 1))
    last = {minute: count for minute, count in hour.items() if at - HOUR < minute < at}
    last[at] = min(_had(ignored), hour.get(at, 0))
    known = {minute: count for minute, count in points.items() if minute < begun}
    known |= {minute: count for minute, count in last.items() if minute >= begun}
    usual = usual_of(known, at, minutes)._replace(recent=sum(last.values()))
    return {"expected": round(usual.expected, 2), "bound": usual.bound, "days": round(minutes / DAY, 2)}


def is_counting(document: Mapping[str, Any]) -> bool:
    """Whether it is ignored until so many more of it."""
    ignored = document.get("ignored")
    return isinstance(ignored, Mapping) and (ignored.get("left") or 0) > 0


def is_timed(document: Mapping[str, Any]) -> bool:
    """Whether it is ignored until a time."""
    ignored = document.get("ignored")
    return isinstance(ignored, Mapping) and isinstance(ignored.get("until"), datetime)


def lacks_history(document: Mapping[str, Any]) -> bool:
    """Whether it is ignored until it escalates, and nobody has noted yet what was before that."""
    ignored = document.get("ignored")
    return isinstance(ignored, Mapping) and bool(ignored.get("escalates")) and "usual" not in ignored


def _had(ignored: Mapping[str, Any]) -> int:
    return int(ignored.get("had") or 0)
