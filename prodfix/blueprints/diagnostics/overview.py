"""What the first page shows: how the database is, now and over the window, and what went wrong, from where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prodfix import current_prodfix, iso
from prodfix.blueprints.diagnostics.plots import SERVICE, Bar, Stretch, categories, errors_over_time
from prodfix.models import GroupSummary, Incident, InstanceReport, SeriesPoint, TimeRange

GROUPS, ENDPOINTS, QUERIES, INCIDENTS, ALERTS = 8, 8, 6, 10, 10  # rows
SHOWN_OTHERWISE = ("database_lost", "log_sink", "journal_failing")  # by the state itself, which is known earlier

BARS = {"1h": 1, "24h": 2, "7d": 3}  # points of the series in one bar, which a thumb must hit

Link = Callable[..., str]


def overview(time_range: TimeRange, errors_at: Link, *, everything: bool = False) -> dict[str, Any]:
    """For the template. ``errors_at`` makes the address of a list of errors. ``everything``: also what clients are to blame
    for. Raises :class:`prodfix.errors.JournalTimeout`."""
    services = current_prodfix
    read = services.requests.statistics.read(time_range)
    statistics = read.statistics()
    step = statistics.series.step_minutes * BARS[time_range]
    bars = _together(statistics.series.points, step)
    begin, end = statistics.coverage.window_from, statistics.coverage.window_to
    incidents = services.errors.incident_log.read(begin=begin, limit=200).incidents
    instance = services.diagnostics.report.instance()
    names = categories(bars) if everything else categories(bars, SERVICE)

    def label(at: datetime) -> str:
        return at.strftime("%H:%M" if time_range != "7d" else "%a %H:%M")

    links = {
        (bar.at, name): errors_at(**{"from": iso(bar.at), "to": iso(bar.to)}, category=name)
        for bar in bars
        for name in names
        if name in bar.errors
    }
    stretches = [_stretch(incident, bars, step) for incident in incidents]
    rows = [bar for bar in bars if any(name in bar.errors for name in names)]
    return {
        "time_range": time_range,
        "everything": everything,
        "statistics": statistics,
        "errors": _split(statistics.errors_by_category),
        "categories": names,
        # In a native thread, which knows no request: drawing takes some 50 ms.
        "plot": services.runtime.journal.aside(
            errors_over_time, bars, names, label, lambda at, name: links[at, name], stretches
        )
        if rows
        else None,
        "rows": [
            {"label": label(bar.at), "bar": bar, "href": {name: links.get((bar.at, name)) for name in names}}
            for bar in rows
        ],
        "instance": instance,
        "alerts": _alerts(),
        "database": _database(instance, incidents, begin, end),
        "incidents": incidents[:INCIDENTS],
        "groups": _groups(services.errors.groups.page(read.window)[0], everything=everything),
        "endpoints": [one for one in statistics.endpoints if one.errors or one.rates.failed_requests][:ENDPOINTS],
        "queries": services.queries.statistics.read("total", limit=QUERIES).queries,
    }


def _together(points: Sequence[SeriesPoint], step: int) -> list[Bar]:
    """The points of every ``step`` minutes of the clock as one."""
    bars: dict[int, Bar] = {}
    for point in points:
        number = int(point.at.timestamp() // 60) // step
        end = datetime.fromtimestamp((number + 1) * step * 60, UTC)
        bar = bars.setdefault(number, Bar(point.at, end))
        bar.requests += point.requests
        bar.failed_requests += point.failed_requests
        bar.errors.update(point.errors)
    return list(bars.values())


def _split(counts: dict[str, int]) -> dict[str, int]:
    service = sum(count for name, count in counts.items() if name in SERVICE)
    return {"service": service, "clients": sum(counts.values()) - service}


def _groups(found: Sequence[GroupSummary], *, everything: bool) -> list[GroupSummary]:
    """What is back after it was resolved comes first."""
    groups = [group for group in found if everything or group.category in SERVICE]
    return sorted(groups, key=lambda group: group.status != "regressed")[:GROUPS]


def _alerts() -> dict[str, Any]:
    found = current_prodfix.alerts.read()
    return {
        "alarms": [alarm for alarm in found.alarms if alarm.kind not in SHOWN_OTHERWISE],
        "alerts": found.alerts[:ALERTS],
        "channels": found.channels,
    }


def _stretch(incident: Incident, bars: Sequence[Bar], step: int) -> Stretch:
    """Where it is among the bars."""
    begin = bars[0].to - timedelta(minutes=step)
    first, last = ((at - begin).total_seconds() / 60 / step for at in (incident.from_, incident.to))
    return max(0.0, first), min(last, float(len(bars))), incident.cause


def _database(
    instance: InstanceReport, incidents: Sequence[Incident], begin: datetime, end: datetime
) -> dict[str, Any]:
    """Whether it answers, since when it does not, and for how much of the window it did not."""
    lost = [incident for incident in incidents if incident.cause == "database_lost"]
    down = sum(_seconds(incident, begin, end) for incident in lost)
    connected = instance.connection.state == "connected"
    since = next((incident.from_ for incident in lost if incident.status == "open"), None)
    return {
        "connected": connected,
        "since": None if connected else since,
        "down_seconds": down,
        "losses": len(lost),
        "available": 1 - min(1.0, down / max(1.0, (end - begin).total_seconds())),
    }


def _seconds(incident: Incident, begin: datetime, end: datetime) -> float:
    return max(0.0, (min(incident.to, end) - max(incident.from_, begin)).total_seconds())
