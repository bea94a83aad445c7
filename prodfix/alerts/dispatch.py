"""The way from a worker to the channels: the courier's process, what it is given and what it answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from prodfix.native import run_program

COURIER = Path(__file__).with_name("courier.py")
LIMIT = 30.0  # seconds for all deliveries of one courier
MOST = 40  # of them

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
    "no_result": "the courier ended without a result: is there memory for another process of 50 MB?",
    "not_started": "the courier could not be started",
    "removed": "the channel is no longer in ALERT_URLS",
    "late": "the service was away for too long",
    "failed": "Apprise could not send it, and does not say why: try the URL with the command `apprise -vv`",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one delivery. ``reason`` is a key of :data:`REASONS`, None for one that arrived."""

    alert: str
    channel: str
    ok: bool
    reason: str | None = None


Run = Callable[..., int | None]


def channels(urls: Sequence[str]) -> dict[str, str]:
    """The URLs by names that tell nothing but the scheme: ``mailto #1``."""
    return {f"{url.partition('://')[0].lower()} #{number}": url for number, url in enumerate(urls, 1)}


def send(jobs: Sequence[Mapping[str, Any]], stdout: int, *, limit: float = LIMIT, run: Run = run_program) -> None:
    """Run a courier with ``jobs`` to its end, in the native thread that calls. Its results are in ``stdout``, a file.

    A job has ``alert``, ``channel``, ``url``, ``part``, ``severity``, ``title`` and ``body``. Raises ``OSError``.
    """
    order = os.memfd_create("prodfix-alerts", os.MFD_CLOEXEC)  # no pipe, which could be full, and nothing on a disk
    try:
        with os.fdopen(os.dup(order), "wb") as file:
            file.write(orjson.dumps({"limit": limit, "jobs": list(jobs)}))
        os.lseek(order, 0, os.SEEK_SET)
        # -P: the folder of the program is none of its libraries.
        run(
            [_python(), "-P", str(COURIER)],
            environment=_environment(),
            stdin=order,
            stdout=stdout,
            limit=limit + 1,
        )
    finally:
        os.close(order)


def results(written: bytes) -> list[Result]:
    """The results in what a courier has written. A line that is cut off is none."""
    found = []
    for line in written.splitlines():
        try:
            answer = orjson.loads(line)
            found.append(Result(answer["alert"], answer["channel"], answer["ok"] is True, answer["reason"]))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return found


def missing(jobs: Iterable[Mapping[str, Any]], found: Iterable[Result], reason: str) -> list[Result]:
    """A result for each of ``jobs`` that has none."""
    known = {(result.alert, result.channel) for result in found}
    return [
        Result(job["alert"], job["channel"], False, reason)
        for job in jobs
        if (job["alert"], job["channel"]) not in known
    ]


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
