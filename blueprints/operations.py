"""What became of a write that was answered with 202: for its owner, from every worker, also while MongoDB is down."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from prodfix import NotFound, current_prodfix, current_user

blueprint = Blueprint("operations", __name__, url_prefix="/api/v1/operations")


@blueprint.get("/<identity>")
def show(identity: str) -> Response:
    """``waiting``, ``applied`` or ``failed``, with the reason's code. To anybody else it is not there.

    An instance that cannot know while MongoDB is down, or has just come back, says 503, and not 404.
    """
    found = current_prodfix.traces.find(identity, current_user())
    if found is None:
        raise NotFound(f"no operation {identity[:100]!r} of this user")
    response = jsonify(found.answer().to_json())
    response.headers["Cache-Control"] = "no-store"
    if found.state == "waiting":
        response.headers["Retry-After"] = "5"
    return response
