"""Delivers alerts: a program of its own, which sends, by Apprise or directly, and ends.

Apprise takes half a second to import and some 30 MB, which a worker should not keep, and its plug-ins wait on the network in
ways of their own. So this runs in a fresh interpreter, by its path and not as ``python -m``: that would import all of prodfix
first. It imports nothing of prodfix (what sends directly is run by its path, too), and knows nothing but what it reads from
stdin: the URLs, which are secrets, and the texts.

It answers with a line of JSON on stdout for each delivery as soon as it is over: ``{"notification", "channel", "ok", "reason"}``.
``reason`` is a word of the list in :func:`reason_of`; no text of an error or an answer is passed on.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import runpy
import signal
import smtplib
import sys
import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

LARGEST_TIMEOUT = 10.0  # seconds for connecting, and for one answer
MARGIN = 1.0  # seconds before the limit, in which the last results are written
TYPES = {"info": "info", "warn": "warning", "error": "failure", "critical": "failure"}
_STATUS = re.compile(r"error=(\d{3})\b")
# By name: those of requests, which this file does without.
_TIMEOUTS = {"TimeoutError", "Timeout"}
_TLS = {"SSLError"}  # also that of the standard library
_UNREACHABLE = {"gaierror", "ConnectionError", "SMTPServerDisconnected", "OSError"}
_writing = threading.Lock()


class Clues(logging.Handler):
    """What Apprise's plug-ins log while one delivery runs in this thread: the only way in which they tell why it failed."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._found: dict[int, list[str]] = {}

    def begin(self) -> None:
        self._found[threading.get_ident()] = []

    def end(self) -> str:
        found = self._found.pop(threading.get_ident(), [])
        return found[-1] if found else "failed"

    def emit(self, record: logging.LogRecord) -> None:
        clues = self._found.get(threading.get_ident())
        error = sys.exc_info()[1]  # most log from within the `except` of what has failed
        status = _STATUS.search(record.getMessage())
        if clues is not None and (error is not None or status is not None):
            clues.append(reason_of(error, int(status[1]) if status else None))


def reason_of(error: BaseException | None, status: int | None) -> str:
    """One word for why a delivery failed: a key of ``prodfix.alerts.delivery.REASONS``."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "credentials"
    if isinstance(error, smtplib.SMTPException) and not isinstance(error, smtplib.SMTPServerDisconnected):
        return "refused"
    if status is not None:
        return _of_status(status)
    found = ((_TLS, "tls"), (_TIMEOUTS, "timeout"), (_UNREACHABLE, "unreachable"))
    return next((word for names, word in found if names & kinds), "failed")


def _of_status(status: int) -> str:
    if status in (401, 403, 407):
        return "credentials"
    if 300 <= status < 400:
        return "redirected"
    if status in (404, 410):
        return "not_found"
    if status == 429:
        return "rate_limited"
    return "server_error" if status >= 500 else "refused"


def deliver_directly(job: dict[str, Any], send: Any) -> str | None:
    """Send one alert to a receiver that is no matter of Apprise's; None if it was delivered, else a reason."""
    try:
        status = send(job)
        return None if status is None else _of_status(status)
    except ValueError:  # also of the library below, for a host that is none
        return "not_a_url"
    except urllib.error.URLError as error:
        return reason_of(error.reason if isinstance(error.reason, BaseException) else error, None)
    except Exception as error:  # noqa: BLE001 - as below
        return reason_of(error, None)


def deliver(job: dict[str, Any], clues: Clues) -> str | None:
    """Send one alert to one URL; None if it was delivered, else a reason."""
    import apprise

    asset = apprise.AppriseAsset(
        app_id="prodfix",
        app_desc="prodfix alerts",
        async_mode=False,
        storage_mode="memory",
        interpret_emojis=False,
        pgp_autogen=False,
        pem_autogen=False,
        allow_templates=False,
        http_redirects=False,
    )
    clues.begin()
    try:
        plugin: Any = apprise.Apprise.instantiate(job["url"], asset=asset, suppress_exceptions=True)
        if plugin is None:
            return "not_a_url"
        # Whatever the URL says: after a 301, 302 or 303 the message goes on as an empty GET (RFC 9110 section 15.4), and
        # what answers that with 200 has got nothing.
        plugin.redirects = False
        plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, LARGEST_TIMEOUT)
        plugin.socket_read_timeout = min(plugin.socket_read_timeout, LARGEST_TIMEOUT)
        kind = "success" if job["part"] == "end" else TYPES.get(job["severity"], "failure")
        sent = plugin.notify(
            body=job["body"], title=job["title"], notify_type=apprise.NotifyType(kind), body_format="text"
        )
        return None if sent else clues.end()
    except Exception as error:  # noqa: BLE001 - a plug-in that breaks must not take the other deliveries along
        return reason_of(error, None)
    finally:
        clues.end()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the URLs
    order = json.loads(sys.stdin.buffer.read())
    limit = float(order["limit"])
    signal.setitimer(signal.ITIMER_REAL, limit)  # also when nobody is left who would kill this process
    end = time.monotonic() + limit - MARGIN
    clues = Clues()
    log = logging.getLogger("apprise")
    log.addHandler(clues)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    direct = runpy.run_path(str(Path(__file__).with_name("direct_channels.py")))
    schemes, send = frozenset(direct["SCHEMES"]), direct["send"]

    def one(job: dict[str, Any]) -> str | None:
        if job["url"].partition("://")[0].lower() in schemes:
            return deliver_directly(job, send)
        return deliver(job, clues)

    threads = []
    for channel in dict.fromkeys(job["channel"] for job in order["jobs"]):
        jobs = [job for job in order["jobs"] if job["channel"] == channel]
        threads.append(threading.Thread(target=_deliver_all, args=(jobs, one), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    os._exit(0)  # without waiting for a plug-in that hangs: what has no result by now has none


def _deliver_all(jobs: list[dict[str, Any]], one: Callable[[dict[str, Any]], str | None]) -> None:
    for job in jobs:
        reason = one(job)
        result = {
            "notification": job["notification"],
            "channel": job["channel"],
            "ok": reason is None,
            "reason": reason,
        }
        line = json.dumps(result).encode() + b"\n"
        # The kernel keeps the place in a file that several threads write to, but not in one of memfd_create.
        with _writing:
            os.write(1, line)


if __name__ == "__main__":
    main()
