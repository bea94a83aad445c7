"""A body of a request while it arrives, and what becomes of one that was not read to its end."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

from flask.wrappers import Request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wsgi import get_content_length

from prodfix.errors import BodyInterrupted
from prodfix.process.breather import give_way
from prodfix.process.native import under_gevent
from prodfix.request.deadlines import Enforced

UNREAD = "prodfix.unread"
"""In the environ once a part of the body was not read: its :class:`Rest`. The connection has to be closed."""

PIECE = 2**16
LINGER, DISCARDED = 2.0, 2**24  # seconds and bytes for what a client still sends of a body that was refused


class Rest(NamedTuple):
    """Of the server's ``stream``. ``known``: the server still knows where the body ends."""

    stream: Any
    known: bool


class Incoming(io.RawIOBase):
    """The stream of ``request`` that knows its end. The server's own tells no early end from the right one, and Flask cuts a
    body without a length where it becomes too long.

    Reading raises :class:`prodfix.errors.BodyInterrupted` if the body ends before its ``Content-Length``, or breaks HTTP,
    and 413 if it is longer than ``most`` bytes (without it than the request's own limit at that time).
    """

    def __init__(self, request: Request, most: int | None = None) -> None:
        self._request, self._most = request, most
        self._stream: Any = request.environ["wsgi.input"]
        self.declared = get_content_length(request.environ)
        self._came = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        return self.readall() if size is None or size < 0 else self.take(size)

    def readall(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        return iter(lambda: self.take(PIECE), b"")

    def readline(self, size: int | None = -1) -> bytes:
        size = self._room(sys.maxsize if size is None or size < 0 else size)
        line = self._asked(self._stream.readline, size)
        if self.declared is not None and len(line) < size and not line.endswith(b"\n"):
            self._broken("it ends too early")
        return self._counted(line)

    def take(self, size: int) -> bytes:
        """As many bytes, or all that are left if these are fewer."""
        size = self._room(size)
        data = self._asked(self._stream.read, size)
        while self.declared is not None and len(data) < size:
            more = self._asked(self._stream.read, size - len(data))
            if not more:
                self._broken("it ends too early")
            data += more
        return self._counted(data)

    def _limit(self) -> int:
        most = self._request.max_content_length if self._most is None else self._most
        return sys.maxsize - 1 if most is None else most

    def _room(self, size: int) -> int:
        """How many of ``size`` bytes may be asked for. Of a body without a length one more than is allowed: it tells."""
        limit = self._limit()
        if self.declared is None:
            return min(size, limit + 1 - self._came)
        if self.declared > limit:
            self._too_long()
        return min(size, self.declared - self._came)

    def _counted(self, data: bytes) -> bytes:
        self._came += len(data)
        if self.declared is None and self._came > self._limit():
            self._too_long()
        return data

    def _asked(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size) if size > 0 else b""
        except Exception as error:
            # gunicorn's errors of a broken chunk are plain exceptions, and their texts hold pieces of the body.
            if isinstance(error, (OSError, ClientDisconnected)) or type(error).__module__.startswith("gunicorn.http"):
                self._broken(type(error).__name__)
            raise
        except BaseException:  # a deadline's: what was read for nobody is lost
            self._request.environ[UNREAD] = Rest(self._stream, False)
            raise

    def _broken(self, why: str) -> NoReturn:
        self._request.environ[UNREAD] = Rest(self._stream, False)
        raise BodyInterrupted(why) from None

    def _too_long(self) -> NoReturn:
        self._request.environ[UNREAD] = Rest(self._stream, True)
        raise RequestEntityTooLarge


def close_connection(rest: Rest, start_response: Any) -> None:
    """Have gunicorn close the connection after this answer: what is left of the body would be taken for the next request.

    An application cannot ask for it with a header (PEP 3333, "hop-by-hop"): gunicorn passes over ``Connection: close``. Other
    servers keep no connection of which they have not read everything.
    """
    if rest.known and not under_gevent():
        return  # gunicorn reads the rest, and here it could not be done within a time
    force_close = getattr(getattr(start_response, "__self__", None), "force_close", None)
    if force_close is not None:
        force_close()
    elif hasattr(rest.stream, "failed"):  # a middleware has wrapped start_response: gunicorn's mark for such a body
        rest.stream.failed = True


def discard(rest: Rest) -> None:
    """Read what a client that was refused still sends: a connection that is closed before is reset, and the answer lost
    (RFC 9112 section 9.6)."""
    if not rest.known or not under_gevent():
        return
    left = DISCARDED
    try:
        with Enforced(LINGER, TimeoutError):
            while left > 0 and (piece := rest.stream.read(PIECE)):
                left -= len(piece)
                give_way()  # to the others, and to the time's end: what has arrived is read without a wait
    except Exception:  # noqa: BLE001 - it is answered, and the connection is closed in any case
        return
