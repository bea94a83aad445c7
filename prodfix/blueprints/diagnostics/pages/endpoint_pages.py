"""The endpoints of the application: which are slow, which fail, and what each asks of the database."""

from __future__ import annotations

from flask import request

from prodfix import current_prodfix
from prodfix.blueprints.diagnostics import parameters
from prodfix.blueprints.diagnostics.pages.linked_counts import ENDPOINT, LinkedCounts
from prodfix.blueprints.diagnostics.pages.shell import blueprint, errors_with, show
from prodfix.blueprints.diagnostics.paging import after_number, next_address, number_of
from prodfix.blueprints.diagnostics.routes import application_routes

SORTS = (
    ("failing", "Most failing"),
    ("slowest", "Slowest"),
    ("busiest", "Busiest"),
    ("database", "Most database time"),
)


@blueprint.get("/page/endpoints")
def endpoints() -> str:
    """All of them, by what one looks for."""
    query = parameters.query_of(request, parameters.EndpointsFilter)
    counted, offset = current_prodfix.requests.statistics.read(query.time_range), number_of(query.cursor)
    found = application_routes(counted.endpoints(query.sort))
    following = offset + query.limit
    linked = LinkedCounts(counted, errors_with, everything=False)
    return show(
        "endpoints.html",
        rows=[
            {"figures": one, "errors": linked.linked(ENDPOINT, one.endpoint, endpoint=one.endpoint)}
            for one in found[offset:following]
        ],
        total=len(found),
        coverage=counted.coverage(),
        sort=query.sort,
        sorts=SORTS,
        time_range=query.time_range,
        following=next_address(after_number(following)) if following < len(found) else None,
    )
