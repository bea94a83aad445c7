"""What the first page shows: how the database is, now and over the window, and what went wrong, from where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from blueprints.diagnostics.plots import SERVICE, Stretch, categories, errors_over_time
from prodfix import TimeRange, current_prodfix, iso

GROUPS, ENDPOINTS, QUERIES, INCIDENTS, ALERTS = 8, 8, 6, 10, 10  # rows
SHOWN_OTHERWISE = ("database_lost", "log_sink", "journal_failing")  # by the state itself, which is known earlier

BARS = {"1h": 1, "24h": 2, "7d": 3}  # points of the series in one bar, which a thumb must hit

Link = Callable[..., str]


def overview(time_range: TimeRange, errors_at: Link, *, everything: bool = False) -> dict[str, Any]:
    """For the template. ``errors_at`` makes the address of a list of errors. ``everything``: also what clients are to blame
    for. Raises :class:`prodfix.errors.JournalTimeout`."""
    services = current_prodfix
    read = services.statistics.read(time_range)
    statistics = read.to_json()
    step = statistics["series"]["stepMinutes"] * BARS[time_range]
    points = _together(statistics["series"]["points"], step)
    begin, end = datetime.fromisoformat(statistics["windowFrom"]), datetime.fromisoformat(statistics["windowTo"])
    incidents = services.incident_log.read(begin=begin, limit=200)["incidents"]
    instance = services.diagnostics.instance()
    names = categories(points) if everything else categories(points, SERVICE)

    def label(at: str) -> str:
        return datetime.fromisoformat(at).strftime("%H:%M" if time_range != "7d" else "%a %H:%M")

    links = {
        (point["at"], name): errors_at(**{"from": point["at"], "to": point["to"]}, category=name)
        for point in points
        for name in names
        if name in point["errors"]
    }
    stretches = [_stretch(incident, points, step) for incident in incidents]
    rows = [point for point in points if any(name in point["errors"] for name in names)]
    return {
        "time_range": time_range,
        "everything": everything,
        "statistics": statistics,
        "errors": _split(statistics["errorsByCategory"]),
        "categories": names,
        # In a native thread, which knows no request: drawing takes some 50 ms.
        "plot": services.journal.aside(
            errors_over_time, points, names, label, lambda at, name: links[at, name], stretches
        )
        if rows
        else None,
        "rows": [
            {"label": label(row["at"]), **row, "href": {name: links.get((row["at"], name)) for name in names}}
            for row in rows
        ],
        "instance": instance,
        "alerts": _alerts(),
        "database": _database(instance, incidents, begin, end),
        "incidents": incidents[:INCIDENTS],
        "groups": _groups(services.groups.page(read.window)[0], everything=everything),
        "endpoints": [one for one in statistics["endpoints"] if one["errors"] or one["failedRequests"]][:ENDPOINTS],
        "queries": services.queries.read("total", limit=QUERIES)["queries"],
    }


def _together(points: Sequence[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    """The points of every ``step`` minutes of the clock as one."""
    bars: dict[int, dict[str, Any]] = {}
    for point in points:
        number = int(datetime.fromisoformat(point["at"]).timestamp() // 60) // step
        end = iso(datetime.fromtimestamp((number + 1) * step * 60, UTC))
        empty = {"at": point["at"], "to": end, "requests": 0, "failedRequests": 0, "errors": Counter()}
        bar = bars.setdefault(number, empty)
        bar["requests"] += point["requests"]
        bar["failedRequests"] += point["failedRequests"]
        bar["errors"].update(point["errors"])
    return list(bars.values())


def _split(counts: dict[str, int]) -> dict[str, int]:
    service = sum(count for name, count in counts.items() if name in SERVICE)
    return {"service": service, "clients": sum(counts.values()) - service}


def _groups(found: Sequence[Any], *, everything: bool) -> list[dict[str, Any]]:
    """What is back after it was resolved comes first."""
    groups = [group.to_json() for group in found if everything or group.category in SERVICE]
    return sorted(groups, key=lambda group: group["status"] != "regressed")[:GROUPS]


def _alerts() -> dict[str, Any]:
    found = current_prodfix.alerts.read().to_json()
    return {
        "alarms": [alarm for alarm in found["alarms"] if alarm["kind"] not in SHOWN_OTHERWISE],
        "alerts": found["alerts"][:ALERTS],
        "channels": found["channels"],
    }


def _stretch(incident: dict[str, Any], points: Sequence[dict[str, Any]], step: int) -> Stretch:
    """Where it is among the points."""
    begin = datetime.fromisoformat(points[0]["to"]) - timedelta(minutes=step)
    first, last = (
        (datetime.fromisoformat(incident[name]) - begin).total_seconds() / 60 / step for name in ("from", "to")
    )
    return max(0.0, first), min(last, float(len(points))), incident["cause"]


def _database(
    instance: dict[str, Any], incidents: Sequence[dict[str, Any]], begin: datetime, end: datetime
) -> dict[str, Any]:
    """Whether it answers, since when it does not, and for how much of the window it did not."""
    lost = [incident for incident in incidents if incident["cause"] == "database_lost"]
    down = sum(_seconds(incident, begin, end) for incident in lost)
    connected = instance["connection"]["state"] == "connected"
    since = next((incident["from"] for incident in lost if incident["status"] == "open"), None)
    return {
        "connected": connected,
        "since": None if connected else since,
        "down_seconds": down,
        "losses": len(lost),
        "available": 1 - min(1.0, down / max(1.0, (end - begin).total_seconds())),
    }


def _seconds(incident: dict[str, Any], begin: datetime, end: datetime) -> float:
    first, last = datetime.fromisoformat(incident["from"]), datetime.fromisoformat(incident["to"])
    return max(0.0, (min(last, end) - max(first, begin)).total_seconds())
