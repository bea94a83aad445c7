"""The served application with a ledger: entries, and how often each was added, written so that they may wait; and carelessly."""

from gevent import monkey

monkey.patch_all()

from typing import Any

from flask import Blueprint, jsonify, request
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from blueprints import BLUEPRINTS
from config import load_settings
from prodfix import Insert, Update, Write, create_app, current_operation_id, current_prodfix, idempotent
from prodfix.deferral.writes import new_identity

blueprint = Blueprint("ledger", __name__, url_prefix="/ledger")


@blueprint.post("")
def add() -> Any:
    """201 when it is applied, 202 when it waits on disk."""
    result = current_prodfix.recovery.write(Write("ledger.add", {"number": request.get_json()["number"]}))
    return jsonify({"operationId": result.operation_id}), 201 if result.status == "applied" else 202


@blueprint.post("/keyed")
@idempotent
def add_once() -> Any:
    """The same for every copy with its Idempotency-Key."""
    write = Write("ledger.add", {"number": request.get_json()["number"]}, id=current_operation_id())
    result = current_prodfix.recovery.write(write)
    return jsonify({"operationId": result.operation_id}), 201 if result.status == "applied" else 202


# Each of these breaks one promise: the controls of the tests that find none broken.


@blueprint.post("/careless")
def add_carelessly() -> Any:
    """What the other view would be without the operation's ID, and without the driver's: it tries again what may have been
    applied."""
    number = request.get_json()["number"]
    client: MongoClient[Any]
    with MongoClient(current_prodfix.database.clients.uri, retryWrites=False) as client:
        entries = client.get_default_database().entries
        try:
            entries.insert_one({"number": number})
        except ConnectionFailure:
            entries.insert_one({"number": number})
    return jsonify({"added": True}), 201


@blueprint.post("/forgetful")
def accept_and_forget() -> Any:
    """Accepts what it keeps nowhere."""
    return jsonify({"operationId": new_identity()}), 202


@blueprint.post("/half")
def add_half() -> Any:
    """Acknowledges two steps, of which the second is not applied."""
    identity, number = new_identity(), request.get_json()["number"]
    current_prodfix.recovery.write(Write("ledger.half", {"number": number}, id=identity))
    return jsonify({"operationId": identity}), 201


@blueprint.post("/early")
def answer_early() -> Any:
    """Answers that nothing was applied, and that it may be sent again, after it was applied."""
    number = request.get_json()["number"]
    current_prodfix.recovery.write(Write("ledger.add", {"number": number}))
    return jsonify({"code": "DATABASE_UNAVAILABLE", "outcome": "not_applied", "retryable": True}), 503


@blueprint.post("/twice")
def add_twice() -> Any:
    """One write with two identities."""
    for _ in range(2):
        result = current_prodfix.recovery.write(Write("ledger.add", {"number": request.get_json()["number"]}))
    return jsonify({"operationId": result.operation_id}), 201


app = create_app(load_settings(), (*BLUEPRINTS, blueprint))
app.extensions["prodfix"].deferral.queue.register(
    "ledger.add",
    lambda arguments: [
        Insert("entries", {"number": arguments["number"]}),
        Update("counts", {"_id": arguments["number"]}, {"$inc": {"n": 1}}, upsert=True),
    ],
)
app.extensions["prodfix"].deferral.queue.register(
    "ledger.half", lambda arguments: [Insert("entries", {"number": arguments["number"]})]
)
