"""Which routes are the application's own: those of the diagnostics are none of them, however often an admin looks."""

from __future__ import annotations

from collections.abc import Iterable

from flask import current_app

from prodfix.blueprints.diagnostics.guard import guarded
from prodfix.models import EndpointFigures


def application_routes(figures: Iterable[EndpointFigures]) -> list[EndpointFigures]:
    """Without ours: requests to the diagnostics are not counted, but what fails there is."""
    ours = diagnostics_routes()
    return [one for one in figures if one.endpoint not in ours]


def diagnostics_routes() -> frozenset[str]:
    """The templates of the current application's diagnostics, the sign-in among them."""
    own = f"{guarded().name}."
    return frozenset(rule.rule for rule in current_app.url_map.iter_rules() if rule.endpoint.startswith(own))
