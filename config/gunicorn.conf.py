"""How gunicorn serves the application. It is read by the arbiter, which is not patched by gevent: import nothing heavy.

`-w` and `-b` are given on the command line (Procfile, render.yaml, `make run`).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from dotenv import dotenv_values

APP_LOAD_ERROR = 4  # gunicorn.arbiter.Arbiter.APP_LOAD_ERROR: the arbiter halts instead of starting the worker for ever


def _graceful_timeout() -> int:
    """Whole seconds of GRACEFUL_TIMEOUT_MS. What is no number is told by the settings, with everything else that is wrong."""
    given = os.environ.get("GRACEFUL_TIMEOUT_MS") or dotenv_values(".env").get("GRACEFUL_TIMEOUT_MS") or ""
    return max(1, int(given) // 1000) if given.isdecimal() else 25


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
accesslog = "-"
logger_class = "config.access_log.AccessLog"


def on_starting(server: Any) -> None:
    """Refuse to serve without a database, once and before any worker: two that end at once make the arbiter stumble."""
    if not (os.environ.get("MONGODB_URI") or dotenv_values(".env").get("MONGODB_URI")):
        print(
            "MONGODB_URI is not set. Set it, or use `make run`, which brings a database.", file=sys.stderr, flush=True
        )
        sys.exit(APP_LOAD_ERROR)


def post_fork(server: Any, worker: Any) -> None:
    """Let a worker that still boots be ended.

    Until it has its own handlers it runs the arbiter's, which only queue the signal, for an arbiter that is not there:
    a SIGTERM in this moment would be lost, and the end delayed by the whole graceful_timeout.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """Start what belongs to one process, in the process that will serve."""
    services = worker.wsgi.extensions["prodfix"]
    services.background.serving = lambda: worker.alive
    services.start()
    worker.log.hand_over(lambda entry: _log_request(services, entry))


def _log_request(services: Any, entry: dict[str, Any]) -> None:
    from prodfix import Severity, redact_text

    services.logs.emit(Severity.INFO, entry | {"path": redact_text(entry["path"])})


def worker_exit(server: Any, worker: Any) -> None:
    """End it, while the log still works. Not called when a worker is killed, nor complete when it did not boot."""
    services = getattr(getattr(worker, "wsgi", None), "extensions", {}).get("prodfix")
    if services is not None:
        services.close()
