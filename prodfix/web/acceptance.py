"""The answer to a write that was accepted and is not applied yet: 202, and where to ask for it."""

from __future__ import annotations

from flask import Response, current_app, jsonify, url_for
from werkzeug.routing import BuildError

from prodfix.deferral.writes import WriteResult

STATUS_ENDPOINT = "operations.show"


def accepted(result: WriteResult) -> Response:
    """202 with ``{"deferred": true, "operationId", "statusUrl", "durability"}`` and ``Location``.

    ``statusUrl`` is None where the plug-in ``operations`` is not registered. Raises ``ValueError`` for a write that is applied.
    """
    if not result.deferred:
        raise ValueError("the write is applied: there is nothing to wait for")
    url = _status_url(result.operation_id)
    response = jsonify(
        {
            "deferred": True,
            "operationId": result.operation_id,
            "statusUrl": url,
            "durability": result.durability,
        }
    )
    response.status_code = 202
    response.headers["Cache-Control"] = "no-store"
    if url is not None:
        response.headers["Location"] = url
    return response


def _status_url(identity: str) -> str | None:
    if STATUS_ENDPOINT not in current_app.view_functions:
        return None
    try:
        return url_for(STATUS_ENDPOINT, identity=identity)
    except BuildError:
        return None
