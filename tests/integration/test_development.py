"""`make run` and `make database`, by the commands that their recipes become."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from config.embedded import EmbeddedDatabase
from config.ports import free_port
from config.supervisor import (
    APPLICATION_END_LIMIT,
    APPLICATION_START_LIMIT,
    DATABASE_END_LIMIT,
    DATABASE_START_LIMIT,
    LOG_END_LIMIT,
)
from tests.support.processes import alive, command, descendants
from tests.support.servers import REPOSITORY
from tests.support.waiting import until

pytestmark = pytest.mark.served

START_LIMIT = DATABASE_START_LIMIT + APPLICATION_START_LIMIT
END_LIMIT = APPLICATION_END_LIMIT + DATABASE_END_LIMIT + LOG_END_LIMIT + 10
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")


class Development:
    """``python -m config.development`` with an environment and a folder of its own."""

    def __init__(self, folder: Path, what: str = "run", **variables: str) -> None:
        self.folder = folder
        given = {name: os.environ[name] for name in INHERITED if name in os.environ}
        given |= {"STATE_DIR": str(folder / "state"), "LOG_DIR": str(folder / "log"), "PYTHONPATH": str(REPOSITORY)}
        self.variables = given | {"PORT": str(free_port()), "WEB_CONCURRENCY": "1"} | variables
        self.what = what
        self.stdout: int | None = None  # in the place of a file

    def __enter__(self) -> Self:
        self._output = self.folder / f"{self.what}.txt"
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.development", self.what],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output if self.stdout is None else self.stdout,
                stderr=output,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.output())
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def output(self) -> str:
        return self._output.read_text()

    def says(self, text: str, *, limit: float = START_LIMIT) -> Self:
        def look() -> bool:
            ended = self.process.poll()
            assert ended is None or text in self.output(), f"ended with {ended}: {self.output()}"
            return text in self.output()

        until(look, limit=limit, what=f"the message {text!r}")
        return self

    def ends(self, number: signal.Signals | None = None, *, limit: float = END_LIMIT) -> int:
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(limit)

    def child(self, name: str) -> int:
        """The first process under it whose command line holds ``name``: the arbiter comes before its workers."""
        return min(pid for pid in descendants(self.process.pid) if name in command(pid))

    def request(self, method: str, path: str, body: Any = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.variables["PORT"]), timeout=30)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            response.read()
            return response.status

    def healthy(self) -> bool:
        return self.request("GET", "/health/db") == http.HTTPStatus.OK


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Development]:
    with Development(tmp_path) as development:
        yield development.says("Admin token: ")


def ended(pids: set[int]) -> bool:
    return not any(alive(pid) for pid in pids)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the greeting's lines are for curl")
def test_every_line_of_the_greeting_works(running: Development) -> None:
    until(running.healthy, what="a healthy database")
    statuses = []
    for line in running.output().splitlines():
        if line.strip().startswith("curl "):
            done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=30, check=True)
            statuses.append(int(done.stdout.split()[1]))
    assert statuses == [200, 201, 200, 200]
    assert f"diagnostics  http://127.0.0.1:{running.variables['PORT']}/api/v1/diagnostics" in running.output()
    assert re.search(r"database +mongodb://127\.0\.0\.1:\d+/prodfix", running.output())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_ends_every_child_and_is_no_failure(running: Development, number: signal.Signals) -> None:
    children = descendants(running.process.pid)
    assert len(children) == 3, "the database, gunicorn and its worker"
    groups = {os.getpgid(pid) for pid in children}
    assert os.getpgid(running.process.pid) not in groups, "Ctrl-C must reach the supervisor alone"
    assert running.ends(number) == 0
    assert ended(children)


def test_a_killed_supervisor_leaves_no_orphan(running: Development) -> None:
    children = descendants(running.process.pid)
    running.ends(signal.SIGKILL)
    until(lambda: ended(children), what="the end of all children")


def test_the_application_goes_on_without_the_database_and_finds_it_again(running: Development) -> None:
    until(running.healthy, what="a healthy database")
    note = {"slug": "kept", "title": "Kept", "body": "Still here", "notebook": "inbox"}
    assert running.request("POST", "/api/v1/notes", note) == http.HTTPStatus.CREATED
    os.kill(running.child("-m config.database_server"), signal.SIGKILL)
    running.says("The embedded database has ended").says("make database")
    assert running.request("GET", "/health/live") == http.HTTPStatus.OK
    until(lambda: not running.healthy(), what="an unhealthy database")
    with Development(running.folder, "database", **running.variables) as database:
        database.says("ready mongodb://127.0.0.1:")
        running.says("The embedded database is back")
        until(running.healthy, what="a healthy database")
        # The same data: the slug is taken.
        assert running.request("POST", "/api/v1/notes", note) == http.HTTPStatus.CONFLICT
        assert database.ends(signal.SIGINT) == 0
    assert running.process.poll() is None


def test_a_database_that_runs_already_is_used_and_left_alone(tmp_path: Path) -> None:
    with Development(tmp_path, "database") as database:
        database.says("ready ")
        with Development(tmp_path) as running:
            running.says("Using the embedded database").says("Admin token: ")
            until(running.healthy, what="a healthy database")
            assert len(descendants(running.process.pid)) == 2, "gunicorn and its worker"
            assert running.ends(signal.SIGTERM) == 0
        assert database.process.poll() is None
        with Development(tmp_path / "..", "database", **database.variables) as second:
            assert second.ends() == 1
            assert "already answers" in second.output()


def test_with_a_mongodb_uri_no_server_is_started(tmp_path: Path, database_uri: str) -> None:
    with Development(tmp_path, MONGODB_URI=database_uri) as running:
        running.says("Admin token: ")
        until(running.healthy, what="a healthy database")
        assert not any("config.database_server" in command(pid) for pid in descendants(running.process.pid))
        assert not (tmp_path / "state" / "database").exists()


def test_in_production_no_token_is_printed(tmp_path: Path, database_uri: str) -> None:
    key = "a key for the tests only, long enough"
    with Development(tmp_path, MONGODB_URI=database_uri, APP_ENV="production", JWT_SECRET_KEY=key) as running:
        running.says("Admin token: ")
        assert "eyJ" not in running.output()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, 128 + signal.SIGKILL)])
def test_when_gunicorn_ends_all_end_with_its_code(running: Development, number: signal.Signals, code: int) -> None:
    children = descendants(running.process.pid)
    os.kill(running.child("-m gunicorn"), number)
    assert running.ends() == code
    assert ended(children)


def test_a_taken_port_is_one_clear_line_and_nothing_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Development(tmp_path, PORT=str(port)) as refused:
            assert refused.ends() == 1
    (line,) = refused.output().splitlines()
    assert f"Port {port} of 127.0.0.1 is taken" in line
    assert f"PORT={port + 1} make run" in line
    assert not (tmp_path / "state" / "database").exists()


def test_wrong_settings_are_named_and_nothing_starts(tmp_path: Path) -> None:
    with Development(tmp_path, DB_POOL_SIZE="many", LOG_LEVEL="loud") as refused:
        assert refused.ends() == 1
    assert "DB_POOL_SIZE" in refused.output()
    assert "LOG_LEVEL" in refused.output()
    assert "Traceback" not in refused.output()


def test_a_state_folder_that_cannot_be_made_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Development(tmp_path, STATE_DIR=str(tmp_path / "file" / "state")) as refused:
        assert refused.ends() == 1
    assert "STATE_DIR" in refused.output()
    assert "Traceback" not in refused.output()


def test_a_database_that_cannot_start_is_said_and_ends_the_run(tmp_path: Path) -> None:
    database = EmbeddedDatabase(tmp_path / "state" / "database")
    database.data.write_text("not a folder")
    with Development(tmp_path) as refused:
        assert refused.ends() == 1
    assert "cannot be used" in refused.output()
    assert "The embedded database did not start" in refused.output()


class Terminal:
    """What is written to a pseudo terminal: ``descriptor`` is a process's side of it."""

    def __init__(self) -> None:
        self._reader, self.descriptor = pty.openpty()
        self.text = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has the other side any more
            while data := os.read(self._reader, 65536):
                self.text += data.decode()

    def lines(self) -> list[str]:
        return self.text.split("\r\n")

    def close(self) -> None:
        os.close(self.descriptor)
        self._thread.join(10)
        os.close(self._reader)


def events(log: Path) -> set[str | None]:
    return {json.loads(line).get("event") for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")}


@pytest.mark.parametrize("form", ["", "json"])
def test_on_a_terminal_the_greeting_is_last_and_the_log_is_short(tmp_path: Path, form: str) -> None:
    terminal = Terminal()
    development = Development(tmp_path, LOG_FORMAT=form, TERM="xterm")
    development.stdout = terminal.descriptor
    with development:
        until(lambda: "Ctrl-C ends everything." in terminal.text, limit=START_LIMIT, what="the greeting")
        until(development.healthy, what="a healthy database")
        (pid,) = re.findall(r"kill -9 (\d+)", terminal.text)
        assert int(pid) == development.child("-m config.database_server")
        entries = [line for line in terminal.lines() if line.startswith("{")]
        assert development.request("GET", "/no/such") == http.HTTPStatus.NOT_FOUND
        log = tmp_path / "log" / "service.log"
        if form == "json":
            assert entries, "JSON was asked for"
            assert not log.exists()
        else:
            assert entries == [], "the greeting is what one sees"
            until(lambda: re.search(r"\d\d:\d\d:\d\d GET /no/such 404 ", terminal.text), what="a short line")
            until(lambda: {"request", "connection"} <= events(log), what="the whole log in its file")
        assert development.ends(signal.SIGINT) == 0
    terminal.close()
