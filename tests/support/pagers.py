"""Receivers of structured alerts on 127.0.0.1: a web hook, and what PagerDuty and Opsgenie do with a key."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import unquote

from tests.support.loopback import Loopback, QuietHandler


class Posted(NamedTuple):
    """One request: its path with the query, its headers in lower case, its body as bytes and as JSON."""

    path: str
    headers: dict[str, str]
    raw: bytes
    body: dict[str, Any]


class Pager(Loopback):
    """Keeps each POST, and answers with ``status``; ``incidents`` are those that are open, by receiver and
    key."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.status = 202
        self.incidents: dict[tuple[str, str], dict[str, Any]] = {}
        self.opened = 0
        pager = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                pager.released.wait(20)
                one = Posted(self.path, headers, raw, json.loads(raw))
                if pager.status < 300:
                    pager.posted.append(one)
                    pager.take(one)
                self.send_response(pager.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

        super().__init__(Handler)

    def take(self, one: Posted) -> None:
        """What a pager makes of it: a key that is open is the same incident, and what closes it is named by it."""
        path, body = one.path.partition("?")[0], one.body
        if path == "/v2/enqueue":
            self._change(("pagerduty", body["dedup_key"]), body, closes=body["event_action"] == "resolve")
        elif path == "/v2/alerts":
            self._change(("opsgenie", body["alias"]), body, closes=False)
        elif path.endswith("/close"):
            self._change(("opsgenie", unquote(path.split("/")[-2])), body, closes=True)
        elif body["state"] in ("firing", "resolved"):
            self._change(("hook", body["dedupKey"]), body, closes=body["state"] == "resolved")

    def _change(self, key: tuple[str, str], body: dict[str, Any], *, closes: bool) -> None:
        if closes:
            self.incidents.pop(key, None)
            return
        self.opened += key not in self.incidents
        self.incidents[key] = body

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hook(self) -> str:
        """For ``ALERT_URLS``."""
        return f"hook://127.0.0.1:{self.port}/alerts"
