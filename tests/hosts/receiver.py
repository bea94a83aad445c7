"""The served application with views that read the body of their request in every way there is."""

from gevent import monkey

monkey.patch_all()

import hashlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, request

from blueprints import BLUEPRINTS
from config import load_settings
from prodfix import create_app, deadline

blueprint = Blueprint("bodies", __name__, url_prefix="/bodies")
METHODS = ["POST", "PUT", "PATCH", "DELETE", "GET"]


def mounted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A WSGI application within a view, as PEP 3333 says: it reads its ``CONTENT_LENGTH`` from ``wsgi.input``."""
    start_response("200 OK", [])
    return [environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))]


def data() -> bytes:
    return request.get_data()


def stream() -> bytes:
    return request.stream.read()


def raw() -> bytes:
    return bytes(request.environ["wsgi.input"].read())


WAYS: dict[str, Callable[[], bytes]] = {
    "data": data,
    "stream": stream,
    "pieces": lambda: b"".join(iter(lambda: request.stream.read(7000), b"")),
    "lines": lambda: b"".join(request.stream),
    "input": raw,
    "mounted": lambda: Response.from_app(mounted, request.environ).get_data(),
    "form": lambda: "&".join(f"{name}={value}" for name, value in request.form.items(multi=True)).encode(),
    "files": lambda: b"".join(file.read() for file in request.files.values()),
    "json": lambda: str(sorted(request.get_json())).encode(),
    "nothing": lambda: b"",
}


def answer(way: str) -> Any:
    # Which requests a view has seen, of all workers.
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(f"{request.headers.get('X-Request-ID', '')}\n")
    body = WAYS[way]()
    return jsonify({"size": len(body), "sha": hashlib.sha256(body).hexdigest(), "length": request.content_length})


blueprint.add_url_rule("/whole/<way>", "whole", answer, methods=METHODS)
blueprint.add_url_rule("/exempt/<way>", "exempt", deadline(None)(partial(answer)), methods=METHODS)


@blueprint.post("/moved/<way>")
def moved(way: str) -> Any:
    return redirect(f"/bodies/whole/{way}", 307)


app = create_app(load_settings(), (*BLUEPRINTS, blueprint))
