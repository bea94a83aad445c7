"""The figures at the top of the first page, each beside what it was in the window before."""

from __future__ import annotations

from typing import Any

from prodfix import current_prodfix
from prodfix.blueprints.diagnostics.pages.comparison import FigureChange, of_counts, of_durations, of_rates
from prodfix.blueprints.diagnostics.pages.linked_counts import CATEGORY, LinkedCounts
from prodfix.models import SERVICE, CountedWindow, Counts

WEEKS = 15  # days that must be kept so that there is a week before this one
BEFORE = {"1h": "the hour before", "24h": "the 24 hours before", "7d": "the week before"}


def figures(read: CountedWindow, linked: LinkedCounts, *, everything: bool) -> dict[str, Any]:
    """For the template: counts, and ``changes`` by the same names, where there is something to compare with."""
    counts = read.counts
    service, clients = split(counts)
    return {
        "service": service,
        "clients": clients,
        "asked": linked.whole(),
        "everything": everything,
        "changes": _changes(counts, _before(read)),
        "before": BEFORE[read.time_range],
    }


def split(counts: Counts) -> tuple[int, int]:
    """Errors that the service is to blame for, and those of clients."""
    found = counts.errors_by(CATEGORY)
    service = sum(count for name, count in found.items() if name in SERVICE)
    return service, sum(found.values()) - service


def _before(read: CountedWindow) -> Counts | None:
    if read.time_range == "7d" and current_prodfix.settings.error_retention_days < WEEKS:
        return None
    return current_prodfix.requests.statistics.before(read)


def _changes(now: Counts, before: Counts | None) -> dict[str, FigureChange | None]:
    if before is None:
        return {}
    (service, clients), (service_before, clients_before) = split(now), split(before)
    whole, earlier = now.whole(), before.whole()
    return {
        "service": of_counts(service, service_before),
        "clients": of_counts(clients, clients_before, bad=False),
        "requests": of_counts(whole.requests, earlier.requests, bad=False),
        "failed": of_rates((whole.failed, whole.requests), (earlier.failed, earlier.requests)),
        "p95": of_durations(whole.millis(0.95), earlier.millis(0.95), min(whole.requests, earlier.requests)),
    }
