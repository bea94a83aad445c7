"""What happened in one stretch of time: errors by kind, and requests with their durations. Counts can be added up.

Nothing in a key comes from a user: endpoints are route templates, and errors have a fingerprint instead of a message. The
number of keys is bounded all the same; what is beyond it is counted under ``__other__``, which is no kind of error: beside the
kinds, with a sketch of how many they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from prodfix.operations.command_stats import bin_of, quantile
from prodfix.slotted import mutable
from prodfix.statistics.affected import Affected, affected, hash_of, joined, smallest
from prodfix.statistics.route_counts import COARSE, RouteCounts

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
    """How often, and when first and last, in seconds since the epoch. ``steps``: how often in which part of the stretch, by
    its first minute within the hour, where that is told apart. ``users``: whom it met (:mod:`prodfix.statistics.affected`).
    ``kinds``: in the same way which kinds of errors these are, where they are not told apart."""

    count: int
    first: float
    last: float
    releases: frozenset[str]
    steps: dict[int, int] | None = None
    users: str = ""
    kinds: str = ""

    def add_but_users(self, other: Seen) -> None:
        """How often, when, and in which releases."""
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        if not other.releases <= self.releases:
            self.releases = frozenset(sorted(self.releases | other.releases)[:RELEASES])

    def add(self, other: Seen) -> None:
        self.add_but_users(other)
        if other.users:
            self.users = joined(self.users, other.users)
        if other.kinds:
            self.kinds = joined(self.kinds, other.kinds)
        if other.steps:
            steps = self.steps = {} if self.steps is None else self.steps
            for at, count in other.steps.items():
                steps[at] = steps.get(at, 0) + count

    def to_row(self) -> list[Any]:
        """What stands behind the key in a row of errors."""
        row = [self.count, self.first, self.last, sorted(self.releases)]
        self.users, self.kinds = smallest(self.users), smallest(self.kinds)
        if self.steps or self.users or self.kinds:
            row.append([part for step in sorted(self.steps.items()) for part in step] if self.steps else [])
        if self.users or self.kinds:
            row.append(self.users)
        if self.kinds:
            row.append(self.kinds)
        return row


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
    """Errors by key, traffic by device, and requests by endpoint. At most ``keys`` kinds of errors are told apart; what is beyond
    them stands in ``others``, by category and device."""

    __slots__ = ("devices", "errors", "keys", "others", "routes")

    def __init__(self, keys: int) -> None:
        self.keys = keys
        self.errors: dict[ErrorKey, Seen] = {}
        self.others: dict[ErrorKey, Seen] = {}
        self.devices: dict[str, Traffic] = {}
        self.routes: dict[str, RouteCounts] = {}

    def count_request(
        self,
        endpoint: str,
        device: str,
        micros: int,
        failed: bool,
        commands: int = 0,
        command_micros: int = 0,
    ) -> None:
        """``commands`` of the database that it sent, and the microseconds that they took together."""
        traffic = self.devices.get(device)
        if traffic is None:
            traffic = self.devices[device] = Traffic()
        traffic.requests += 1
        place, bins = bin_of(micros), traffic.bins
        bins[place] = bins.get(place, 0) + 1
        route = self.routes.get(endpoint) or self._route(endpoint)
        route.requests += 1
        if commands:
            route.commands += commands
            route.command_micros += command_micros
        coarse, places = place >> COARSE, route.bins
        places[coarse] = places.get(coarse, 0) + 1
        if failed:
            traffic.failed += 1
            route.failed += 1

    def count_one(self, key: ErrorKey, at: float, releases: frozenset[str], user: str = "") -> None:
        """One error, which was seen at ``at``, by a ``user`` as :func:`prodfix.statistics.affected.hash_of` tells one."""
        known = self.errors.get(key)
        if known is None or not releases <= known.releases:
            self.count_error(key, Seen(1, at, at, releases, users=user))
            return
        if user:
            known.users = joined(known.users, user)
        known.count += 1
        known.last = max(known.last, at)
        known.first = min(known.first, at)

    def count_error(self, key: ErrorKey, seen: Seen) -> None:
        found, kinds = self.errors, seen.kinds
        if key not in found and (key.fingerprint == OTHER or len(found) >= self.keys):
            if key.fingerprint != OTHER:
                kinds = hash_of(key.fingerprint, b"")
            found, key = self.others, ErrorKey(key.category, key.device, OTHER, OTHER, OTHER)
        known = found.get(key)
        if known is None:
            steps = None if seen.steps is None else dict(seen.steps)
            found[key] = Seen(seen.count, seen.first, seen.last, seen.releases, steps, seen.users, kinds)
        else:
            known.add(seen)
            known.kinds = joined(known.kinds, kinds)

    def _route(self, endpoint: str) -> RouteCounts:
        """That of an endpoint, made if there is room for one more; else that of all others."""
        route = self.routes.get(endpoint)
        if route is None:
            name = endpoint if len(self.routes) < ENDPOINTS else OTHER
            route = self.routes.get(name)
            if route is None:
                route = self.routes[name] = RouteCounts()
        return route

    def add(self, errors: Sequence[Row], traffic: Mapping[str, Any]) -> None:
        """Add what another counts has written with :meth:`error_rows` and :meth:`traffic_rows`, the frequent kinds first.

        Steps are left out: whoever wants them asks :func:`seen_of`. So many rows come here that each call counts.
        """
        found_errors = self.errors
        for row in sorted(errors, key=frequent):
            key: Any = tuple(row[:5])
            known = found_errors.get(key)
            if known is None or not known.releases.issuperset(row[8]):
                seen = Seen(row[5], row[6], row[7], frozenset(row[8]), None, *row[10:12])
                self.count_error(ErrorKey(*row[:5]), seen)
                continue
            known.count += row[5]
            known.first = min(known.first, row[6])
            known.last = max(known.last, row[7])
            if len(row) > 10:
                known.users = joined(known.users, row[10])
        self.add_traffic(traffic)

    def add_traffic(self, traffic: Mapping[str, Any]) -> None:
        for device, requests, failed, bins in traffic.get("devices", ()):
            found = self.devices.setdefault(device, Traffic())
            found.requests += requests
            found.failed += failed
            known = found.bins
            for place, count in bins:
                known[place] = known.get(place, 0) + count
        # What each route took stands beside, in the same order: an earlier release reads the endpoints alone, and writes no more.
        endpoints, routes = traffic.get("endpoints", ()), traffic.get("routes", ())
        for place, (endpoint, requests, failed) in enumerate(endpoints):
            self._route(endpoint).add(requests, failed, routes[place] if place < len(routes) else ())

    def error_rows(self) -> list[Row]:
        return [[*key, *seen.to_row()] for key, seen in self.all_errors()]

    def all_errors(self) -> Iterator[tuple[ErrorKey, Seen]]:
        """Of each kind, and then what is not told apart."""
        yield from self.errors.items()
        yield from self.others.items()

    def traffic_rows(self) -> dict[str, Any]:
        return {
            "devices": [
                [device, traffic.requests, traffic.failed, list(traffic.bins.items())]
                for device, traffic in self.devices.items()
            ],
            "endpoints": [[name, route.requests, route.failed] for name, route in self.routes.items()],
            "routes": [route.to_row() for route in self.routes.values()],
        }

    @property
    def total_errors(self) -> int:
        return sum(seen.count for _, seen in self.all_errors())

    @property
    def other_errors(self) -> int:
        """How many are not told apart."""
        return sum(seen.count for seen in self.others.values())

    @property
    def other_kinds(self) -> Affected | None:
        """Of how many kinds they are; None if there are none, or an earlier release has counted them, which did not know."""
        kinds = ""
        for seen in self.others.values():
            kinds = joined(kinds, seen.kinds)
        return affected(kinds)

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
        for key, seen in self.all_errors():
            found[key[place]] += seen.count
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def seen_of(row: Row, steps: dict[int, int] | None = None) -> tuple[ErrorKey, Seen]:
    """A row of errors, with its own steps or with these."""
    if steps is None and len(row) > 9 and row[9]:
        steps = dict(zip(row[9][::2], row[9][1::2], strict=True))
    return ErrorKey(*row[:5]), Seen(row[5], row[6], row[7], frozenset(row[8]), steps, *row[10:12])


def frequent(row: Row) -> int:
    """The key that sorts rows of errors, the frequent ones first."""
    return -int(row[5])
