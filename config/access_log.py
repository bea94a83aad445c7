"""gunicorn's two logs as JSON on stdout: a line for each answered request, and what the arbiter and its workers say."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from prodfix.logs import lines
from prodfix.redaction.names import mask_key

LONGEST_PATH = 512  # characters
CONTEXT = "prodfix.request.context"  # in the environ: the request's context, as prodfix.web.hooks puts it there
UNMATCHED = "unmatched"  # its endpoint, where no route was found
# What somebody may have named a route, a page or a file; all else in the path of no route may be a value.
_WORD = re.compile(r"(?:\.?[^\W\d_][^\W\d_-]*(?:[_-]+[^\W\d_-]+){0,5}(?:\.[A-Za-z]{1,5}\d?){0,2})?|v\d{1,3}")
BROKEN_REQUEST = "Invalid request from ip="

Entry = dict[str, Any]


class AccessLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger with JSON lines. Access lines hold no query string, no header and nothing of the body.

    Of the path they hold the route's template (``/reset/<token>``): what stands for its variables may be all that one needs
    to know to be somebody else. At debug the path itself is there too, redacted.

    Once a worker has loaded an application that owns the process's logging, both logs go through that.
    """

    def setup(self, cfg: Any) -> None:
        """Called by the arbiter before it would preload the application: the last moment to prevent that.

        A preloaded ``wsgi.py`` patches the arbiter. Then libev takes SIGCHLD away from it, and a worker that dies is never
        replaced. Options of the command line, Render's ``--preload`` among them, outrank the configuration file.
        """
        self._emit: Callable[[Entry], None] = self._print
        super().setup(cfg)
        if cfg.preload_app:
            cfg.set("preload_app", False)
            self.warning("--preload is ignored: under gevent the arbiter would not notice that a worker has died")

    def hand_over(self, emit: Callable[[Entry], None]) -> None:
        """From now on have ``emit`` write the lines: the application's log, where it has taken over the process's."""
        self._emit = emit

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:
        """Called by the worker after each answer; never raises, as an exception would end the connection."""
        if not self.access_log_enabled:
            return
        try:
            if not _unlogged(environ):
                path = str(environ.get("PATH_INFO", ""))
                entry = _line(resp, path, environ, request_time)
                if self.loglevel <= logging.DEBUG:
                    entry["rawPath"] = lines.redacted(_readable(path))[:LONGEST_PATH]
                self._emit(entry)
        except Exception:  # noqa: BLE001 - see above; gunicorn itself does the same
            self.error("%s", traceback.format_exc())

    # gunicorn writes pieces of requests that it cannot read into its messages, and whole addresses with their query strings.

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if msg.startswith(BROKEN_REQUEST):
            error = sys.exc_info()[0]
            msg, args = "%s (%s)", (msg.partition(": ")[0], error.__name__ if error else "unknown")
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        super().exception(msg, *(_masked(arg) if isinstance(arg, str) else arg for arg in args), **kwargs)

    def debug(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        told = (type(arg).__name__ if isinstance(arg, BaseException) else arg for arg in args)
        super().debug(msg, *told, **kwargs)

    def _set_handler(self, log: Any, output: Any, fmt: Any, stream: Any = None) -> None:
        """Called by gunicorn for each log, with "-" or the name of a file (`--error-logfile`)."""
        super()._set_handler(log, output, lines.Formatter() if log is self.error_log else fmt, stream)
        if output == "-":
            log.handlers.remove(self._get_gunicorn_handler(log))
            handler = lines.Handler()
            handler._gunicorn = True  # type: ignore[attr-defined]  # so that gunicorn finds it again
            log.addHandler(handler)

    def _print(self, entry: Entry) -> None:
        lines.write(lines.encoded(entry | {"path": lines.redacted(entry["path"])}))


def _unlogged(environ: Mapping[str, Any]) -> bool:
    """Whether the application wants no line of it (``prodfix.uncounted``, as for health checks). By names: the arbiter imports
    this file, and nothing of the library."""
    notes = getattr(environ.get(CONTEXT), "notes", None)
    return getattr(notes, "unlogged", False) is True


def _line(resp: Any, path: str, environ: Mapping[str, Any], request_time: timedelta) -> Entry:
    return {
        "timestamp": lines.timestamp(),
        "level": "info",
        "event": "request",
        "method": str(environ.get("REQUEST_METHOD", ""))[:32],
        "path": _route(path, environ),
        "status": _status(resp.status),
        "durationMs": round(request_time.total_seconds() * 1000, 1),
        "requestId": _header(resp.headers, "x-request-id"),
        **_trace(environ),
        # The client's address: ProxyFix has corrected it in this very mapping when TRUSTED_PROXIES is set.
        "ip": environ.get("REMOTE_ADDR") or None,
    }


def _trace(environ: Mapping[str, Any]) -> Entry:
    """The request's own span, which is over by now, if it had one."""
    span = getattr(getattr(environ.get(CONTEXT), "notes", None), "span", None)
    if span is None:
        return {}
    try:
        found = span.get_span_context()
        return {"traceId": "%032x" % found.trace_id, "spanId": "%016x" % found.span_id}  # noqa: UP031 - in a third of the time
    except Exception:  # noqa: BLE001 - a tracer of somebody's
        return {}


def _route(path: str, environ: Mapping[str, Any]) -> str:
    """The template of the request's route; of a path without one, the parts that are words."""
    endpoint = str(getattr(environ.get(CONTEXT), "endpoint", UNMATCHED))
    return _masked(_readable(path)) if endpoint == UNMATCHED else endpoint[:LONGEST_PATH]


def _masked(path: str) -> str:
    parts = path[: 4 * LONGEST_PATH].partition("?")[0].split("/")
    shown = [part if _WORD.fullmatch(part) and mask_key(part) == part else "***" for part in parts]
    return "/".join(shown)[:LONGEST_PATH]


def _readable(path: str) -> str:
    # PEP 3333: the server hands over the path's bytes as if they were latin-1.
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _status(status: Any) -> int | None:
    """gunicorn keeps the application's status line ("404 NOT FOUND") or a bare number."""
    code = str(status).split(None, 1)[0]
    return int(code) if code.isdigit() else None


def _header(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    for key, value in reversed(headers):  # ours is the last one
        if key.lower() == name:
            return value
    return None
