"""Kinds of errors as a table of the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from prodfix.cli.fitted_table import FittedTable
from prodfix.cli.read_only import short_time, table, words
from prodfix.statistics.group_summary import GroupSummary

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {
    "regression": "bold red",
    "escalating": "bold red",
    "new": "bold yellow",
    "resolved": "green",
    "ignored": "dim",
    "pending": "yellow",
}
_MAY_BE_MISSING = ("badges", "owner", "link")
_TIMES = ("firstSeen", "lastSeen")
_NAMES = ("status", *_MAY_BE_MISSING, "code", "category", "count", "firstSeen", "lastSeen", "releases", "devices",
          "endpoints")  # fmt: skip
_NARROW = 100  # columns; below them a trend has half of its bars


def kind_table(groups: Sequence[GroupSummary], width: int) -> FittedTable:
    """Its ID first, which is never cut; then how often and whom it met, and what it is, with its place below it."""
    drawn = table(
        *("fingerprint", "count", "users", "trend", "error", "state"),
        ids=("fingerprint",),
        numbers=("count", "users"),
        lines=("trend",),
        prose=("error",),
        spare=("users", "trend"),
    )
    for group in groups:
        error = words(group.headline or group.message)
        if group.place:
            error = Text("\n").join((error, words(group.place, "dim")))
        drawn.add_row(
            words(group.fingerprint),
            words(f"{group.count:,}"),
            words(users_of_kind(group)),
            words(bars(group.trend if width >= _NARROW else _halved(group.trend))),
            error,
            Text("\n").join(words(name, _STYLES.get(name, "")) for name in states(group)),
        )
    return drawn


def kind_lines(group: GroupSummary) -> Iterator[str]:
    """All of one kind, line by line."""
    yield words(group.headline or group.message).plain
    if group.place:
        yield words(f"in {group.place}").plain
    told = group.to_json()
    for name in _NAMES:
        value = told[name]
        if value or name not in _MAY_BE_MISSING:
            value = f"{short_time(value)} UTC" if name in _TIMES else value
            shown = ", ".join(_pairs(value)) if isinstance(value, (dict, list)) else value
            yield f"{name + ':':<11} {words(shown).plain}"
    yield f"{'trend:':<11} {bars(group.trend)}"
    if group.users is not None:
        yield f"{'users:':<11} {users_of_kind(group)}"
    if group.escalation is not None:
        one = group.escalation
        counted = f"{one.seen} in {one.minutes} minutes"
        yield f"{'escalating:':<11} {counted}; expected were {one.expected:g}, and at most {one.bound}"
    if group.note is not None:
        yield f"{'note:':<11} {words(group.note.text).plain} ({words(group.note.by).plain})"
    if group.pending:
        yield "What was decided of it waits for MongoDB."


def _pairs(value: Any) -> list[str]:
    return [f"{name} {count}" for name, count in value.items()] if isinstance(value, dict) else list(value)


def states(group: GroupSummary) -> list[str]:
    """Badges, and what was decided; nothing for what is merely open."""
    state = [group.status] if group.status in ("resolved", "ignored") else []
    return [*group.badges, *state, *(["pending"] if group.pending else [])]


def users_of_kind(group: GroupSummary) -> str:
    """How many users it met; ``~`` before an estimate."""
    if group.users is None:
        return ""
    return f"{group.users:,}" if group.users_exact else f"~{group.users:,}"


def bars(counts: Sequence[int]) -> str:
    """One sign for each count, as high as it is beside the greatest; a blank where there is nothing."""
    most = max(counts, default=0)
    return "".join(_BARS[-(-count * len(_BARS) // most) - 1] if count else " " for count in counts)


def _halved(counts: Sequence[int]) -> list[int]:
    return [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]
