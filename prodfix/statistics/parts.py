"""Five minutes of one instance, each minute by itself, so that a window may begin in any of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prodfix.statistics.counts import Counts, ErrorKey, Seen, seen_of
from prodfix.statistics.window import HOUR, STEP, Counted, Point

PART_KEYS = 1_000  # kinds of errors in one part, and in one minute, of an instance


def part_of(minute: int) -> int:
    """The part of its hour that a minute is in, as the part's first minute."""
    return minute % HOUR // STEP * STEP


class HourPart:
    """Counts by minute of the hour, of all workers of the instance together."""

    def __init__(self) -> None:
        self.minutes: dict[int, Counts] = {}

    @classmethod
    def of(cls, *contents: Mapping[str, Any]) -> HourPart:
        """The sum of what :meth:`to_json` made."""
        part = cls()
        for content in contents:
            for offset, _, _, _, traffic in content["minutes"]:
                part._counts(offset).add_traffic(traffic)
            for row in content["errors"]:
                key, seen = seen_of(row)
                for offset, count in (seen.steps or {}).items():
                    one = Seen(count, seen.first, seen.last, seen.releases, None, seen.users, seen.kinds)
                    part._counts(offset).count_error(key, one)
        return part

    def add(self, row: Counted) -> None:
        self._counts(row.minute % HOUR).add(row.errors, row.traffic)

    def replace(self, minute: int, rows: Iterable[Counted]) -> None:
        """Let a minute be the sum of ``rows``, whatever it was."""
        self.minutes.pop(minute % HOUR, None)
        for row in rows:
            self.add(row)

    def to_json(self) -> dict[str, Any]:
        """``errors`` and ``traffic`` of the whole, as :class:`Counts` writes them, each row of errors with its minutes; and
        ``minutes`` with their points and traffic."""
        whole = Counts(PART_KEYS)
        minutes = []
        for offset, counts in sorted(self.minutes.items()):
            traffic, point = counts.traffic_rows(), Point()
            for key, seen in sorted(counts.all_errors(), key=_frequent):
                steps = {offset: seen.count}
                one = Seen(seen.count, seen.first, seen.last, seen.releases, steps, seen.users, seen.kinds)
                whole.count_error(key, one)
                point.add(0, 0, [(key.category, seen.count)])
            whole.add_traffic(traffic)
            requests = sum(one.requests for one in counts.devices.values())
            failed = sum(one.failed for one in counts.devices.values())
            minutes.append([offset, requests, failed, list(point.errors.items()), traffic])
        return {"errors": whole.error_rows(), "traffic": whole.traffic_rows(), "minutes": minutes}

    def _counts(self, offset: int) -> Counts:
        counts = self.minutes.get(offset)
        if counts is None:
            counts = self.minutes[offset] = Counts(PART_KEYS)
        return counts


def _frequent(kind: tuple[ErrorKey, Seen]) -> int:
    return -kind[1].count
