"""A port for the metrics alone: for a network that only scrapers reach, and without a way through the application.

Whichever worker has the port serves it, for all of them say the same; the kernel lets one have it, and gives it free when that
one ends, however it ends. The others try for it once a second. It speaks as much HTTP as a scraper needs: one request for each
connection, of few bytes, in little time, and few at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from prodfix.metrics.admission import Verdict
from prodfix.process.per_process import in_each_process

PATH = "/metrics"
LIMIT = 5.0  # seconds for the request, and as many for the answer
LARGEST = 8 * 1024  # bytes of a request
MOST = 4  # connections at once
FOREIGN = 10  # looks in which no worker has the port, until it must be somebody else's

Render = Callable[[str | None], tuple[bytes, str]]


class Request(NamedTuple):
    """What of a request counts."""

    method: str
    path: str
    headers: dict[str, str]


class MetricsPort:
    """This worker's part. ``judge`` looks at an ``Authorization``; ``render`` makes the answer and its content type for an
    ``Accept``; ``refused`` is told of the address that was refused; ``taken`` says whether a worker of the instance has the port;
    ``tell`` is told when nobody can have it, and why."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        judge: Callable[[str | None], Verdict],
        render: Render,
        refused: Callable[[str], None] = lambda address: None,
        taken: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._host, self._port = host, port
        self._judge, self._render, self._refused = judge, render, refused
        self._taken, self._tell = taken, tell
        self._socket: socket.socket | None = None
        in_each_process(self._begin)

    def _begin(self) -> None:
        inherited, self._socket = self._socket, None
        if inherited is not None:  # a parent's: while anybody holds it, nobody else can have the port
            with contextlib.suppress(OSError):
                os.close(inherited.detach())
        self._busy = threading.BoundedSemaphore(MOST)
        self._missed, self._told = 0, ""
        self.errors = 0

    @property
    def serving(self) -> bool:
        """Whether this worker has the port."""
        return self._socket is not None

    def look(self) -> None:
        """Take the port if nobody has it. Never raises for what keeps it from that."""
        if self._socket is not None:
            return
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            made = socket.create_server((self._host, self._port), family=family, backlog=MOST)
        except OSError as error:
            self._miss(error)
            return
        self._socket = made
        try:
            threading.Thread(target=self._serve, args=(made,), name="prodfix-metrics-port", daemon=True).start()
        except RuntimeError:  # no thread is left now: another worker may have one
            self.errors += 1
            self.close()
            return
        self._missed, self._told = 0, ""

    def _miss(self, error: OSError) -> None:
        in_use = error.errno == errno.EADDRINUSE
        self._missed = 0 if in_use and self._taken() else self._missed + 1
        reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
        if reason != self._told and self._missed >= (FOREIGN if in_use else 1):
            self._told = reason
            self._tell(reason)

    def close(self) -> None:
        """Let another worker have it."""
        made, self._socket = self._socket, None
        if made is not None:
            with contextlib.suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)  # who waits in accept() is told
            made.close()

    # -- serving --------------------------------------------------------------------------------------------------------------

    def _serve(self, made: socket.socket) -> None:
        while self._socket is made:
            try:
                connection, address = made.accept()
            except OSError as error:
                if self._socket is not made or error.errno in (errno.EBADF, errno.EINVAL):
                    return
                time.sleep(0.1)  # no descriptor is left now
                continue
            if not self._busy.acquire(blocking=False):
                connection.close()
                continue
            try:
                threading.Thread(target=self._attend, args=(connection, str(address[0])), daemon=True).start()
            except RuntimeError:  # no thread is left now
                self.errors += 1
                connection.close()
                self._busy.release()

    def _attend(self, connection: socket.socket, address: str) -> None:
        try:
            with connection:
                answer = self._answer(_read(connection), address)
                connection.settimeout(LIMIT)
                connection.sendall(answer)
        except OSError:
            pass  # it went away, or was too slow
        except Exception:  # noqa: BLE001 - nobody is above this thread
            self.errors += 1
        finally:
            self._busy.release()

    def _answer(self, request: Request | None, address: str) -> bytes:
        if request is None:
            return _response(400, b"no request\n")
        if request.path != PATH:
            return _response(404, b"there is /metrics\n")
        if request.method not in ("GET", "HEAD"):
            return _response(405, b"GET\n", Allow="GET, HEAD")
        verdict = self._judge(request.headers.get("authorization"))
        if verdict == "limited":
            return _response(429, b"too often\n", Retry_After="60")
        if verdict == "refused":
            self._refused(address)
            return _response(401, b"a token is needed\n", WWW_Authenticate="Bearer")
        body, kind = self._render(request.headers.get("accept"))
        return _response(200, body, kind, head=request.method == "HEAD")


def _read(connection: socket.socket) -> Request | None:
    """The request's head, which must be there in time; None for what is none. Raises ``OSError``."""
    end, content = time.monotonic() + LIMIT, b""
    while b"\r\n\r\n" not in content:
        connection.settimeout(max(0.001, end - time.monotonic()))
        part = connection.recv(LARGEST)
        content += part
        if not part or len(content) > LARGEST:
            return None
    first, *lines = content.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(words[0], words[1].partition("?")[0], headers)


_PHRASES = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
}


def _response(
    status: int, body: bytes, kind: str = "text/plain; charset=utf-8", *, head: bool = False, **headers: str
) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named |= {
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else body)
