"""The body of a request as the server gives it in ``wsgi.input``: whole and untouched for whoever reads it, or refused.

It is read before the view, so that its time is limited, and given back as a buffer: all that follows sees a server that has
received the whole body (``Content-Length`` is its size, nothing is chunked any more, and it can be read again).
"""

from __future__ import annotations

import io
from collections.abc import Collection
from tempfile import SpooledTemporaryFile
from typing import Any

from flask.wrappers import Request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.wsgi import get_content_length

from prodfix.errors import BodyInterrupted
from prodfix.process.breather import give_way
from prodfix.web.incoming import UNREAD, Incoming, Rest

IN_MEMORY = 2**20  # bytes of one body; a larger one is on the disk
LARGEST = 2**26  # bytes of a body, where the application has no limit of its own

_RARELY = ("GET", "HEAD", "OPTIONS", "TRACE")
_ALIASES = {"x-gzip": "gzip", "x-compress": "compress"}  # RFC 9110 section 8.4.1


class EncodedBody(UnsupportedMediaType):
    """A body with a ``Content-Encoding`` that nobody decodes. The answer says which are accepted (RFC 7694 section 3)."""

    description = "The body has a Content-Encoding that is not accepted"

    def __init__(self, accepted: Collection[str]) -> None:
        super().__init__()
        self._accepted = accepted

    def get_headers(self, *arguments: Any, **options: Any) -> list[tuple[str, str]]:
        accepted = ", ".join([*sorted(map(str.lower, self._accepted)), "identity"])
        return [*super().get_headers(*arguments, **options), ("Accept-Encoding", accepted)]


def has_body(environ: dict[str, Any]) -> bool:
    """Whether the request has one (RFC 9112 section 6.3). Without a length and without chunks only the end of the stream
    tells, as over HTTP/2: methods that rarely have one are not asked."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        return bool(length != "0")
    if "HTTP_TRANSFER_ENCODING" in environ:
        return True
    return "wsgi.input_terminated" in environ and environ["REQUEST_METHOD"] not in _RARELY


def read_whole(request: Request, accepted: Collection[str] = ()) -> None:
    """Read the body, and put the whole of it in the place of ``wsgi.input``.

    Raises :class:`prodfix.errors.BodyInterrupted` if it ends before its ``Content-Length`` or its last chunk (RFC 9112
    section 8), 413 if it is longer than ``MAX_CONTENT_LENGTH`` (:data:`LARGEST` where there is none), and
    :class:`EncodedBody` if its encoding is none of ``accepted``. What somebody has begun to read is theirs.
    """
    if not _readable(request):
        return
    environ, most = request.environ, request.max_content_length
    stream = environ["wsgi.input"]
    if not _decoded(environ.get("HTTP_CONTENT_ENCODING"), accepted):
        environ[UNREAD] = Rest(stream, True)
        raise EncodedBody(accepted)
    try:
        read = _measured if _seekable(stream) else _kept
        size = read(request, LARGEST if most is None else most)
    except BaseException:  # the disk's, too: where the stream is now nobody knows
        environ.setdefault(UNREAD, Rest(stream, False))
        raise
    # Flask would cut a body without a length at the limit, and refuse one of just that size in a loop that reads it.
    environ.pop("wsgi.input_terminated", None)
    if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None or size:
        environ["CONTENT_LENGTH"] = str(size)


def watch(request: Request) -> None:
    """Read nothing: whoever reads the body later is told if it ends too early, or is too long."""
    if _readable(request) and not _seekable(request.environ["wsgi.input"]):
        request.environ["wsgi.input"] = request.stream = Incoming(request)  # type: ignore[assignment]


def _readable(request: Request) -> bool:
    """Whether anybody can tell where it ends, and nobody has begun to read it."""
    environ = request.environ
    ends = get_content_length(environ) is not None or "wsgi.input_terminated" in environ
    return ends and "stream" not in request.__dict__


def _decoded(encoding: str | None, accepted: Collection[str]) -> bool:
    codings = {coding.strip().lower() for coding in (encoding or "").split(",")} - {"", "identity"}
    return {_ALIASES.get(coding, coding) for coding in codings} <= {coding.lower() for coding in accepted}


def _seekable(stream: Any) -> bool:
    """Whether the server has received it all, and can give it again: a buffer, or a file."""
    seekable = getattr(stream, "seekable", None)
    return seekable is not None and bool(seekable())


def _measured(request: Request, most: int) -> int:
    stream, declared = request.environ["wsgi.input"], get_content_length(request.environ)
    start = stream.tell()
    there = int(stream.seek(0, io.SEEK_END)) - start
    stream.seek(start)
    size = there if declared is None else declared
    if size > most:
        raise RequestEntityTooLarge
    if there < size:
        raise BodyInterrupted("it ends too early")
    return size


def _kept(request: Request, most: int) -> int:
    incoming = Incoming(request, most)
    size = incoming.declared
    if size is not None and size <= IN_MEMORY:
        kept: Any = io.BytesIO(incoming.take(size))  # which copies nothing
    else:
        kept = _Spool(IN_MEMORY)
        for piece in incoming.pieces():
            kept.write(piece)
            give_way()  # what has arrived is read without a wait: others, and the time's end, have their turn here
        size = kept.tell()
        kept.seek(0)
    request.environ["wsgi.input"] = kept
    return size


class _Spool(SpooledTemporaryFile[bytes]):
    def __del__(self) -> None:
        self.close()  # who reads it last nobody knows: it may be a streamed answer
