"""What `make run` supervises: the embedded database, if no MONGODB_URI is set, and gunicorn as in production.

``python -m config.development run`` starts both and ends both; ``python -m config.development database`` is the embedded
server alone, with the same data on the same port.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from dotenv import dotenv_values

from config import ENV_FILE, load_settings, ports
from config.embedded import EmbeddedDatabase
from config.processes import Signals
from config.supervisor import CannotRun, Supervisor, say
from prodfix import Settings, SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m config.development", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("run", "database"), default="run")
    what = parser.parse_args(arguments).what
    _default_to_development()
    try:
        settings = load_settings()
        return run(settings) if what == "run" else serve_database(settings)
    except (SettingsError, CannotRun) as problem:
        print(problem, file=sys.stderr, flush=True)
    except OSError as error:
        print(f"Cannot use {error.filename or 'a resource'}: {error.strerror}", file=sys.stderr, flush=True)
    return 1


def run(settings: Settings) -> int:
    """Run the application until a signal (then 0) or its own end (then its exit code)."""
    port = settings.port or ports.free_port()
    _demand_port(settings.host, port)
    with Signals() as signals:
        return Supervisor(settings, port, signals).run()


def serve_database(settings: Settings) -> int:
    """Become the embedded server. Its exit code is the one of this process."""
    database = EmbeddedDatabase(settings.state_dir.resolve() / "database")
    if database.running():
        raise CannotRun(f"The embedded database already answers at {database.uri}: nothing to start")
    say(f"Embedded database: {database.uri}, data in {database.data}; Ctrl-C ends it")
    command = database.command()
    os.execv(command[0], command)  # noqa: S606 - there is nothing for a shell to do


def _default_to_development() -> None:
    # An empty value counts as unset, as in Settings, and .env is read there with a lower rank than the environment.
    file = dotenv_values(ENV_FILE)
    if not any(os.environ.get(name) or file.get(name) for name in ("PRODFIX_APP_ENV", "APP_ENV")):
        os.environ["APP_ENV"] = "development"


def _demand_port(host: str, port: int) -> None:
    error = ports.refusal(host, port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        raise CannotRun(f"Port {port} of {host} is taken. Choose another: PORT={port + 1} make run")
    if error.errno == errno.EACCES:
        raise CannotRun(f"Port {port} needs more rights than you have. Choose one above 1023: PORT=8000 make run")
    raise CannotRun(f"Cannot listen on HOST={host}: {error.strerror}. Choose another: HOST=127.0.0.1 make run")


if __name__ == "__main__":
    sys.exit(main())
