"""Which servers are known: where the driver finds one at once, nobody has to wait, and no wait has to be watched."""

from __future__ import annotations

from typing import Any, NamedTuple

from pymongo.topology_description import TopologyDescription

MOST = 16  # selectors that are remembered: the driver has one for writes, and one for each read preference


class Found(NamedTuple):
    """What a selector has found. ``server``: the only one that it can find in this description, or ``None`` if it may choose."""

    selector: Any
    server: Any


class Selections:
    """The selectors that have found a server in the deployment as the driver describes it now.

    The driver makes a new description with each change, and a selector finds in one and the same description what it has found
    there before. A forked process, and a client that was closed, have another description too.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        # One pair, so that no thread meets the selectors of another description. By ID: read preferences have no hash.
        self._found: tuple[TopologyDescription | None, dict[int, Found]] = (None, {})

    def get(self, description: TopologyDescription, selector: Any) -> Found | None:
        """What it has found in this description; ``None`` if it may have to wait."""
        known, found = self._found
        return found.get(id(selector)) if description is known else None

    def note(self, description: TopologyDescription, selector: Any, server: Any = None) -> None:
        """It has found one in this description: ``server``, where it can find no other."""
        known, found = self._found
        if description is not known:
            found = {}
        if len(found) < MOST:
            self._found = (description, {**found, id(selector): Found(selector, server)})
