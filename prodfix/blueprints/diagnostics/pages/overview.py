"""What the first page shows: how the database is, now and over the window, and what went wrong, from where."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from prodfix import current_prodfix, iso
from prodfix.blueprints.diagnostics import parameters
from prodfix.blueprints.diagnostics.endpoints import ENDPOINTS as API
from prodfix.blueprints.diagnostics.guard import guarded
from prodfix.blueprints.diagnostics.pages.figures import figures
from prodfix.blueprints.diagnostics.pages.linked_counts import CATEGORY, DEVICE, ENDPOINT, LinkedCounts
from prodfix.blueprints.diagnostics.pages.plots import Bar, Stretch, categories, errors_over_time
from prodfix.blueprints.diagnostics.pages.shell import blueprint, errors_with, page_at, show
from prodfix.blueprints.diagnostics.routes import application_routes
from prodfix.models import (
    SERVICE,
    CountedWindow,
    ErrorStatistics,
    Group,
    Incident,
    InstanceReport,
    SeriesPoint,
    TimeRange,
)

GROUPS, ENDPOINTS, QUERIES, INCIDENTS, ALERTS = 8, 8, 6, 10, 10  # rows
# By the state itself, which is known earlier, and by the kinds of errors with their badges.
SHOWN_OTHERWISE = (
    "database_lost",
    "storage_failing",
    "log_sink",
    "journal_failing",
    "escalating",
    "regression",
    "unignored",
)

BARS = {"1h": 1, "24h": 2, "7d": 3}  # points of the series in one bar, which a thumb must hit

WORDS = {"1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days"}

Link = Callable[..., str]


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The page; for those who like JSON better, what there is to ask."""
    wanted = request.accept_mimetypes
    if wanted["application/json"] > wanted["text/html"]:
        prefix = guarded().prefix
        listed = [f"{one.method} {prefix}{one.rule}" for one in API]
        return jsonify({"endpoints": listed, "document": f"{prefix}/openapi.json"})
    query = parameters.query_of(request, parameters.Overview)
    return show("overview.html", **_asked(query))


@blueprint.get("/page/overview")
def overview_body() -> str:
    """What is refreshed of it."""
    query = parameters.query_of(request, parameters.Overview)
    return show("_overview.html", **_asked(query))


def _asked(query: parameters.Overview) -> dict[str, Any]:
    return overview(query.time_range, errors_with, everything=query.errors == "all")


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
    groups = services.errors.groups
    kinds = groups.chosen(read.window)
    ignored = _ignored(kinds, everything=everything)
    names = categories(bars) if everything else categories(bars, SERVICE)
    linked = LinkedCounts(read, errors_at, everything=everything)
    legend = {name: linked.linked(CATEGORY, name, category=name) for name in names}

    def label(at: datetime) -> str:
        return at.strftime("%H:%M" if time_range != "7d" else "%a %H:%M")

    def errors_of(bar: Bar, name: str) -> str:
        """Nowhere, for what is counted only."""
        if name not in SERVICE:
            return ""
        # The first bar may begin before the window, which counts nothing of that.
        return linked.address(**{"from": iso(max(bar.at, begin)), "to": iso(bar.to)}, category=name)

    links = {(bar.at, name): errors_of(bar, name) for bar in bars for name in names if name in bar.errors}
    stretches = [_stretch(incident, bars, step) for incident in incidents]
    notes = {name: one.why for name, one in legend.items()}
    rows = [bar for bar in bars if any(name in bar.errors for name in names)]
    return {
        "time_range": time_range,
        "everything": everything,
        "statistics": statistics,
        "figures": figures(read, linked, everything=everything),
        "legend": legend,
        "categories": names,
        "plot": errors_over_time(bars, names, label, lambda at, name: links[at, name], stretches, notes),
        "rows": [{"bar": bar, "href": {name: links.get((bar.at, name)) for name in names}} for bar in rows],
        "instance": instance,
        "alerts": _alerts(),
        "database": _database(instance, incidents, begin, end),
        "incidents": incidents[:INCIDENTS],
        "causes": sorted({incident.cause for incident in incidents}),
        "groups": groups.summaries(_groups(kinds, everything=everything), read.window),
        "ignored": {**ignored, "groups": groups.summaries(ignored["groups"], read.window)},
        "devices": _devices(statistics, linked),
        "endpoints": _endpoints(read, linked),
        "queries": services.queries.statistics.read("total", limit=QUERIES).queries,
        "window_words": WORDS[time_range],
        "kinds_at": page_at("groups", timeRange=time_range, **({"errors": "all"} if everything else {})),
        "alerts_at": page_at("alerts"),
    }


def _devices(statistics: ErrorStatistics, linked: LinkedCounts) -> list[dict[str, Any]]:
    """With the errors that are asked for."""
    return [
        {"name": name, "errors": linked.linked(DEVICE, name, device=name), "requests": one.requests}
        for name, one in statistics.devices.items()
    ]


def _endpoints(read: CountedWindow, linked: LinkedCounts) -> list[dict[str, Any]]:
    """Those with errors that are asked for, or with failed requests, the worst first."""
    counts = linked.by(ENDPOINT)
    routes = application_routes(read.endpoints("failing"))
    bad = [one for one in routes if counts.get(one.endpoint) or one.rates.failed_requests]
    worst = sorted(bad, key=lambda one: -counts.get(one.endpoint, 0))[:ENDPOINTS]
    return [{"figures": one, "errors": linked.linked(ENDPOINT, one.endpoint, endpoint=one.endpoint)} for one in worst]


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


def _groups(found: Sequence[Group], *, everything: bool) -> list[Group]:
    """What is back after it was resolved, or leaves its usual rate, comes first; what is ignored is :func:`_ignored`."""
    seen = [group for group in found if group.status != "ignored"]
    groups = [group for group in seen if everything or group.category in SERVICE]
    return sorted(groups, key=lambda group: group.status != "regressed" and "escalating" not in group.badges)[:GROUPS]


def _ignored(found: Sequence[Group], *, everything: bool) -> dict[str, Any]:
    """The most frequent of the kinds that nobody hears of; how many there are, and of how many errors."""
    groups = [group for group in found if group.status == "ignored" and (everything or group.category in SERVICE)]
    return {"groups": groups[:GROUPS], "kinds": len(groups), "errors": sum(group.count for group in groups)}


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
        "up": _up(1 - min(1.0, down / max(1.0, (end - begin).total_seconds()))),
    }


def _up(share: float) -> str:
    """``95 %``, ``99.97 %``: never more than it was, so that all is said of all only."""
    return f"{math.floor(share * 10_000) / 100:g} %"


def _seconds(incident: Incident, begin: datetime, end: datetime) -> float:
    return max(0.0, (min(incident.to, end) - max(incident.from_, begin)).total_seconds())
