"""The embedded database server as a process of the tests, to be broken in every way a server can break."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from pymongo import MongoClient
from pymongo.errors import NetworkTimeout, ServerSelectionTimeoutError

from config.database_server import IN_MEMORY
from config.ports import free_port
from tests.support import REPOSITORY

# What runs the server: `make ranges` runs the tests with versions, and on interpreters, that it does not know.
SERVER_PYTHON = os.environ.get("DATABASE_SERVER_PYTHON", sys.executable)
START_LIMIT = 60.0
STOP_LIMIT = 10.0
# Of a test's own client. A server that stands still is a failure within seconds, and not when the test's time is over.
CLIENT_LIMITS = {"serverSelectionTimeoutMS": 5000, "socketTimeoutMS": 10_000}


class DatabaseServer:
    """A server on a port of its own, which it keeps over restarts, as it keeps the data of a ``path`` on disk."""

    def __init__(
        self,
        path: Path | str = IN_MEMORY,
        *,
        port: int | None = None,
        failpoints: bool = True,
        ttl_sweep: float = 60.0,
        txn_lifetime: float = 5.0,
    ) -> None:
        # While it sweeps, SecantusDB reads every document of a collection with a TTL index, and nobody else is served: with
        # some thousand of them, and twice a second, it did little else.
        # A free port, not 0: the system would take one from the range of outgoing ports, where a client that reconnects
        # for long enough to a killed server ends up connected to itself.
        self.port = free_port() if port is None else port
        self._options = ["--path", str(path), "--ttl-sweep", str(ttl_sweep), "--txn-lifetime", str(txn_lifetime)]
        self._options += ["--failpoints"] if failpoints else []
        self._process: subprocess.Popen[str] | None = None

    @property
    def uri(self) -> str:
        """Without a database's name."""
        return f"mongodb://127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server has not been started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, port: int | None = None) -> Self:
        """Start it and wait until it answers."""
        assert not self.running, "the server runs already"
        if sys.executable == SERVER_PYTHON and sys.version_info >= (3, 14) and find_spec("secantus") is None:
            pytest.skip(
                "the embedded server has no wheel for this Python: name another one, DATABASE_SERVER_PYTHON=..."
            )
        if port is not None:
            self.port = port
        command = [SERVER_PYTHON, "-m", "config.database_server", "--port", str(self.port), *self._options]
        command += ["--parent", str(os.getpid())]
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, process_group=0
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_LIMIT)
        line = self._process.stdout.readline() if readable else ""
        if line.strip() != f"ready {self.uri}":
            self.kill()
            raise RuntimeError(f"the database server said {line!r}; its own message is on stderr")
        return self

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator[MongoClient[Any]]:
        """A client of the test's own, which waits for no answer for ever. When it waits in vain the server's threads are told."""
        client: MongoClient[Any]
        with MongoClient(self.uri, **{**CLIENT_LIMITS, **options}) as client:
            try:
                yield client
            except (NetworkTimeout, ServerSelectionTimeoutError):
                self.tell_threads()
                raise

    def tell_threads(self) -> None:
        """Print where each thread of the server stands, to stderr, as the launcher does on SIGUSR1."""
        if self._process is None or self._process.poll() is not None:
            return
        print(f"the database server at {self.uri} (PID {self.pid}) does not answer; its threads:", file=sys.stderr)
        sys.stderr.flush()
        self._process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it does not end; until then it has written them
            self._process.wait(0.5)

    def stop(self) -> int:
        """End it in order; its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what was not on disk is lost."""
        self._end(signal.SIGKILL)

    def stop_signal(self) -> None:
        """SIGSTOP: the port is open and the connections stand, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: what arrived meanwhile is answered now."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """In order, then up again: same port, and the same data if they are on disk."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a stopped process takes only SIGKILL
        try:
            return process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.tell_threads()
            process.kill()
            process.wait()
            raise AssertionError(f"the database server did not end within {STOP_LIMIT:.0f} s") from None
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGTERM)
