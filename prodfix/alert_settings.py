"""What the settings say of alerts: which rules there are, who is told of which, and when nobody is to be woken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, cast, get_args
from urllib.parse import unquote

from prodfix.slotted import frozen

AlertKind = Literal[
    "database_lost", "connection_failures", "error_rate", "new_kind", "escalating", "regression", "unignored",
    "dead_letters", "storage_failing", "log_sink", "journal_failing", "journal_full", "journal_damaged", "memory",
]  # fmt: skip
ALERT_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)
ALL_RULES = frozenset(ALERT_KINDS)

HOOKS = frozenset({"hook", "hooks"})
"""Web hooks that get facts and no text: ``hook`` over HTTP, ``hooks`` over HTTPS, as ``json`` and ``jsons`` of Apprise."""
PAGERS = frozenset({"pagerduty", "opsgenie"})
DIRECT = HOOKS | PAGERS
"""Schemes that are sent to without Apprise, with a key that says what belongs together."""

MORNING = 7  # o'clock, where no quiet hours say when it is


def alert_rules(text: str) -> frozenset[AlertKind]:
    """Rules divided by commas or blanks: those alone; or all but those, each with a ``-`` before it. ``all``, ``none``.

    Raises ``ValueError``, which names what there is and not what was given.
    """
    words = [word for word in re.split(r"[,\s]+", text.strip().lower()) if word]
    if words in (["all"], []):
        return ALL_RULES
    if words == ["none"]:
        return frozenset()
    but = [word.startswith("-") for word in words]
    if any(but) and not all(but):
        raise ValueError("must name the rules that count, or those that do not, each with a - before it: not both")
    names = {word.removeprefix("-") for word in words}
    if not names <= ALL_RULES:
        raise ValueError(f"names a rule that there is not; there are: {', '.join(ALERT_KINDS)}")
    known = frozenset(cast(AlertKind, name) for name in names)
    return ALL_RULES - known if any(but) else known


def checked_rules(text: str) -> str:
    """As it was written. Raises as :func:`alert_rules`."""
    alert_rules(text)
    return text.strip()


@frozen
class AlertRoute:
    """A URL of ``ALERT_URLS``, without what is only for us, and the rules whose alerts go there."""

    url: str
    rules: frozenset[AlertKind] = ALL_RULES

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0].lower()


def alert_route(url: str) -> AlertRoute:
    """``slack://a/b/c?rules=new_kind,error_rate``. Raises as :func:`alert_rules`."""
    address, mark, query = url.partition("?")
    parameters = query.split("&") if mark else []
    given = [one.partition("=")[2] for one in parameters if one.partition("=")[0].lower() == "rules"]
    kept = "&".join(one for one in parameters if one.partition("=")[0].lower() != "rules")
    rules = alert_rules(unquote(",".join(given).replace("+", " "))) if given else ALL_RULES
    return AlertRoute(f"{address}?{kept}" if kept else address, rules)


@frozen
class QuietHours:
    """``begin`` and ``end`` are minutes of the day in ``zone``; the day may change between them."""

    begin: int
    end: int
    zone: tzinfo

    def now(self, at: float) -> bool:
        """Whether it is quiet at ``at``, in seconds since the epoch."""
        local = datetime.fromtimestamp(at, self.zone)
        minute = local.hour * 60 + local.minute
        if self.begin <= self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end

    def over(self, at: float) -> float:
        """When they end next after ``at``."""
        return next_time(at, self.end, self.zone)

    def __str__(self) -> str:
        return f"{_clock(self.begin)}-{_clock(self.end)} {self.zone}"


_QUIET = re.compile(
    r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)(?:\s+([A-Za-z][\w+-]*(?:/[\w+-]+){0,2}))?"
)


def quiet_hours(text: str) -> QuietHours | None:
    """``22:00-07:00 Europe/Berlin``, in UTC without a zone; None for an empty text. Raises ``ValueError``."""
    if not text.strip():
        return None
    found = _QUIET.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be hours such as 22:00-07:00 Europe/Berlin")
    begin, end = (int(found[one]) * 60 + int(found[one + 1]) for one in (1, 3))
    if begin == end:
        raise ValueError("must end at another minute than they begin: to be told of nothing, switch the rules off")
    return QuietHours(begin, end, _zone(found[5]))


def _zone(name: str | None) -> tzinfo:
    if name is None or name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # here: most have no use for it

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError("names a time zone that is not known here, such as Europe/Berlin") from None


def checked_quiet_hours(text: str) -> str:
    """As it was written. Raises as :func:`quiet_hours`."""
    quiet_hours(text)
    return text.strip()


def next_morning(at: float, quiet: QuietHours | None) -> float:
    """When the quiet hours end next, or the next 7 o'clock in UTC."""
    return quiet.over(at) if quiet is not None else next_time(at, MORNING * 60, UTC)


def next_time(at: float, minute: int, zone: tzinfo) -> float:
    """The next time that the clocks of ``zone`` show ``minute`` of the day, in seconds since the epoch."""
    local = datetime.fromtimestamp(at, zone)
    day = local.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0, fold=0)
    while day.timestamp() <= at:
        day += timedelta(days=1)  # of the wall clock: a day of 23 or 25 hours is one
    return day.timestamp()


def shown_routes(routes: Mapping[str, frozenset[AlertKind]], kind: AlertKind) -> tuple[str, ...]:
    """The channels, by name, that hear of ``kind``."""
    return tuple(name for name, rules in routes.items() if kind in rules)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
