"""The served application with one more plug-in, whose views do to the database what tests want to see."""

from gevent import monkey

monkey.patch_all()

import logging
import os
import sys
from typing import Any

import gevent
from flask import Blueprint, jsonify, request
from pymongo import IndexModel
from pymongo.errors import PyMongoError

from blueprints import BLUEPRINTS
from config import load_settings
from prodfix import (
    Document,
    Insert,
    Update,
    Write,
    accepted,
    create_app,
    current_context,
    current_operation_id,
    current_prodfix,
    deadline,
    deferrable,
    idempotent,
    in_request,
    run_transaction,
)

blueprint = Blueprint("probe", __name__, url_prefix="/probe")


class Order(Document, collection="orders", indexes=[IndexModel("number", unique=True)]):
    number: int
    status: str


@blueprint.get("/each")
def each() -> Any:
    """One query for each item of a list: the N+1 of every ORM tutorial."""
    found = [current_prodfix.db.orders.find_one({"number": number}) for number in range(int(request.args["times"]))]
    return jsonify({"asked": len(found)})


@blueprint.get("/say")
def say() -> Any:
    """What a logger of the application says at DEBUG, and who has said it."""
    logging.getLogger("probe.words").debug("said by %s", os.getpid())
    return jsonify({"pid": os.getpid()})


@blueprint.get("/wait")
def wait() -> Any:
    """A request that stands still for a while, with a value that nobody should see."""
    canary = request.args["canary"]
    gevent.sleep(float(request.args["seconds"]))
    return jsonify({"length": len(canary)})


@blueprint.get("/find")
def find() -> Any:
    wanted = {"status": request.args["status"], "total": {"$gte": 10}}
    return jsonify({"found": len(list(current_prodfix.db.orders.find(wanted).sort("created", -1)))})


@blueprint.post("/stray")
def stray() -> Any:
    """A transaction whose callback forgets the session once, and fails if asked to."""

    def write(session: Any) -> None:
        current_prodfix.db.orders.insert_one({"_id": request.args["id"], "number": None}, session=session)
        current_prodfix.db.audit.insert_one({"_id": request.args["id"]})
        if "fail" in request.args:
            raise ValueError("changed my mind")

    current_prodfix.db.audit.find_one()
    run_transaction(write)
    return jsonify({"done": True})


@blueprint.post("/hot")
def hot() -> Any:
    """Insert, and count it in one document that all have: with the driver's own helper, or with ours."""

    def write(session: Any) -> None:
        current_prodfix.db.marks.insert_one({}, session=session)
        current_prodfix.db.counters.update_one({"_id": "hot"}, {"$inc": {"n": 1}}, upsert=True, session=session)

    if request.args["by"] == "driver":
        with current_prodfix.database.clients.application.start_session() as session:
            session.with_transaction(write)
    else:
        run_transaction(write)
    return jsonify({"done": True}), 201


@blueprint.get("/distinct")
def distinct() -> Any:
    """A command of its own kind, for a fail point that slows it down."""
    return jsonify({"statuses": current_prodfix.db.orders.distinct("status")})


@deferrable("orders.create")
def creation(arguments: Any) -> Any:
    return [
        Insert("orders", {"number": arguments["number"], "status": "new"}),
        Update("counters", {"_id": "orders"}, {"$inc": {"n": 1}}, upsert=True),
    ]


@blueprint.post("/deferrable")
def create() -> Any:
    result = current_prodfix.recovery.write(Write("orders.create", {"number": request.get_json()["number"]}))
    return accepted(result) if result.deferred else (jsonify({"operationId": result.operation_id}), 201)


def once(kind: str) -> Any:
    """One document more in ``kind``, and then a wait; ``guarded`` ones have the operation ID, and may be deferred."""
    body = request.get_json()
    gevent.sleep(body.get("before", 0))
    status, operation = 201, current_operation_id()
    if kind == "guarded":
        write = Write("guarded.create", {"name": body["name"]}, id=operation)
        status = 201 if current_prodfix.recovery.write(write).status == "applied" else 202
    else:
        current_prodfix.db[kind].insert_one({"name": body["name"]})
    gevent.sleep(body.get("after", 0))
    return jsonify({"operation": operation}), status


blueprint.add_url_rule("/once/<any(guarded, bare):kind>", "once", idempotent(once), methods=["POST"])
blueprint.add_url_rule("/each/<any(control):kind>", "each time", once, methods=["POST"])


@blueprint.get("/sleep")
def sleep() -> Any:
    gevent.sleep(float(request.args["seconds"]))
    return jsonify({"slept": True})


@blueprint.get("/spawned")
def spawned() -> Any:
    """What greenlets of a request know of it, and how their query ends: one in the request, and one that is on its own."""

    def ask(path: str) -> dict[str, Any]:
        context = current_context()
        with app.app_context():
            try:
                current_prodfix.db.orders.distinct("status")
                ended = None
            except PyMongoError as error:
                ended = type(error).__name__
        return {"request": context.request_id if context else None, "path": path, "ended": ended}

    greenlets = [gevent.spawn(in_request(ask), "in"), gevent.spawn(ask, "on its own")]
    gevent.joinall(greenlets, timeout=float(request.args["seconds"]))
    return jsonify([greenlet.value for greenlet in greenlets])


@blueprint.post("/increment")
def increment() -> Any:
    """Count once: in an operation that may be repeated, or one that the caller only says may be."""
    number = int(request.args["number"])

    def plainly() -> None:
        # An update of many is none that the driver itself repeats safely.
        current_prodfix.db.counters.update_many({"_id": "plain"}, {"$inc": {"n": 1}})

    if request.args["how"] == "plain":
        current_prodfix.recovery.run(plainly, idempotent=True)
        return jsonify({"status": "applied"})
    return jsonify({"status": current_prodfix.recovery.write(Write("orders.create", {"number": number})).status})


@blueprint.get("/export")
@deadline(None)
def export() -> Any:
    gevent.sleep(float(request.args["seconds"]))
    return jsonify({"slept": True})


@blueprint.get("/modules")
def modules() -> Any:
    """What this worker has loaded."""
    return jsonify(sorted(sys.modules))


@blueprint.get("/idle")
def idle() -> Any:
    return jsonify({"idle": True})


app = create_app(load_settings(), (*BLUEPRINTS, blueprint))
app.extensions["prodfix"].deferral.queue.register(
    "guarded.create", lambda arguments: [Insert("guarded", {"name": arguments["name"]})]
)
