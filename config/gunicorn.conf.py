"""How gunicorn serves the application. It is read by the arbiter, which is not patched by gevent: import nothing heavy.

`-w` and `-b` are given on the command line (Procfile, render.yaml, `make run`).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from dotenv import dotenv_values
from gunicorn.errors import AppImportError, HaltServer

from prodfix.logs import lines

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Of gunicorn.arbiter.Arbiter: at these the arbiter halts, instead of starting the worker for ever.
WORKER_BOOT_ERROR, APP_LOAD_ERROR = 3, 4


def _setting(name: str) -> str:
    """As the application reads it, whose own names come first."""
    file = dotenv_values(".env")
    names = (f"PRODFIX_{name}", name)
    return next((found for one in names if (found := os.environ.get(one) or file.get(one))), "")


def _graceful_timeout() -> int:
    """Whole seconds of GRACEFUL_TIMEOUT_MS. What is no number is told by the settings, with everything else that is wrong."""
    given = _setting("GRACEFUL_TIMEOUT_MS")
    return max(1, int(given) // 1000) if given.isdecimal() else 25


lines.use(
    _setting("LOG_SCHEMA").lower(),
    {
        "name": os.environ.get("OTEL_SERVICE_NAME") or os.environ.get("RENDER_SERVICE_NAME") or "prodfix",
        "version": _setting("APP_RELEASE") or _setting("RENDER_GIT_COMMIT"),
        "environment": _setting("APP_ENV") or "production",
        "instance": _setting("RENDER_INSTANCE_ID") or socket.gethostname()[:100],
    },
)
worker_class = "gevent"
# Longest request deadline < graceful_timeout < the 30 s after which Render kills: at the end of this time gunicorn itself
# kills the worker, without any hook.
graceful_timeout = _graceful_timeout()
# Under gevent this is no limit for requests: it ends a worker whose hub has not run for so long.
timeout = 60
# Idle connections count as work when a worker ends, so this also delays each deploy.
keepalive = 5
# Otherwise a native thread in the arbiter, and a socket under HOME that a second gunicorn of the same user takes away.
control_socket_disable = True
# gunicorn takes SCRIPT_NAME from a header of whoever sits on this host, and puts it into each address that we make.
forwarder_headers = ""
accesslog = "-"
logger_class = "config.access_log.AccessLog"
# The arbiter's; a worker's is the application's. What it does not know the application will refuse.
loglevel = {"debug": "debug", "warn": "warning", "warning": "warning", "error": "error"}.get(
    _setting("LOG_LEVEL").lower(), "info"
)


def on_starting(server: Any) -> None:
    """Refuse to serve without a database, once and before any worker."""
    if not _setting("MONGODB_URI"):
        lines.tell("critical", "MONGODB_URI is not set. Set it, or use `make run`, which brings a database.")
        sys.exit(APP_LOAD_ERROR)
    if server is not None:
        server.reap_workers = _halting_once(server.reap_workers)
        server.spawn_worker = _shielded(server.spawn_worker)


def _halting_once(reap: Callable[[], None]) -> Callable[[], None]:
    """gunicorn's reaping of workers, which raises once.

    A second worker that does not boot would raise HaltServer out of the halt that the first one is the reason of: the
    arbiter would end with a traceback, and leave the other workers behind.
    """
    halting = False

    def reap_workers() -> None:
        nonlocal halting
        while True:
            try:
                return reap()
            except HaltServer:
                if not halting:
                    halting = True
                    raise

    return reap_workers


def _shielded(spawn: Callable[[], Any]) -> Callable[[], Any]:
    """gunicorn's start of a worker, with the signals that end one held back until :func:`post_fork`, and for the arbiter until it
    is done: a container that is stopped as soon as it has begun would else wait for the whole graceful_timeout.
    """

    def spawn_worker() -> Any:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            return spawn()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    return spawn_worker


def post_fork(server: Any, worker: Any) -> None:
    """Let a worker that still boots be ended, and let it say why it cannot boot.

    Until it has its own handlers it runs the arbiter's, which only queue the signal, for an arbiter that is not there:
    a SIGTERM in this moment would be lost, and the end delayed by the whole graceful_timeout.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    worker.init_process = _telling(worker, worker.init_process)
    # Its application loads the library anew: what the arbiter has is as old as the arbiter, and SIGHUP is there to bring
    # what is on disk now.
    for name in [name for name in sys.modules if name.partition(".")[0] == "prodfix"]:
        del sys.modules[name]


def _telling(worker: Any, init_process: Callable[[], None]) -> Callable[[], None]:
    """gunicorn itself prints the text of what ends a worker as it is: a URI with its password, when a driver refuses it."""

    def run() -> None:
        try:
            init_process()
        except Exception as error:  # noqa: BLE001 - see above
            reason = "The worker has failed" if worker.booted else "The application cannot be loaded"
            facts = {"error": lines.described(error), "stack": lines.places(error)}
            lines.tell("critical", reason, logger="gunicorn.error", **facts)
            code = APP_LOAD_ERROR if isinstance(error, AppImportError) else WORKER_BOOT_ERROR
            sys.exit(1 if worker.booted else code)

    return run


def post_worker_init(worker: Any) -> None:
    """Start what belongs to one process, in the process that will serve."""
    services = getattr(worker.wsgi, "extensions", {}).get("prodfix")
    if services is None:
        return  # an application without prodfix
    services.start(serving=lambda: worker.alive)
    worker.log.hand_over(_written_by(services))


def _written_by(services: Any) -> Callable[[dict[str, Any]], None]:
    """What writes access lines through the application's log."""
    from prodfix import Severity, redact_text

    emit, info = services.logs.emit, Severity.INFO
    shown = lru_cache(1024)(redact_text)  # of nearly every path, which is a route's template

    def write(entry: dict[str, Any]) -> None:
        entry["path"] = shown(entry["path"])
        emit(info, entry)

    return write


def worker_exit(server: Any, worker: Any) -> None:
    """End it, while the log still works. Not called when a worker is killed, nor complete when it did not boot."""
    services = getattr(getattr(worker, "wsgi", None), "extensions", {}).get("prodfix")
    if services is not None:
        services.close()
