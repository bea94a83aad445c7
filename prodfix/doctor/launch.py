"""The application loaded once more, in a fresh interpreter as gunicorn would, to see what it does while it is imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prodfix.doctor.deployment import StartCommand
from prodfix.doctor.findings import NotChecked
from prodfix.slotted import frozen

LIMIT = 12.0  # seconds
_PROBE = Path(__file__).with_name("probe.py")


@frozen
class Gunicorn:
    """gunicorn's options as they are in the end. Times in seconds. ``preload_asked``: before the configuration's own
    logger could turn it off."""

    worker_class: str
    workers: int
    threads: int
    worker_connections: int
    preload: bool
    preload_asked: bool
    graceful_timeout: int
    timeout: int
    keepalive: int

    @property
    def gevent(self) -> bool:
        return "gevent" in self.worker_class.lower()


@frozen
class Launched:
    """What was seen. ``before``: the modules that the application had imported when it called ``patch_all`` (``called``)."""

    gunicorn: Gunicorn | None
    called: bool
    before: tuple[str, ...] = ()
    target: str | None = None
    error: str | None = None
    """The type of what was raised by loading ``target``."""


class Launch:
    """A process that loads what ``command`` starts, or else ``target`` (``module`` or ``module:attribute``), beside all else."""

    def __init__(self, target: str | None, command: StartCommand | None, *, folder: str, limit: float = LIMIT) -> None:
        self._target, self._command, self._folder, self._limit = target, command, folder, limit
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = time.monotonic()
        self._waiting = threading.Lock()
        self._answer: bytes | None = None

    def start(self) -> None:
        if self._target is None and self._command is None:
            return
        arguments = list(self._command.arguments) if self._command is not None else None
        asked = {"arguments": arguments, "target": self._target, "folder": self._folder}
        variables = dict(self._command.variables) if self._command is not None else {}
        self._begun = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a script of ours
            [sys.executable, "-P", str(_PROBE), json.dumps(asked)],
            env=_environment(os.environ, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def result(self) -> Launched:
        """What was seen; waits for it. Raises :class:`prodfix.doctor.findings.NotChecked`."""
        if self._process is None:
            raise NotChecked("it is not known which module gunicorn would load")
        with self._waiting:
            if self._answer is None:
                self._answer = self._wait(self._process)
        if not self._answer:
            raise NotChecked(f"the application could not be loaded again within {self._limit:.0f} seconds")
        told = json.loads(self._answer)
        options = told["gunicorn"]
        gunicorn = Gunicorn(**options) if options is not None else None
        return Launched(gunicorn, told["called"], tuple(told["before"]), told["target"], told["error"])

    def _wait(self, process: subprocess.Popen[bytes]) -> bytes:
        try:
            return process.communicate(timeout=max(0.1, self._begun + self._limit - time.monotonic()))[0]
        except subprocess.TimeoutExpired:
            return b""
        finally:
            self.close()

    def close(self) -> None:
        """End the process, with whatever the application has started."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _environment(environ: Mapping[str, str], variables: Mapping[str, str | None]) -> dict[str, Any]:
    changed = {**environ, **variables}
    changed.pop("FLASK_RUN_FROM_CLI", None)  # with it an `app.run()` that stops gunicorn would do nothing
    return {name: value for name, value in changed.items() if value is not None}
