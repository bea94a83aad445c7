"""``GET /metrics`` for who scrapes: Prometheus' text or OpenMetrics, as it is accepted. Every worker gives the same answer.

It is there with ``METRICS_TOKEN``, which the scraper sends as a bearer token. With ``METRICS_PORT`` the metrics have a port of
their own, and with neither there are none: nothing is counted for them then, and nothing is loaded.
"""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response, request
from werkzeug.exceptions import TooManyRequests

from prodfix import AuthenticationRequired, NotFound, Settings, current_prodfix, uncounted

blueprint = Blueprint("prodfix_metrics", __name__, url_prefix="/metrics")
blueprint.before_request(partial(uncounted, logged=False))


def registered_when(settings: Settings) -> bool:
    """:func:`prodfix.create_app` leaves it out without ``METRICS_TOKEN``, and where the metrics have a port."""
    return settings.metrics_token is not None and settings.metrics_port is None


@blueprint.get("")
def show() -> Response:
    """The metrics of the instance. A wrong token is an error of the category client, as everywhere, until there are too many."""
    metrics = current_prodfix.metrics if registered_when(current_prodfix.settings) else None
    if metrics is None:
        raise NotFound("there are no metrics")
    verdict = metrics.judge(request.headers.get("Authorization"))
    if verdict == "limited":
        raise TooManyRequests(retry_after=60)
    if verdict == "refused":
        raise AuthenticationRequired("no token for the metrics")
    body, kind = metrics.render(request.headers.get("Accept"))
    response = Response(body, content_type=kind)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    return response
