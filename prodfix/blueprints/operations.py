"""What became of a write that was answered with 202: for its owner, from every worker, also while MongoDB is down."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, url_for
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BuildError

from prodfix import NotFound, current_prodfix, current_user, links_of

blueprint = Blueprint("prodfix_operations", __name__, url_prefix="/api/v1/operations")


@blueprint.record
def tell_address(state: BlueprintSetupState) -> None:
    """So that a 202 leads here, wherever this is registered."""
    endpoint = f"{state.name_prefix}.{state.name}.show".lstrip(".")

    def url(identity: str) -> str | None:
        try:
            return url_for(endpoint, identity=identity)
        except BuildError:  # its prefix has a variable, which this request has not
            return None

    links_of(state.app.extensions).operations_are_at(url)


@blueprint.get("/<identity>")
def show(identity: str) -> Response:
    """``waiting``, ``applied`` or ``failed``, with the reason's code. To anybody else it is not there.

    An instance that cannot know while MongoDB is down, or has just come back, says 503, and not 404.
    """
    found = current_prodfix.deferral.status.find(identity, current_user())
    if found is None:
        raise NotFound(f"no operation {identity[:100]!r} of this user")
    response = jsonify(found.answer().to_json())
    response.headers["Cache-Control"] = "no-store"
    if found.state == "waiting":
        response.headers["Retry-After"] = "5"
    return response
