"""Which servers are known: where the driver finds one at once, nobody has to wait, and no wait has to be watched."""

from __future__ import annotations

from typing import Any

from pymongo.topology_description import TopologyDescription

MOST = 16  # selectors that are remembered: the driver has one for writes, and one for each read preference


class Selections:
    """The selectors that have found a server in the deployment as the driver describes it now.

    The driver makes a new description with each change, and a selector finds in one and the same description what it has found
    there before.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        # One pair, so that no thread meets the selectors of another description. By ID: read preferences have no hash.
        self._found: tuple[TopologyDescription | None, dict[int, Any]] = (None, {})

    def sure(self, description: TopologyDescription, selector: Any) -> bool:
        """Whether it finds a server without waiting."""
        known, selectors = self._found
        return description is known and id(selector) in selectors

    def note(self, description: TopologyDescription, selector: Any) -> None:
        """It has found one in this description."""
        known, selectors = self._found
        if description is not known:
            selectors = {}
        if len(selectors) < MOST:
            self._found = (description, {**selectors, id(selector): selector})
