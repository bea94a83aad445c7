"""The answer to a write that was accepted and is not applied yet: 202, and where to ask for it."""

from __future__ import annotations

from flask import Response, jsonify

from prodfix.deferral.writes import WriteResult
from prodfix.services import current_prodfix


def accepted(result: WriteResult) -> Response:
    """202 with ``{"deferred": true, "operationId", "statusUrl", "durability"}`` and ``Location``.

    ``statusUrl`` is None where no plug-in has told an address (:mod:`prodfix.links`). Raises ``ValueError`` for a write that
    is applied.
    """
    if not result.deferred:
        raise ValueError("the write is applied: there is nothing to wait for")
    url = current_prodfix.links.operation(result.operation_id)
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
