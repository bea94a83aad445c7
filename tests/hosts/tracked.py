"""The served application with a plug-in that fails while it handles secrets, wherever a request can carry them."""

from gevent import monkey

monkey.patch_all()

import os
import sys
from typing import Any

from flask import Blueprint, abort, jsonify, request
from pymongo.errors import PyMongoError

from blueprints import BLUEPRINTS
from config import load_settings
from prodfix import create_app, current_prodfix

blueprint = Blueprint("tracked", __name__, url_prefix="/tracked")


class Failure(Exception):
    """One that nobody expects."""


@blueprint.get("/fine")
def fine() -> Any:
    return jsonify({"pid": os.getpid(), "loaded": sorted({"sentry_sdk", "rollbar"} & set(sys.modules))})


@blueprint.post("/fails/<secret>")
def fails(secret: str) -> Any:
    local = request.get_json()["password"]
    if os.environ.get("CAPTURE"):
        import sentry_sdk

        sentry_sdk.add_breadcrumb(message=f"password={local}", data={"password": local})
        sentry_sdk.capture_message(f"the application itself says password={local}")
    try:
        current_prodfix.db.shops.find_one({"password": local})
    except PyMongoError as error:
        raise Failure(f"log in as mongodb://root:{local}@10.0.0.7/shop?authSource=admin") from error
    raise Failure(f"log in as mongodb://root:{local}@10.0.0.7/shop?authSource=admin")


@blueprint.get("/abort")
def aborted() -> Any:
    abort(503)


@blueprint.get("/bad")
def bad() -> Any:
    abort(400)


app = create_app(load_settings(), (*BLUEPRINTS, blueprint))
