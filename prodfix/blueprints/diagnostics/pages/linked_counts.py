"""Which numbers of the page lead to a list that has as many entries.

Counts have every error; a list has the records that are kept. Those of clients' errors are none, and of a kind that happens too
often only a sample is. Such a number stands there without a link, and says why; what it counts can be looked at all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from prodfix import current_prodfix, iso
from prodfix.models import SERVICE, CountedWindow, ErrorKey

OTHER = "__other__"  # what is counted together
BACKGROUND = "background"  # of no request
CATEGORY, DEVICE, ENDPOINT = 0, 1, 2  # places in a key
SAMPLED = "Only a sample of these records is kept"
CLIENTS = "Of errors that clients are to blame for no record is kept"
ELSEWHERE = "Not all of their records can be listed now"


class LinkedCount(NamedTuple):
    """How many errors; ``href`` leads to exactly so many. It is empty if no list has them all: then ``why`` says so, and ``some``
    leads to those that are kept, if any may be."""

    number: int
    href: str = ""
    why: str = ""
    some: str = ""


class LinkedCounts:
    """Those of a window. ``everything``: clients' errors count, too. ``errors_at`` makes the address of a list."""

    def __init__(self, read: CountedWindow, errors_at: Callable[..., str], *, everything: bool) -> None:
        self._errors_at = errors_at
        self._begin = read.coverage().window_from
        self._asked = "all" if everything else "service"
        self._seen = {
            key: seen.count for key, seen in read.counts.all_errors() if everything or key.category in SERVICE
        }
        self._by: dict[int, dict[str, list[ErrorKey]]] = {}
        self._thinned = _thinned(read)

    def by(self, place: int) -> dict[str, int]:
        """Counts by one part of the key, the most frequent first."""
        found = {name: sum(self._seen[key] for key in keys) for name, keys in self._keys(place).items()}
        return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))

    def _keys(self, place: int) -> dict[str, list[ErrorKey]]:
        """By one part of them."""
        if place not in self._by:
            by = self._by[place] = {}
            for key in self._seen:
                by.setdefault(key[place], []).append(key)
        return self._by[place]

    def linked(self, place: int, name: str, **filters: str) -> LinkedCount:
        """The count of one value of a part of the key; ``filters`` are what the list is asked for."""
        keys = self._keys(place).get(name, [])
        unnamed = name == OTHER or (place in (DEVICE, ENDPOINT) and any(key.endpoint == BACKGROUND for key in keys))
        return self._linked(keys, ELSEWHERE if unnamed else self.why(keys), filters)

    def whole(self) -> LinkedCount:
        """All of the window."""
        return self._linked(self._seen, self.why(self._seen), {})

    def _linked(self, keys: Collection[ErrorKey], why: str, filters: Mapping[str, str]) -> LinkedCount:
        number = sum(self._seen[key] for key in keys)
        if not number:
            return LinkedCount(0)
        address = self.address(**filters) if any(key.category in SERVICE for key in keys) else ""
        return LinkedCount(number, "", why, address) if why else LinkedCount(number, address)

    def why(self, keys: Iterable[ErrorKey]) -> str:
        """Why a list has fewer of these than there were; empty if it has all."""
        if self._thinned is None:
            return ELSEWHERE
        found = ""
        for key in keys:
            if key.category not in SERVICE:
                return CLIENTS
            if key.fingerprint == OTHER or key.fingerprint in self._thinned:
                found = SAMPLED
        return found

    def address(self, **filters: str) -> str:
        """Of the list of what is counted here."""
        from_here = {"from": iso(self._begin)} if "from" not in filters else {}
        return self._errors_at(**filters, errors=self._asked, **from_here)


def _thinned(read: CountedWindow) -> frozenset[str] | None:
    """The kinds of which not all records are kept; None where no list can be relied on. A worker keeps a sample of a kind as soon
    as there are many, and all others hear of it within a minute."""
    coverage, settings = read.coverage(), current_prodfix.settings
    if coverage.scope != "all" or coverage.partial or coverage.dropped:
        return None  # nor is a database asked that was too slow a moment ago
    known = current_prodfix.errors.lookup.thinned()
    if known is None:
        return None
    counts: dict[str, int] = {}
    for key, seen in read.counts.errors.items():
        counts[key.fingerprint] = counts.get(key.fingerprint, 0) + seen.count
    return known | {kind for kind, count in counts.items() if count >= settings.error_keep_per_kind}
