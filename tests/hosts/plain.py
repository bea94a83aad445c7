"""A host as a stranger wrote it: plain Flask, plain PyMongo, its own handlers, JSON and logging; prodfix in three lines."""

from __future__ import annotations

import logging
import os
from typing import Any

import pymongo
from flask import Flask, jsonify, request
from flask.json.provider import DefaultJSONProvider
from pymongo import MongoClient

from prodfix import Classification, ErrorCategory, ProdFix, current_operation_id, idempotent
from prodfix.blueprints import diagnostics, health

logging.basicConfig(format="HOST %(name)s %(message)s", level=logging.INFO)


class OutOfStock(Exception):
    """An error of the host's own, with a row of its own."""


class Teapot(Exception):
    """An error that the host answers itself."""


class HostJSON(DefaultJSONProvider):
    def dumps(self, obj: Any, **options: Any) -> str:
        return super().dumps(obj, **options) + "  "


app = Flask("host")
app.config["MONGO_URI"] = os.environ["MONGODB_URI"]
app.json = HostJSON(app)


@app.errorhandler(Teapot)
def teapot(error: Teapot) -> tuple[str, int]:
    return "the host's own answer", 418


sold_out = Classification(ErrorCategory.CONFLICT, 409, "OUT_OF_STOCK", "Sold out")
prodfix = ProdFix(classifications={OutOfStock: sold_out})
client: MongoClient[dict[str, Any]] = MongoClient(
    os.environ["MONGODB_URI"], connect=False, serverSelectionTimeoutMS=700, event_listeners=[*prodfix.listeners]
)
prodfix.init_app(app)


@app.errorhandler(410)
def gone(error: Exception) -> tuple[str, int]:
    return "registered after prodfix", 410


app.register_blueprint(health.blueprint)
app.register_blueprint(diagnostics.blueprint)


@app.get("/items")
def items() -> Any:
    return jsonify(list(client.get_default_database().items.find({"owner": request.args.get("owner", "")}, {"_id": 0})))


@app.post("/items")
def add() -> Any:
    client.get_default_database().items.insert_one({"_id": request.get_json()["id"], "owner": "canary-owner-5521"})
    return jsonify({"added": True}), 201


@app.post("/once")
@idempotent
def once() -> Any:
    identity = current_operation_id()
    client.get_default_database().once.insert_one({"_id": identity, "name": request.get_json()["name"]})
    return jsonify({"id": identity}), 201


@app.get("/raise/<name>")
def raising(name: str) -> Any:
    if name == "gone":
        from flask import abort

        abort(410)
    raise {"stock": OutOfStock, "teapot": Teapot, "bug": KeyError}[name]("canary-value-7788")


@app.get("/closed")
def closed() -> tuple[str, int]:
    client.get_default_database().items.find_one({"owner": "canary-owner-5521"})
    return "closed", 503


@app.get("/deadline")
def deadline() -> Any:
    return jsonify({"limit": pymongo._csot.get_timeout()})
