"""Where the plug-ins of one application are: each tells it when it is registered, and nobody knows it before.

So whatever prefix an application gives them, an alert leads to the diagnostics, and a 202 to the status of its write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from prodfix.slotted import frozen

_EXTENSION = "prodfix.links"


@frozen
class HealthRoutes:
    """Endpoints of an application's health checks. ``startup`` is fit for a platform that restarts what is not healthy;
    ``database`` fails in each of its outages; ``waiting`` are those (of the two, or others) that fail where no pinger runs."""

    startup: str
    database: str
    waiting: frozenset[str]


class Links:
    """What the plug-ins have told. One that is registered twice is where it was registered last."""

    def __init__(self) -> None:
        self._diagnostics: str | None = None
        self._operation: Callable[[str], str | None] = lambda identity: None
        self._health: HealthRoutes | None = None
        self._problem: Callable[[str], str | None] = lambda code: None
        self._warming: Callable[[], Iterator[None]] | None = None

    def diagnostics_are_below(self, path: str) -> None:
        self._diagnostics = path

    def operations_are_at(self, url: Callable[[str], str | None]) -> None:
        """``url`` makes the address of one operation's status, of its ID; it is called within a request."""
        self._operation = url

    def problems_are_at(self, path: Callable[[str], str | None]) -> None:
        """``path`` makes the path of the page of one ``code`` of errors; None for a code that has none."""
        self._problem = path

    def health_is_at(self, routes: HealthRoutes) -> None:
        self._health = routes

    def warmed_by(self, steps: Callable[[], Iterator[None]]) -> None:
        """``steps`` does once in each worker, soon after its start, what its first answer would have to wait for: some
        milliseconds at a time, between two of which the worker does something else."""
        self._warming = steps

    @property
    def warming(self) -> Iterator[None]:
        """The steps of a process that begins."""
        return iter(()) if self._warming is None else self._warming()

    @property
    def diagnostics(self) -> str | None:
        """The path of the diagnostics; None where there are none."""
        return self._diagnostics

    @property
    def health(self) -> HealthRoutes | None:
        return self._health

    def operation(self, identity: str) -> str | None:
        """The address of the status of a deferred write; None where nobody can be asked for it."""
        return self._operation(identity)

    def problem(self, code: str) -> str | None:
        """The path of the page that says what ``code`` means; None where there is none."""
        return self._problem(code)


def links_of(extensions: MutableMapping[str, Any]) -> Links:
    """Those of the application with these ``app.extensions``. A plug-in may be registered before prodfix comes."""
    links: Links = extensions.setdefault(_EXTENSION, Links())
    return links
