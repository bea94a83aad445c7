"""Who is told of what, and when: the channels by the names that are shown, their rules, and the hours of quiet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from prodfix.alert_settings import ALERT_KINDS, ALL_RULES, PAGERS, AlertKind, AlertRoute, QuietHours
from prodfix.slotted import frozen


def channel_names(urls: Sequence[str]) -> dict[str, str]:
    """The URLs by names that tell nothing but the scheme: ``mailto #1``."""
    return {f"{url.partition('://')[0].lower()} #{number}": url for number, url in enumerate(urls, 1)}


def rings(channel: str) -> bool:
    """Whether it opens an incident, which somebody is called for: there nothing is told that is over."""
    return channel.partition(" ")[0] in PAGERS


@frozen
class Routing:
    """``on`` are the rules that are looked at; ``routes`` has those of each channel, by name: of one that is not there, all."""

    channels: Mapping[str, str]
    routes: Mapping[str, frozenset[AlertKind]] = field(default_factory=dict)
    on: frozenset[AlertKind] = ALL_RULES
    quiet: QuietHours | None = None

    @classmethod
    def made(cls, routes: Sequence[AlertRoute], on: frozenset[AlertKind], quiet: QuietHours | None) -> Routing:
        names = channel_names([route.url for route in routes])
        return cls(names, dict(zip(names, (route.rules for route in routes), strict=True)), on, quiet)

    def of(self, kind: AlertKind) -> list[str]:
        """The channels that hear of it."""
        if kind not in self.on:
            return []
        return [name for name in self.channels if kind in self.routes.get(name, ALL_RULES)]

    def told(self) -> dict[str, list[str]]:
        """The channels by name, each with its rules: nothing of it is a secret."""
        return {name: sorted(self.routes.get(name, ALL_RULES)) for name in self.channels}

    def as_told(self, routes: Mapping[str, Sequence[str]]) -> Routing:
        """With the channels that another process has told, if this one has none; their URLs are not known here."""
        if self.channels:
            return self
        heard = {name: frozenset(rule for rule in ALERT_KINDS if rule in rules) for name, rules in routes.items()}
        return replace(self, channels=dict.fromkeys(routes, ""), routes=heard)

    def quiet_at(self, now: float) -> bool:
        return self.quiet is not None and self.quiet.now(now)
