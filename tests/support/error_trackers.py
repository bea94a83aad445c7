"""Error trackers on 127.0.0.1: what Sentry's and Rollbar's own SDKs send them."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.support.loopback import Loopback, QuietHandler

PUBLIC_KEY = "0123456789abcdef0123456789abcdef"


class Tracker(Loopback):
    """Takes Sentry's envelopes (``POST /api/<project>/envelope/``) and Rollbar's items (``POST /api/1/item/``).

    ``events`` are Sentry's, ``items`` Rollbar's, ``others`` whatever else came; ``raw`` is every byte, headers included.
    ``status`` is what it answers with; it waits until it is ``released``.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.others: list[str] = []
        self.keys: list[str] = []
        self.raw = b""
        self.asked = 0
        self.status = 200
        tracker = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                tracker.asked += 1
                tracker.released.wait(30)
                if tracker.status == 200:
                    tracker.raw += str(self.headers).encode() + body
                    tracker._take(self.path, self.headers.get("X-Sentry-Auth", ""), body)
                answer = (
                    b'{"err": 0, "result": {"id": null}}' if tracker.status == 200 else b'{"err": 1, "message": "no"}'
                )
                self.send_response(tracker.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        super().__init__(Handler)

    def _take(self, path: str, auth: str, body: bytes) -> None:
        if path == "/api/7/envelope/":
            self.keys.append(auth)
            for kind, payload in items_of(body):
                self.events.append(json.loads(payload)) if kind == "event" else self.others.append(kind)
        elif path == "/api/1/item/":
            self.items.append(json.loads(body)["data"])
        else:
            self.others.append(path)

    @property
    def dsn(self) -> str:
        return f"http://{PUBLIC_KEY}@127.0.0.1:{self.port}/7"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/1/"


def items_of(envelope: bytes) -> list[tuple[str, bytes]]:
    """Kind and payload of each item of an envelope (develop.sentry.dev/sdk/data-model/envelopes)."""
    found, rest = [], envelope.partition(b"\n")[2]
    while rest.strip():
        head, _, rest = rest.partition(b"\n")
        told = json.loads(head)
        length = told.get("length")
        payload, rest = rest.partition(b"\n")[::2] if length is None else (rest[:length], rest[length:].lstrip(b"\n"))
        found.append((told["type"], payload))
    return found
