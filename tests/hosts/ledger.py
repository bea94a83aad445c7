"""The served application with a ledger: entries, and how often each was added, written so that they may wait; and carelessly."""

from gevent import monkey

monkey.patch_all()

from typing import Any

from flask import Blueprint, jsonify, request
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from blueprints import BLUEPRINTS
from config import load_settings
from prodfix import Insert, Update, Write, create_app, current_prodfix

blueprint = Blueprint("ledger", __name__, url_prefix="/ledger")


@blueprint.post("")
def add() -> Any:
    """201 when it is applied, 202 when it waits on disk."""
    result = current_prodfix.recovery.write(Write("ledger.add", {"number": request.get_json()["number"]}))
    return jsonify({"operationId": result.operation_id}), 201 if result.status == "applied" else 202


@blueprint.post("/careless")
def add_carelessly() -> Any:
    """What the other view would be without the operation's ID, and without the driver's: it tries again what may have been
    applied."""
    number = request.get_json()["number"]
    client: MongoClient[Any]
    with MongoClient(current_prodfix.clients.uri, retryWrites=False) as client:
        entries = client.get_default_database().entries
        try:
            entries.insert_one({"number": number})
        except ConnectionFailure:
            entries.insert_one({"number": number})
    return jsonify({"added": True}), 201


app = create_app(load_settings(), (*BLUEPRINTS, blueprint))
app.extensions["prodfix"].deferred.register(
    "ledger.add",
    lambda arguments: [
        Insert("entries", {"number": arguments["number"]}),
        Update("counts", {"_id": arguments["number"]}, {"$inc": {"n": 1}}, upsert=True),
    ],
)
