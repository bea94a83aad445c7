"""The blueprints that come with the library, for an application to register those that it wants.

Each is loaded when it is first asked for: who takes the health checks only does not load the diagnostics, nor needs what they
need. There is one object of each in a process, and any number of applications may register it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Blueprint


class ShippedBlueprints:
    """``app.register_blueprint(prodfix.blueprints.health)``, with any ``url_prefix`` and ``name``."""

    @property
    def health(self) -> Blueprint:
        """Whether it is alive, ready and begun, and whether the database answers."""
        return _loaded("health")

    @property
    def operations(self) -> Blueprint:
        """What became of a write that was answered with 202."""
        return _loaded("operations")

    @property
    def problems(self) -> Blueprint:
        """What each code of an error means: where it is registered, the ``type`` of each answer leads to its page."""
        return _loaded("problems")

    @property
    def metrics(self) -> Blueprint:
        """What a scraper is told, with ``METRICS_TOKEN``."""
        return _loaded("metrics")

    @property
    def diagnostics(self) -> Blueprint:
        """The JSON API and the page for admins. Raises ``ImportError`` where its libraries are not installed."""
        return _loaded("diagnostics")


def _loaded(name: str) -> Blueprint:
    found: Blueprint = import_module(f"prodfix.blueprints.{name}").blueprint
    return found
