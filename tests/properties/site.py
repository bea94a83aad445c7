"""The served application within the test's process: what it answers, and everything that it writes down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint
from werkzeug.test import TestResponse

from blueprints import BLUEPRINTS
from prodfix import Settings, create_app

KEY = "a key of the tests, longer than 32 bytes"


class Console:
    """The console's sink, kept in memory."""

    name = "console"

    def __init__(self) -> None:
        self.data = bytearray()  # what grows with thousands of lines is not copied for each

    def write(self, data: bytes) -> None:
        self.data += data


class Site:
    """``app``, with one view more: any method on ``/raise`` and below calls ``view``."""

    def __init__(self, folder: Path, uri: str, **settings: Any) -> None:
        self.folder = folder
        given = {
            "mongodb_uri": uri,
            "jwt_secret_key": KEY,
            "app_env": "production",
            "state_dir": folder,
            "log_dir": folder / "log",
            "db_min_pool_size": 0,
            "max_body_bytes": 4096,
            "diagnostics_rate_limit": "1000000/second",
            "diagnostics_test_rate_limit": "1000000/second",
            "error_burst": 1_000_000,  # however many examples there are, no error is held back as one too many of its kind
        }
        self.view: Callable[[], Any] = lambda: "fine"
        self.app = create_app(Settings(**given | settings), [*BLUEPRINTS, self._raising()])
        self.services = self.app.extensions["prodfix"]
        self.console = Console()
        self.services.logs.sinks.replace(self.console)
        # What `start` does, without the loops: a driver that pings in the background draws from `random` at times when
        # Hypothesis allows it to nobody.
        self.services.runtime.journal.open()
        self.services.runtime.background.running = True

    def _raising(self) -> Blueprint:
        blueprint = Blueprint("raising", __name__, url_prefix="/raise")
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        for path in ("", "/<value>"):
            blueprint.add_url_rule(path, f"view{len(path)}", lambda value="": self.view(), methods=methods)
        return blueprint

    def close(self) -> None:
        self.services.close()

    def ask(self, path: str = "/raise", method: str = "GET", **more: Any) -> TestResponse:
        return self.app.test_client().open(path, method=method, **more)

    def fail(self, error: BaseException, **more: Any) -> TestResponse:
        """The answer to a request whose view raises ``error``."""

        def view() -> None:
            raise error

        self.view = view
        return self.ask(**more)

    def clear(self) -> None:
        """Forget what was logged."""
        assert self.services.logs.sinks.flush(30)
        self.console.data.clear()
        for path in self.folder.glob("log/*.log"):
            os.truncate(path, 0)

    def told(self) -> list[dict[str, Any]]:
        """The entries on the console."""
        assert self.services.logs.sinks.flush(30)
        return [json.loads(line) for line in self.console.data.splitlines()]

    def errors(self) -> list[dict[str, Any]]:
        """Those that tell of an error of a request."""
        return [entry for entry in self.told() if entry.get("event") == "error"]

    def filed(self, name: str) -> list[dict[str, Any]]:
        """The entries of one log file."""
        assert self.services.logs.sinks.flush(30)
        path = self.folder / "log" / f"{name}.log"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def written(self) -> bytes:
        """Everything that was written: console, log files, journal."""
        assert self.services.logs.sinks.flush(30)
        files = [path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()]
        return b"\n".join([self.console.data, *files])
