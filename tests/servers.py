"""The embedded database server as a process of the tests, to be broken in every way a server can break."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from config.database_server import IN_MEMORY
from config.ports import free_port

REPOSITORY = Path(__file__).resolve().parent.parent
START_LIMIT = 30.0
STOP_LIMIT = 10.0


class DatabaseServer:
    """A server on a port of its own, which it keeps over restarts, as it keeps the data of a ``path`` on disk."""

    def __init__(
        self,
        path: Path | str = IN_MEMORY,
        *,
        port: int | None = None,
        failpoints: bool = True,
        ttl_sweep: float = 0.5,
        txn_lifetime: float = 5.0,
    ) -> None:
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
        if port is not None:
            self.port = port
        command = [sys.executable, "-m", "config.database_server", "--port", str(self.port), *self._options]
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
