"""The served application with a plug-in that fails in every place where something can fail."""

from gevent import monkey

monkey.patch_all()

import os
from collections.abc import Iterator
from typing import Any

import gevent
from flask import Blueprint, Response, jsonify, request

from blueprints import BLUEPRINTS
from config import load_settings
from prodfix import create_app, current_context

blueprint = Blueprint("broken", __name__, url_prefix="/broken")


class Failure(Exception):
    """One that nobody expects."""


@blueprint.get("/fine")
def fine() -> Any:
    return jsonify({"pid": os.getpid()})


@blueprint.get("/view")
def view() -> Any:
    raise Failure("in the view")


@blueprint.get("/view/<int:number>")
def numbered(number: int) -> Any:
    raise Failure(f"number {number}")


@blueprint.before_request
def before() -> None:
    if request.args.get("fail") == "before":
        raise Failure("before the view")


@blueprint.after_request
def after(response: Response) -> Response:
    if request.args.get("fail") == "after":
        raise Failure("after the view")
    return response


@blueprint.teardown_request
def teardown(error: BaseException | None) -> None:
    if request.args.get("fail") == "teardown":
        raise Failure("at the end of the request")


@blueprint.errorhandler(LookupError)
def handler(error: LookupError) -> Any:
    raise Failure("in the handler")


@blueprint.get("/handler")
def handled() -> Any:
    raise LookupError("what the handler is for")


@blueprint.get("/stream/<int:parts>")
def stream(parts: int) -> Response:
    """``parts`` parts, and then it fails."""

    def made() -> Iterator[bytes]:
        for number in range(parts):
            yield b"part %d\n" % number
        raise Failure("in the stream")

    return Response(made(), mimetype="text/plain")


@blueprint.get("/stream/whole")
def whole() -> Response:
    """Whose request a part believes itself to be made for."""

    def made() -> Iterator[str]:
        for _ in range(2):
            context = current_context()
            yield f"{context.request_id if context else None}\n"

    return Response(made(), mimetype="text/plain")


@blueprint.get("/background")
def background() -> Any:
    gevent.spawn(_fail_later)
    return jsonify({"spawned": True})


def _fail_later() -> None:
    gevent.sleep(0.01)
    raise Failure("in the background")


app = create_app(load_settings(), (*BLUEPRINTS, blueprint))
