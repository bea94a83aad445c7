"""A host in one file with globals, as tutorials write them: Flask, flask_pymongo, pages for people beside a little JSON."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, Response, abort, flash, jsonify, redirect, render_template_string, request, session, url_for
from flask_pymongo import PyMongo

app = Flask(__name__)
app.secret_key = "a secret of the host's, for its sessions"
app.config["MONGO_URI"] = os.environ["GUESTBOOK_URI"]
mongo = PyMongo(app)

PAGE = """<!doctype html><title>Guestbook</title>
{% for message in get_flashed_messages() %}<p class=message>{{ message }}</p>{% endfor %}
{% for entry in entries %}<p>{{ entry.name }}: {{ entry.text }}</p>{% endfor %}"""


@app.before_request
def count_visits() -> None:
    session["visits"] = session.get("visits", 0) + 1


@app.after_request
def forbid_frames(response: Response) -> Response:
    response.headers["X-Frame-Options"] = "DENY"
    return response


@app.get("/")
def index() -> str:
    return render_template_string(PAGE, entries=mongo.db.entries.find().sort("_id"))


@app.post("/")
def sign() -> Any:
    name = request.form["name"]
    if not request.form.get("text"):
        abort(400, "Say something")
    mongo.db.entries.insert_one({"_id": name, "text": request.form["text"], "name": name})
    flash(f"Thank you, {name}")
    return redirect(url_for("index"))


@app.get("/entries/<name>")
def entry(name: str) -> Any:
    return jsonify(mongo.db.entries.find_one_or_404({"_id": name}))


@app.delete("/entries/<name>")
def remove(name: str) -> Any:
    if session.get("visits", 0) > 1000:
        abort(403)
    return "", 204 if mongo.db.entries.delete_one({"_id": name}).deleted_count else 410


@app.put("/upload")
def upload() -> str:
    return str(len(request.stream.read()))


@app.get("/export")
def export() -> Response:
    return Response((f"{one['name']}\n" for one in mongo.db.entries.find().sort("_id")), mimetype="text/plain")


@app.get("/average")
def average() -> str:
    lengths = [len(one["text"]) for one in mongo.db.entries.find({"name": "nobody"})]
    return str(sum(lengths) / len(lengths))


@app.get("/closed")
def closed() -> tuple[str, int, dict[str, str]]:
    return "closed for cleaning", 503, {"Retry-After": "120"}


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
ADA = {"name": "ada", "text": "It was lovely"}
REQUESTS: list[dict[str, Any]] = [
    {"path": "/"},
    {"path": "/", "method": "POST", "data": ADA, "headers": BROWSER},
    {"path": "/", "headers": BROWSER},
    {"path": "/", "method": "POST", "data": {"name": "bob", "text": "<b>Hm</b>"}, "follow_redirects": True},
    {"path": "/", "method": "POST", "data": {"name": "eve"}, "headers": BROWSER},
    {"path": "/", "method": "POST", "data": {"text": "nameless"}, "headers": BROWSER},
    {"path": "/", "method": "POST", "data": ADA, "headers": BROWSER},
    {"path": "/entries/ada"},
    {"path": "/entries/nobody", "headers": BROWSER},
    {"path": "/entries/nobody"},
    {"path": "/upload", "method": "PUT", "data": b"x" * 70_000},
    {"path": "/export"},
    {"path": "/export", "method": "HEAD"},
    {"path": "/average", "headers": BROWSER},
    {"path": "/average"},
    {"path": "/closed"},
    {"path": "/nowhere", "headers": BROWSER},
    {"path": "/entries/ada", "method": "PATCH"},
    {"path": "/entries/ada", "method": "DELETE"},
    {"path": "/entries/ada", "method": "OPTIONS"},
]
