"""What happened in one stretch of time: errors by kind, and requests with their durations. Counts can be added up.

Nothing in a key comes from a user: endpoints are route templates, and errors have a fingerprint instead of a message. The
number of keys is bounded all the same; what is beyond it is counted under ``__other__``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from prodfix.operations.command_stats import bin_of, quantile
from prodfix.slotted import mutable

OTHER = "__other__"
ENDPOINTS = 100
RELEASES = 20  # of one kind of error

Row = Sequence[Any]


class ErrorKey(NamedTuple):
    """A kind of error. ``title`` is what people read, ``fingerprint`` what groups them."""

    category: str
    device: str
    endpoint: str
    fingerprint: str
    title: str


@mutable
class Seen:
    """How often, and when first and last, in seconds since the epoch."""

    count: int
    first: float
    last: float
    releases: frozenset[str]

    def add(self, other: Seen) -> None:
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        if not other.releases <= self.releases:
            self.releases = frozenset(sorted(self.releases | other.releases)[:RELEASES])


@mutable
class Traffic:
    """Requests of one device type: how many, how many were answered with 5xx, and their durations in a sketch's bins."""

    requests: int = 0
    failed: int = 0
    bins: Counter[int] = field(default_factory=Counter)

    def millis(self, share: float) -> float | None:
        """The duration under which ``share`` of the requests were, within 2 %; ``None`` without any."""
        micros = quantile([self.bins.items()], share)
        return None if micros is None else round(micros / 1e3, 2)


class Counts:
    """Errors by key, traffic by device, and requests by endpoint. At most ``keys`` kinds of errors are told apart."""

    __slots__ = ("devices", "endpoints", "errors", "keys")

    def __init__(self, keys: int) -> None:
        self.keys = keys
        self.errors: dict[ErrorKey, Seen] = {}
        self.devices: dict[str, Traffic] = {}
        self.endpoints: dict[str, list[int]] = {}  # requests, and those answered with 5xx

    def count_request(self, endpoint: str, device: str, micros: int, *, failed: bool) -> None:
        traffic = self.devices.get(device)
        if traffic is None:
            traffic = self.devices[device] = Traffic()
        traffic.requests += 1
        place, bins = bin_of(micros), traffic.bins
        bins[place] = bins.get(place, 0) + 1
        counts = self.endpoints.get(endpoint)
        if counts is None or failed:
            traffic.failed += failed
            self._count_endpoint(endpoint, 1, int(failed))
        else:
            counts[0] += 1

    def count_one(self, key: ErrorKey, at: float, releases: frozenset[str]) -> None:
        """One error, which was seen at ``at``."""
        known = self.errors.get(key)
        if known is None or not releases <= known.releases:
            self.count_error(key, Seen(1, at, at, releases))
            return
        known.count += 1
        known.last = max(known.last, at)
        known.first = min(known.first, at)

    def count_error(self, key: ErrorKey, seen: Seen) -> None:
        known = self.errors.get(key)
        if known is None and len(self.errors) >= self.keys:
            key = ErrorKey(key.category, key.device, OTHER, OTHER, OTHER)
            known = self.errors.get(key)
        if known is None:
            self.errors[key] = Seen(seen.count, seen.first, seen.last, seen.releases)
        else:
            known.add(seen)

    def _count_endpoint(self, endpoint: str, requests: int, failed: int) -> None:
        counts = self.endpoints.get(endpoint)
        if counts is None:
            name = endpoint if len(self.endpoints) < ENDPOINTS else OTHER
            counts = self.endpoints.setdefault(name, [0, 0])
        counts[0] += requests
        counts[1] += failed

    def add(self, errors: Sequence[Row], traffic: Mapping[str, Any]) -> None:
        """Add what another counts has written with :meth:`error_rows` and :meth:`traffic_rows`, the frequent kinds first."""
        for category, device, endpoint, fingerprint, title, count, first, last, releases in sorted(
            errors, key=lambda row: -row[5]
        ):
            key = ErrorKey(category, device, endpoint, fingerprint, title)
            self.count_error(key, Seen(count, first, last, frozenset(releases)))
        for device, requests, failed, bins in traffic.get("devices", ()):
            found = self.devices.setdefault(device, Traffic())
            found.requests += requests
            found.failed += failed
            for place, count in bins:
                found.bins[place] += count
        for endpoint, requests, failed in traffic.get("endpoints", ()):
            self._count_endpoint(endpoint, requests, failed)

    def error_rows(self) -> list[Row]:
        return [[*key, seen.count, seen.first, seen.last, sorted(seen.releases)] for key, seen in self.errors.items()]

    def traffic_rows(self) -> dict[str, Any]:
        return {
            "devices": [
                [device, traffic.requests, traffic.failed, list(traffic.bins.items())]
                for device, traffic in self.devices.items()
            ],
            "endpoints": [[endpoint, *counts] for endpoint, counts in self.endpoints.items()],
        }

    @property
    def total_errors(self) -> int:
        return sum(seen.count for seen in self.errors.values())

    def whole(self) -> Traffic:
        """The traffic of all devices."""
        whole = Traffic()
        for traffic in self.devices.values():
            whole.requests += traffic.requests
            whole.failed += traffic.failed
            whole.bins.update(traffic.bins)
        return whole

    def errors_by(self, place: int) -> dict[str, int]:
        """Counts by one part of the key, the most frequent first."""
        found: Counter[str] = Counter()
        for key, seen in self.errors.items():
            found[key[place]] += seen.count
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
