"""The embedded database of a checkout: always the same data and the same port, whoever starts it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from config import ports

REPLICA_SET = "secantus"  # by this name in its `hello` we know it from a real MongoDB that took the port


class EmbeddedDatabase:
    """``folder`` (``STATE_DIR/database``) holds its data and the port that it had last time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = self._remembered() or self._another()

    @property
    def data(self) -> Path:
        return self._folder / "data"

    @property
    def uri(self) -> str:
        return f"mongodb://{ports.LOOPBACK}:{self.port}/prodfix"

    @property
    def pid(self) -> int | None:
        """The process that holds the data, as it has written it into its lock file; None if nobody does."""
        with contextlib.suppress(OSError, ValueError), self.data.with_name(f"{self.data.name}.lock").open() as lock:
            pid = int(lock.read())
            os.kill(pid, 0)
            return pid
        return None

    def running(self) -> bool:
        """Whether it answers already; when somebody else sits on its port, it moves to another one."""
        if ports.refusal(ports.LOOPBACK, self.port) is None:
            return False
        if self.answers(patience=2):
            return True
        self.port = self._another()
        return False

    def answers(self, *, patience: float) -> bool:
        """Whether it answers within ``patience`` seconds; at once False when nobody listens."""
        if not ports.listening(ports.LOOPBACK, self.port):
            return False
        limit = int(patience * 1000)
        client: MongoClient[dict[str, Any]] = MongoClient(
            self.uri,
            directConnection=True,
            serverSelectionTimeoutMS=limit,
            connectTimeoutMS=limit,
            socketTimeoutMS=limit,
        )
        with client, contextlib.suppress(PyMongoError):
            return bool(client.admin.command("hello").get("setName") == REPLICA_SET)
        return False

    def command(self) -> list[str]:
        """The command line that serves it in the foreground, as a child of this process."""
        return [sys.executable, "-m", "config.database_server", "--path", str(self.data), "--port", str(self.port)]

    def _remembered(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            port = int((self._folder / "port").read_text())
            return port if 0 < port < 65_536 else None
        return None

    def _another(self) -> int:
        port = ports.free_port()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f"port.{os.getpid()}"
        draft.write_text(f"{port}\n")
        draft.replace(self._folder / "port")
        return port
