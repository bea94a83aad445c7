"""A host with a factory, blueprints, a handler for every exception and flask-jwt-extended: an API of a younger style."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, jsonify, request
from flask_jwt_extended import JWTManager, create_access_token, get_jwt_identity, jwt_required
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError
from werkzeug.exceptions import HTTPException

logger = logging.getLogger("bookings")


class FullyBooked(Exception):
    """The domain's own: the house is full."""


users = Blueprint("users", __name__, url_prefix="/users")
rooms = Blueprint("rooms", __name__, url_prefix="/rooms")
health = Blueprint("health", __name__, url_prefix="/health")


@users.post("/token")
def token() -> Any:
    given = request.get_json()
    if given["password"] != "correct horse":
        return jsonify(error="wrong password"), 401
    return jsonify(token=create_access_token(given["user"]))


@users.get("/me")
@jwt_required()
def me() -> Any:
    return jsonify(user=get_jwt_identity())


@rooms.errorhandler(DuplicateKeyError)
def taken(error: DuplicateKeyError) -> Any:
    return jsonify(error="taken"), 409


@rooms.get("/<int:number>")
def room(number: int) -> Any:
    return jsonify(g.db.rooms.find_one({"_id": number}) or {})


@rooms.put("/<int:number>")
@jwt_required()
def book(number: int) -> Any:
    if number > 10:
        raise FullyBooked(f"room {number}")
    g.db.rooms.insert_one({"_id": number, "guest": get_jwt_identity()})
    return jsonify(number=number), 201


@rooms.get("/bill")
def bill() -> Any:
    return jsonify(total=1 / int(request.args["nights"]))


@rooms.get("/search")
def search() -> Any:
    return jsonify(list(g.db.rooms.find({"$nonsense": 1})))


@rooms.get("/stream")
def stream() -> Response:
    return Response((f"{n};" for n in range(3)), headers={"X-Parts": "3"})


@health.get("")
def healthy() -> Any:
    return jsonify(status="sick" if request.args.get("sick") else "well"), 503 if request.args.get("sick") else 200


def failed(error: Exception) -> Any:
    """Of everything that goes wrong, in the words of this API."""
    if isinstance(error, HTTPException):
        return jsonify(error=error.name), error.code
    if isinstance(error, FullyBooked):
        return jsonify(error="full"), 409
    logger.info("failed: %s", type(error).__name__)
    return jsonify(error="internal"), 500


def create_app(uri: str, extend: Callable[[Flask], object] = lambda app: None) -> Flask:
    app = Flask(__name__)
    app.config.update(JWT_SECRET_KEY="a secret of the host's own, which is long enough", PROPAGATE_EXCEPTIONS=False)
    JWTManager(app)
    client: MongoClient[dict[str, Any]] = MongoClient(uri, connect=False)
    app.extensions["bookings"] = client.get_default_database()
    extend(app)
    app.before_request(lambda: setattr(g, "db", current_app.extensions["bookings"]))
    for blueprint in (users, rooms, health):
        app.register_blueprint(blueprint)
    app.register_error_handler(Exception, failed)
    return app


LOGIN = {"user": "ada", "password": "correct horse"}
REQUESTS: list[dict[str, Any]] = [
    {"path": "/users/token", "method": "POST", "json": LOGIN},
    {"path": "/users/token", "method": "POST", "json": {**LOGIN, "password": "x"}},
    {"path": "/users/token", "method": "POST", "data": "{", "content_type": "application/json"},
    {"path": "/users/token", "method": "POST", "data": "a=b"},
    {"path": "/users/me"},
    {"path": "/users/me", "token": True},
    {"path": "/users/me", "headers": {"Authorization": "Bearer nonsense"}},
    {"path": "/rooms/1"},
    {"path": "/rooms/1", "method": "PUT"},
    {"path": "/rooms/1", "method": "PUT", "token": True},
    {"path": "/rooms/1", "method": "PUT", "token": True},
    {"path": "/rooms/1"},
    {"path": "/rooms/99", "method": "PUT", "token": True},
    {"path": "/rooms/bill?nights=0"},
    {"path": "/rooms/bill"},
    {"path": "/rooms/search"},
    {"path": "/rooms/stream"},
    {"path": "/rooms/1", "method": "DELETE"},
    {"path": "/health?sick=1"},
    {"path": "/nowhere"},
]
