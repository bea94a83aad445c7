"""The application as it is served: gunicorn with gevent workers, asked over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from config import ports, tether
from prodfix import Settings, make_token
from tests.support import REPOSITORY
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

JWT_SECRET_KEY = "a key for the tests only, long enough"
START_LIMIT = 60.0
STOP_LIMIT = 35.0
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


class Answer(NamedTuple):
    """``body`` is parsed if it is JSON, else text."""

    status: int
    headers: Message
    body: Any


class Served:
    """A context manager: the application on a free port, with an environment and a folder of its own.

    ``variables`` are environment variables (``LOG_LEVEL="debug"``); None removes one. It starts in ``folder``, so that a
    developer's ``.env`` does not count. Start it from the main thread: it ends with the thread that started it.
    """

    def __init__(
        self,
        folder: Path,
        mongodb_uri: str | None,
        *,
        workers: int = 2,
        application: str = "wsgi:app",
        options: tuple[str, ...] = (),
        wait_for_database: bool = True,
        adopted: bool = False,
        **variables: str | None,
    ) -> None:
        self.folder = folder
        self.port = ports.free_port()
        self._workers, self._application, self._options = workers, application, options
        self._wait_for_database = wait_for_database and mongodb_uri is not None
        given: dict[str, str | None] = {
            "MONGODB_URI": mongodb_uri,
            "STATE_DIR": str(folder / "state"),
            "LOG_DIR": str(folder / "log"),
            "APP_ENV": "development",
            "JWT_SECRET_KEY": JWT_SECRET_KEY,
            "PYTHONPATH": str(REPOSITORY),
            **variables,
        }
        self.variables = {name: value for name, value in given.items() if value is not None}
        self._adopted = adopted
        """It is a host that has taken prodfix in, which reads other names."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of gunicorn's arbiter."""
        assert self._process is not None, "the application has not been started"
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it answers, and until its database does unless told otherwise."""
        self.launch()
        try:
            until(lambda: self._answers("/health/live"), limit=START_LIMIT, what="GET /health/live -> 200")
            if self._wait_for_database:
                until(lambda: self._answers("/health/db"), limit=START_LIMIT, what="GET /health/db -> 200")
        except BaseException:
            self.stop(limit=0)
            print(self.stdout()[-4000:], self._output("stderr").read_text()[-4000:], sep="\n")
            raise
        return self

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | self.variables
        if self._adopted:
            known = [name for name in self.variables if name.lower() in Settings.model_fields]
            environment |= {f"PRODFIX_{name}": self.variables[name] for name in known}
        gunicorn = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", str(self._workers)]
        gunicorn += ["-b", f"127.0.0.1:{self.port}", "-c", str(REPOSITORY / "config" / "gunicorn.conf.py")]
        gunicorn += [*self._options, self._application]
        with self._output("stdout").open("ab") as stdout, self._output("stderr").open("ab") as stderr:
            self._process = subprocess.Popen(
                tether.command(gunicorn),
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                process_group=0,
            )

    def stop(self, *, limit: float = STOP_LIMIT) -> int | None:
        """End it in order; its exit code, or None if it had to be killed after ``limit`` seconds."""
        if self._process is None:
            return None
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(limit)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return None

    def kill(self) -> None:
        """SIGKILL to the arbiter and all workers at once, as when a machine's power fails."""
        assert self._process is not None, "the application has not been started"
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def kill_arbiter(self) -> None:
        """SIGKILL to the arbiter alone: its workers find out within a second, and end."""
        assert self._process is not None, "the application has not been started"
        self._process.kill()
        self._process.wait()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, json: Any, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("POST", path, json=json, headers=headers)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """One request over a new connection, so that each worker has its turn, or over the given one."""
        sent = dict(headers or {})
        if json is not None:
            body = _encoded(json)
            sent.setdefault("Content-Type", "application/json")
        with contextlib.ExitStack() as stack:
            if connection is None:
                connection = stack.enter_context(contextlib.closing(self.connection(timeout)))
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, _decoded(response.headers, response.read()))

    def connection(self, timeout: float = 30.0) -> http.client.HTTPConnection:
        """A connection of its own, for :meth:`request` to keep alive. The caller closes it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def token(self, role: str = "admin", *, lifetime: timedelta = timedelta(hours=1)) -> str:
        names = Settings.model_fields
        values: dict[str, Any] = {
            name.lower(): value for name, value in self.variables.items() if name.lower() in names
        }
        return make_token(Settings(**values), role=role, lifetime=lifetime)

    def looked_up(self, request_id: str, times: int = 6) -> list[dict[str, Any]]:
        """What the diagnostics say of a request, ``times`` times, so that each worker is asked. One that did not serve it knows
        an error of it some milliseconds after its answer."""

        def asked() -> list[dict[str, Any]] | None:
            path, token = f"/api/v1/diagnostics/requests/{request_id}", self.bearer()
            answers = [self.get(path, token) for _ in range(times)]
            return [answer.body for answer in answers] if all(answer.status == 200 for answer in answers) else None

        found = until(asked, every=0.02, what=f"request {request_id} in the diagnostics of every worker")
        assert found is not None
        return found

    def bearer(self, role: str = "admin") -> dict[str, str]:
        """The headers of a request with a token for ``role``."""
        return {"Authorization": f"Bearer {self.token(role)}"}

    def all_say(self, status: int) -> bool:
        """Whether each worker answers ``/health/db`` with this status now. The kernel chooses who is asked: one of two may be so
        for many times in a row."""
        waiting, token = set(self.worker_pids()), self.bearer()
        for _ in range(50 * len(waiting)):
            answer = self.get("/health/db?verbose", token)
            if answer.status != status:
                return False
            waiting.discard(answer.body["worker"]["pid"])
            if not waiting:
                return True
        return False

    def worker_pids(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def stdout(self) -> str:
        return self._output("stdout").read_text()

    def stdout_lines(self) -> list[dict[str, Any]]:
        """The JSON lines that were printed so far; other lines are left out."""
        return [entry for line in self.stdout().splitlines() if (entry := _object(line)) is not None]

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """The entries of ``LOG_DIR/<name>.log``; none if there is no such file. Every line must be an object."""
        path = Path(self.variables["LOG_DIR"]) / f"{name}.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _answers(self, path: str) -> bool:
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise RuntimeError(f"gunicorn has ended with code {code}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", path, timeout=2).status == http.HTTPStatus.OK
        return False

    def _output(self, name: str) -> Path:
        return self.folder / f"{name}.txt"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stop() is None and error is None:
            raise AssertionError(f"gunicorn did not end within {STOP_LIMIT:.0f} s")


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def _decoded(headers: Message, body: bytes) -> Any:
    if headers.get_content_type().endswith("json") and body:
        return json.loads(body)
    return body.decode("utf-8", "replace")


def _object(line: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        entry = json.loads(line)
        return entry if isinstance(entry, dict) else None
    return None


def whole(database: DatabaseServer, *instances: Served) -> None:
    """A server that a test has left killed, since it failed meanwhile, is there again: for the next test, and its second try."""
    if database.running:
        return
    database.start()
    for served in instances:
        until(lambda served=served: served.all_say(200), what="/health/db -> 200")  # type: ignore[misc]
