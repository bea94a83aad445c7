"""The way to the channels: a program of its own sends (:mod:`prodfix.alerts.apprise_program`), and this runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from prodfix.alert_settings import DIRECT
from prodfix.alerts.notifications import DeliveryResult, Notification
from prodfix.process.native import run_program

PROGRAM = Path(__file__).with_name("apprise_program.py")
LIMIT = 30.0  # seconds for all deliveries of one program
MOST = 40  # deliveries of one program

# What a program needs that sends: names, certificates and proxies. Neither MONGODB_URI nor a key is among it.
_INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
)  # fmt: skip

REASONS = {
    "not_a_url": "Apprise does not understand the URL: compare it with the documentation of its service",
    "credentials": "the receiver refuses who asks: check user, password or token in the URL",
    "not_found": "the receiver does not know the address: the webhook, channel or topic may have been deleted",
    "rate_limited": "the receiver takes no more for now",
    "redirected": "the receiver is elsewhere, and the message would not arrive there: put its final address into the URL",
    "refused": "the receiver refuses the message: check sender, recipients and the URL's options",
    "server_error": "the receiver has an error of its own",
    "unreachable": "the receiver cannot be reached: check host, port, DNS, firewall and proxy",
    "tls": "no secure connection: check the certificate, and whether the port speaks TLS",
    "timeout": "no answer in time: check host, port, firewall and proxy",
    "no_result": "the delivery program ended without a result: is there memory for another process of 50 MB?",
    "not_started": "the delivery program could not be started",
    "removed": "the channel is no longer in ALERT_URLS",
    "late": "the service was away for too long",
    "failed": "Apprise could not send it, and does not say why: try the URL with the command `apprise -vv`",
}


Job = dict[str, Any]
"""One delivery: ``notification``, ``channel``, ``url``, ``part``, ``severity``, ``title`` and ``body``; ``event`` and ``secret``
where it is for a program."""
Send = Callable[[Sequence[Job], int], None]


def job(one: Notification, channel: str, url: str, secret: str | None = None) -> Job:
    """``secret`` signs it, if it is for a web hook of ours."""
    told = {"part": one.part, "severity": one.severity, "title": one.title, "body": one.body}
    direct = url.partition("://")[0].lower() in DIRECT
    return {"notification": one.id, "channel": channel, "url": url, **told, **_for_programs(one.event, secret, direct)}


def _for_programs(event: Mapping[str, Any], secret: str | None, direct: bool) -> dict[str, Any]:
    return {"event": dict(event), "secret": secret} if direct else {}


def nameless() -> int:
    """A file in memory."""
    return os.memfd_create("prodfix-alerts", os.MFD_CLOEXEC)


def run(jobs: Sequence[Job], file: int, send: Send) -> bytes:
    """Deliver ``jobs``, in the native thread that calls: what the program has written into ``file``, which is closed then.

    Raises ``OSError``.
    """
    try:
        os.ftruncate(file, 0)
        send(jobs, file)
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)


def send(
    jobs: Sequence[Job], stdout: int, *, limit: float = LIMIT, run: Callable[..., int | None] = run_program
) -> None:
    """Run the program with ``jobs`` to its end. Its results are in ``stdout``, a file. Raises ``OSError``."""
    order = nameless()  # no pipe, which could be full, and nothing on a disk
    try:
        with os.fdopen(os.dup(order), "wb") as file:
            file.write(orjson.dumps({"limit": limit, "jobs": list(jobs)}))
        os.lseek(order, 0, os.SEEK_SET)
        # -P: the folder of the program is none of its libraries.
        command = [_python(), "-P", str(PROGRAM)]
        run(command, environment=_environment(), stdin=order, stdout=stdout, limit=limit + 1)
    finally:
        os.close(order)


def results(written: bytes) -> list[DeliveryResult]:
    """The results in what a program has written. A line that is cut off is none."""
    found = []
    for line in written.splitlines():
        try:
            one = orjson.loads(line)
            found.append(DeliveryResult(one["notification"], one["channel"], one["ok"] is True, one["reason"]))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return found


def with_missing(jobs: Iterable[Job], found: Iterable[DeliveryResult], reason: str) -> list[DeliveryResult]:
    """``found``, and a result for each of ``jobs`` that has none."""
    known = {(one.notification, one.channel): one for one in found}
    for one in jobs:
        where = (one["notification"], one["channel"])
        known.setdefault(where, DeliveryResult(*where, False, reason))
    return list(known.values())


def _python() -> str:
    """The interpreter. Where Python is embedded in a server (uWSGI, Apache) ``sys.executable`` is that server."""
    if Path(sys.executable or "").name.startswith("python"):
        return sys.executable
    return str(Path(sys.prefix, "bin", "python3"))


def _environment() -> dict[str, str]:
    given = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return given | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)
    }  # Apprise is where the worker would find it
