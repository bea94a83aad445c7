"""What the page of one kind of error is made of: what its newest records tell, and shares of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from prodfix import iso
from prodfix.blueprints.diagnostics.pages.kind_plot import TOLD_APART, KindBar, KindPlot, bars_of, kind_over_time
from prodfix.blueprints.diagnostics.pages.shell import errors_with
from prodfix.blueprints.diagnostics.source_lines import Sources
from prodfix.blueprints.diagnostics.stacks import RaisedPart, parts_of
from prodfix.models import Coverage, GroupSummary, RequestLog, SentCommand

LOOKED_AT = 200  # newest records
SHARES = 6  # of one list
NOWHERE = ("__other__", "background")  # of which no filter finds the records

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Share:
    """How many of all; ``href`` leads to them, where a filter finds them."""

    name: str
    count: int
    part: float
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Crumb:
    """What a request did before its error: a command, or a line of the log. ``millis`` is how long it took."""

    kind: Literal["command", "log"]
    at: datetime | None
    title: str
    text: str
    millis: float | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class NewestStack:
    """The stack of the newest record that has one. ``elsewhere``: its release, if that is another one than this process has.
    ``came`` is when the request began, or the error was, if nobody knows."""

    text: str
    parts: list[RaisedPart]
    at: datetime
    came: datetime
    request_id: str | None
    release: str | None
    elsewhere: str | None
    commands: list[SentCommand]
    context: Record


def newest_stack(records: Iterable[Record], sources: Sources, running: str, *, with_source: bool) -> NewestStack | None:
    """None if none of ``records``, the newest first, has one."""
    for record in records:
        stack, context = record.get("stack"), record.get("context")
        if not isinstance(stack, str) or "\n" not in stack:
            continue
        release, told = _text(record.get("release")), context if isinstance(context, Mapping) else {}
        return NewestStack(
            text=stack,
            parts=parts_of(stack, sources, with_source=with_source),
            at=record["timestamp"],
            came=min(_moment(told.get("timestamp")) or record["timestamp"], record["timestamp"]),
            request_id=_text(record.get("requestId")),
            release=release,
            elsewhere=release if release is not None and running and release != running else None,
            commands=[SentCommand.from_json(one) for one in _listed(record.get("trail"))],
            context=told,
        )
    return None


def crumbs_of(stack: NewestStack, log: RequestLog | None) -> list[Crumb]:
    """Its commands, and the lines of the log, in the order of time: what has none stands where its record has it."""
    found, at = [], stack.came
    for one in stack.commands:
        at = at if one.offset_ms is None else stack.came + timedelta(milliseconds=one.offset_ms)
        found.append((at, Crumb("command", at, one.operation, one.collection or "", one.duration_ms, one.failed)))
    seen = set()
    for line in log.lines if log is not None else ():
        # The line of the error itself is the end of the list, and a category's file has it a second time.
        if line.event != "error" and (line.at, line.message) not in seen:
            seen.add((line.at, line.message))
            bad = line.level in ("error", "critical")
            found.append((line.at or stack.at, Crumb("log", line.at, line.level, line.message, failed=bad)))
    return [crumb for _, crumb in sorted(found, key=lambda one: one[0])]


def exact_shares(counts: Mapping[str, int], fingerprint: str, filtered_by: str, begin: datetime) -> list[Share]:
    """Of all that were counted, the most frequent first. ``filtered_by`` is the filter that finds the records of one."""
    whole = sum(counts.values())
    found = []
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        asked = {"fingerprint": fingerprint, filtered_by: name, "from": iso(begin)}
        found.append(Share(name, count, count / whole, None if name in NOWHERE else errors_with(**asked)))
    return _short(found)


def sampled_shares(records: Sequence[Record], path: str) -> list[Share]:
    """The same of the records that are kept, by a field of theirs or of their context; what has none is left out."""
    names = [name for record in records if (name := _text(_value(record, path)))]
    counts = Counter(names)
    return _short([Share(name, count, count / len(names)) for name, count in counts.most_common()])


def _short(shares: list[Share]) -> list[Share]:
    if len(shares) <= SHARES:
        return shares
    rest = shares[SHARES - 1 :]
    others = Share(f"{len(rest)} others", sum(one.count for one in rest), sum(one.part for one in rest))
    return [*shares[: SHARES - 1], others]


def releases_of(group: GroupSummary, records: Sequence[Record]) -> list[str]:
    """All that are known, those first whose first record is the newest."""
    firsts = first_records(records)
    known = {*group.releases, *firsts}
    return sorted(known, key=lambda name: (-firsts[name].timestamp() if name in firsts else 0.0, name))


def first_records(records: Iterable[Record]) -> dict[str, datetime]:
    """When the first of these records of each release was."""
    found: dict[str, datetime] = {}
    for record in records:
        release = _text(record.get("release"))
        if release is not None:
            found[release] = min(record["timestamp"], found.get(release, record["timestamp"]))
    return found


def plot_of(group: GroupSummary, coverage: Coverage, records: Sequence[Record], *, all_records: bool) -> KindPlot:
    """``all_records``: there are no older ones, so that the first of a release among them is the first that is known."""
    begin, end = coverage.window_from, coverage.window_to
    kept = [(record["timestamp"], _text(record.get("release")) or "") for record in records]
    inside = [one for one in kept if begin <= one[0] < end]
    counts = Counter(release for _, release in inside if release)
    ordered = [name for name in releases_of(group, records) if name in counts or name in group.releases]
    firsts = sorted((at, release) for release, at in first_records(records).items())
    told = firsts if all_records else firsts[1:]  # the oldest one's first may be older than what was looked at
    told = told if len(firsts) > 1 else []
    whole = end - begin
    form = "%H:%M" if whole <= timedelta(days=1, minutes=1) else "%a %H:%M"

    def link(bar: KindBar) -> str:
        return errors_with(fingerprint=group.fingerprint, **{"from": iso(bar.at), "to": iso(bar.to)})

    return kind_over_time(
        bars_of(group.trend, begin, end, inside),
        ordered[:TOLD_APART] or [""],
        told,
        lambda at: at.strftime(form),
        link,
    )


def _text(found: Any) -> str | None:
    return found[:200] if isinstance(found, str) and found else None


def _moment(found: Any) -> datetime | None:
    try:
        told = datetime.fromisoformat(found) if isinstance(found, str) else None
    except ValueError:
        return None
    return told if told is not None and told.tzinfo is not None else None


def _listed(found: Any) -> list[Mapping[str, Any]]:
    """What a record of whatever release has in a list's place."""
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _value(record: Record, path: str) -> Any:
    found: Any = record
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
