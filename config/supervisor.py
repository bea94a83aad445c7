"""The parent of everything that `make run` starts: begins it in order, watches it, ends it in order."""

from __future__ import annotations

import http.client
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from config import ports, tether
from config.embedded import EmbeddedDatabase
from config.greeting import greeting
from config.processes import Child, Signals, Stopped
from config.terminal import FILE, Relay, for_eyes
from prodfix import Settings, make_token, redact_uri
from prodfix.logs.files import RotatingFile

DATABASE_START_LIMIT = 60.0  # seconds; after a crash WiredTiger replays its log before it answers
DATABASE_LOOK_SECONDS = 2.0
DATABASE_END_LIMIT = 8.0
APPLICATION_START_LIMIT = 60.0
LOG_END_LIMIT = 2.0  # seconds for the last lines
APPLICATION_END_LIMIT = 30.0  # gunicorn itself gives its workers 25 s
GUNICORN = Path(__file__).with_name("gunicorn.conf.py")
TOKEN_LIFETIME = timedelta(hours=8)
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


class CannotRun(Exception):
    """Something stands in the way; the text says what, and what to do."""


def say(text: str) -> None:
    """Print it now, also into a pipe."""
    print(text, flush=True)


class Supervisor:
    """The embedded database (unless ``MONGODB_URI`` is set) and gunicorn, from start to end."""

    def __init__(self, settings: Settings, port: int, signals: Signals) -> None:
        self._settings = settings
        self._port = port
        self._signals = signals
        self._state = settings.state_dir.resolve()
        self._embedded = None if settings.mongodb_uri else EmbeddedDatabase(self._state / "database")
        self._database: Child | None = None
        self._application: Child | None = None
        self._relay: Relay | None = self._made_relay() if for_eyes() else None
        self._database_up = True

    def run(self) -> int:
        """The application's exit code when it ends by itself, 0 when we are asked to stop."""
        try:
            if self._embedded:
                self._start_database(self._embedded)
            out = self._relay.descriptor if self._relay else None
            self._application = Child(tether.command(self._gunicorn()), self._environment(), stdout=out)
            if self._relay:
                self._relay.start()
            return self._supervise(self._application)
        except Stopped:
            say("Stopping.")
            return 0
        finally:
            if self._application:
                self._application.end(self._signals, limit=APPLICATION_END_LIMIT)
                if self._relay:
                    self._relay.join(LOG_END_LIMIT)
            if self._database:
                self._database.end(self._signals, limit=DATABASE_END_LIMIT)

    def _made_relay(self) -> Relay:
        settings = self._settings
        file = RotatingFile(
            settings.log_dir / FILE, max_bytes=settings.log_file_max_size, keep=settings.log_file_max_files, daily=False
        )
        return Relay(file, say, coloured="NO_COLOR" not in os.environ)

    def _start_database(self, embedded: EmbeddedDatabase) -> None:
        if embedded.running():
            say(f"Using the embedded database that answers already at {embedded.uri}")
            return
        say(f"Starting the embedded database at {embedded.uri}, data in {embedded.data}")
        self._database = Child([*embedded.command(), "--parent", str(os.getpid())], os.environ, quiet=True)
        deadline = time.monotonic() + DATABASE_START_LIMIT
        while not embedded.answers(patience=2):
            if self._database.exit_code is not None:
                raise CannotRun("The embedded database did not start: see the line above, or set MONGODB_URI")
            if time.monotonic() > deadline:
                raise CannotRun(
                    f"The embedded database does not answer after {DATABASE_START_LIMIT:.0f} s: "
                    f"try `make database` to see why, or set MONGODB_URI"
                )
            self._signals.pause(0.05)

    def _gunicorn(self) -> list[str]:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        workers = str(self._settings.web_concurrency)
        options = ["-k", "gevent", "-w", workers, "-b", f"{host}:{self._port}", "-c", str(GUNICORN)]
        return [sys.executable, "-m", "gunicorn", *options, "wsgi:app"]

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ, STATE_DIR=str(self._state))
        # They outrank the configuration file, as on Render, where the Procfile drops them too.
        environment.pop("GUNICORN_CMD_ARGS", None)
        if self._embedded:
            environment["MONGODB_URI"] = self._embedded.uri
        return environment

    def _supervise(self, application: Child) -> int:
        greeted = False
        late = time.monotonic() + APPLICATION_START_LIMIT
        while (code := application.exit_code) is None:
            if not greeted and self._live():
                say(self._greeting())
                greeted = True
            elif not greeted and time.monotonic() > late:
                say(f"The application has not answered for {APPLICATION_START_LIMIT:.0f} s: see its messages above")
                late = float("inf")
            self._look_at_database()
            self._signals.pause(DATABASE_LOOK_SECONDS if greeted else 0.1)
        say(f"gunicorn has ended with code {code}")
        return code

    def _look_at_database(self) -> None:
        if self._embedded is None:
            return
        own = self._database is not None and self._database.exit_code is None
        up = own or ports.listening(ports.LOOPBACK, self._embedded.port)
        if self._database_up and not up:
            say("The embedded database has ended. The application goes on without; start it again with: make database")
        elif up and not self._database_up:
            say("The embedded database is back")
        self._database_up = up

    def _live(self) -> bool:
        connection = http.client.HTTPConnection(self._reachable_host, self._port, timeout=1)
        try:
            connection.request("GET", "/health/live")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def _reachable_host(self) -> str:
        return WILDCARDS.get(self._settings.host, self._settings.host)

    def _greeting(self) -> str:
        host = f"[{self._reachable_host}]" if ":" in self._reachable_host else self._reachable_host
        if self._embedded:
            database = f"{self._embedded.uri} (embedded; data in {self._embedded.data})"
        else:
            uri = self._settings.mongodb_uri
            database = redact_uri(uri.get_secret_value()) if uri else ""
        token = None
        if not self._settings.production:
            token = make_token(self._settings, role="admin", lifetime=TOKEN_LIFETIME)
        told = {"APP_ENV": str(self._settings.app_env), "MONGODB_URI": self._embedded.uri} if self._embedded else None
        return greeting(
            f"http://{host}:{self._port}",
            database=database,
            token=token,
            settings=told,
            database_pid=self._embedded.pid if self._embedded else None,
            log=(self._settings.log_dir / FILE).resolve() if self._relay else None,
        )
