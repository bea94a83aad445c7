"""What the first page shows: how the database is, now and over the window, and what went wrong, from where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from blueprints.diagnostics.plots import categories, errors_over_time
from prodfix import TimeRange, current_prodfix, iso

GROUPS, ENDPOINTS, QUERIES, INCIDENTS = 8, 8, 6, 10  # rows

Link = Callable[..., str]


def overview(time_range: TimeRange, errors_at: Link) -> dict[str, Any]:
    """For the template. ``errors_at`` makes the address of a list of errors. Raises ``TimeoutError`` if the disk does not
    answer."""
    services = current_prodfix
    read = services.statistics.read(time_range)
    statistics = read.to_json()
    points, step = statistics["series"]["points"], statistics["series"]["stepMinutes"]
    begin, end = datetime.fromisoformat(statistics["windowFrom"]), datetime.fromisoformat(statistics["windowTo"])
    incidents = services.incident_log.read(begin=begin, limit=200)["incidents"]

    def link(at: str, category: str) -> str:
        moment = datetime.fromisoformat(at)
        return errors_at(**{"from": at, "to": iso(moment + timedelta(minutes=step))}, category=category)

    def label(at: str) -> str:
        return datetime.fromisoformat(at).strftime("%H:%M" if time_range != "7d" else "%a %H:%M")

    instance = services.diagnostics.instance()
    return {
        "time_range": time_range,
        "statistics": statistics,
        "categories": categories(points),
        "plot": services.journal.aside(errors_over_time, points, label, _fixed(points, categories(points), link)),
        "rows": [
            {"label": label(point["at"]), **point, "href": {name: link(point["at"], name) for name in point["errors"]}}
            for point in points
            if point["errors"]
        ],
        "instance": instance,
        "database": _database(instance, incidents, begin, end),
        "incidents": incidents[:INCIDENTS],
        "timeline": [_place(incident, begin, end) for incident in incidents],
        "groups": [group.to_json() for group in services.groups.page(read.window, limit=GROUPS)[0]],
        "endpoints": [one for one in statistics["endpoints"] if one["errors"] or one["failedRequests"]][:ENDPOINTS],
        "queries": services.queries.read("total", limit=QUERIES)["queries"],
    }


def _fixed(points: Sequence[dict[str, Any]], names: Sequence[str], link: Link) -> Link:
    """The same addresses, made beforehand: the plot is drawn in a thread that knows no request."""
    known = {
        (point["at"], name): link(point["at"], name) for point in points for name in names if name in point["errors"]
    }
    return lambda at, name: known[at, name]


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


def _place(incident: dict[str, Any], begin: datetime, end: datetime) -> dict[str, Any]:
    """Where it is on a line of 1,000 units; wide enough to be seen."""
    whole = (end - begin).total_seconds()
    first = max(0.0, (datetime.fromisoformat(incident["from"]) - begin).total_seconds() / whole * 1000)
    width = max(4.0, _seconds(incident, begin, end) / whole * 1000)
    return {**incident, "x": round(min(first, 1000 - width), 1), "width": round(width, 1)}
