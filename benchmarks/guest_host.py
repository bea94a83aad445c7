"""The application that gunicorn serves for :mod:`benchmarks.guest`: what a second of its load does costs 16 commands.

It is copied beside the state of whatever build is measured, and imports nothing but that build. With ``GUEST_BACKGROUND=off``
the loops that store into MongoDB and into the journal beside requests do nothing: what is left is what requests do themselves.
``GUEST_WORK``: mean milliseconds that a view waits for something else, exponentially distributed.
"""

from gevent import monkey

monkey.patch_all()

import os
import random
from typing import Any

import gevent
from flask import jsonify

from blueprints import BLUEPRINTS
from config import load_settings
from prodfix import background, create_app, current_prodfix

QUIET = frozenset({"writer", "state"})  # loops


class Broken(Exception):
    """Of the host's own."""


class Missing(Exception):
    """Another kind."""


def _idle_loops() -> None:
    made, seen = background.Loop, set()

    def loop(name: str, work: Any, *arguments: Any, **options: Any) -> Any:
        seen.add(name)
        return made(name, (lambda: None) if name in QUIET else work, *arguments, **options)

    background.Loop = loop  # type: ignore[assignment,misc]
    groups = background.Background._groups

    def checked(self: Any) -> Any:
        found = groups(self)
        if missing := QUIET - seen:
            raise RuntimeError(f"there is no loop {', '.join(sorted(missing))} in this build: nothing would be off")
        return found

    background.Background._groups = checked  # type: ignore[method-assign]


if os.environ.get("GUEST_BACKGROUND") == "off":
    _idle_loops()

WORK = float(os.environ.get("GUEST_WORK", "0")) / 1000  # seconds
app = create_app(load_settings(), BLUEPRINTS)


@app.before_request
def wait() -> None:
    if WORK:
        gevent.sleep(random.expovariate(1 / WORK))


@app.get("/guest/nothing")
def nothing() -> Any:
    return jsonify(done=True)


@app.get("/guest/find/<int:number>")
def find(number: int) -> Any:
    found = current_prodfix.db.guest_notes.find_one({"number": number, "archived": False})
    return jsonify(found=found is not None)


@app.get("/guest/save/<int:number>")
def save(number: int) -> Any:
    changes = {"$set": {"archived": False, "body": "x" * 100}, "$inc": {"version": 1}}
    current_prodfix.db.guest_notes.update_one({"number": number}, changes, upsert=True)
    return jsonify(saved=number)


@app.get("/guest/broken")
def broken() -> Any:
    raise Broken("it does not work")


@app.get("/guest/missing")
def missing() -> Any:
    raise Missing("it is not there")
