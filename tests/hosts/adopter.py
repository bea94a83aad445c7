"""A host as its maintainer writes it, typed, with prodfix from a wheel; it knows nothing of this repository.

Run as a program it serves itself by threads, asks itself, and prints what was answered, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import timedelta
from http.client import HTTPConnection
from importlib.util import find_spec
from typing import Any

from flask import Flask, Response, jsonify
from werkzeug.serving import make_server

from prodfix import Classification, ErrorCategory, NotFound, ProdFix, current_prodfix, make_token


class OutOfStock(Exception):
    """An error of the host's own."""


prodfix = ProdFix(
    uri=os.environ.get("MONGODB_URI"),
    classifications={OutOfStock: Classification(ErrorCategory.CONFLICT, 409, "OUT_OF_STOCK", "Sold out")},
)


def create_app() -> Flask:
    app = Flask(__name__)
    prodfix.init_app(app)
    app.register_blueprint(prodfix.blueprints.health, url_prefix="/hc")
    app.register_blueprint(prodfix.blueprints.operations)
    if find_spec("limits"):
        app.register_blueprint(prodfix.blueprints.diagnostics, url_prefix="/ops")

    @app.post("/things")
    def add() -> Response:
        identity = current_prodfix.db.things.insert_one({"n": 1}).inserted_id
        return jsonify({"id": str(identity), "there": current_prodfix.db.things.count_documents({})})

    @app.get("/raise/<name>")
    def fail(name: str) -> Response:
        raise {"stock": OutOfStock("none"), "bug": KeyError("canary"), "nothing": NotFound("no such thing")}[name]

    return app


Reply = tuple[int, str, str]


def ask(port: int, method: str, path: str, token: str = "") -> Reply:
    """Status, ID of the request, and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request(method, path, headers={"Accept": "text/html" if path == "/ops" else "*/*", **headers})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.headers["X-Request-ID"], body


def main() -> None:
    app = create_app()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = app.extensions["prodfix"].settings
    token = make_token(settings, role="admin", lifetime=timedelta(minutes=5))
    port, waited = server.port, threading.Event()
    ask(port, "GET", "/hc/live")  # the pinger starts with the first request
    for _ in range(100):
        if ask(port, "GET", "/hc/startup")[0] == 200 or prodfix.services.database.clients.configured is False:
            break
        waited.wait(0.1)
    asked = [("GET", "/hc/db"), ("POST", "/things"), ("GET", "/raise/stock"), ("GET", "/raise/bug"), ("GET", "/nope")]
    replies = {path: ask(port, method, path) for method, path in asked}
    failed = replies["/raise/bug"][1]
    for path in (f"/ops/requests/{failed}", "/ops", "/ops/assets/diagnostics.css", "/ops/sign-in"):
        replies[path.replace(failed, "ID")] = ask(port, "GET", path, token)
    server.shutdown()
    loaded = sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names)
    facts: dict[str, Any] = {"replies": replies, "loaded": loaded, "home": sys.modules["prodfix"].__file__}
    print(json.dumps(facts))
    prodfix.services.close()


if __name__ == "__main__":
    main()
