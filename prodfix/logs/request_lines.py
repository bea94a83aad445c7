"""The lines of one request in this instance's own log files, found by its ID: for who looks at that request.

What is read is bounded in bytes and in time: the newest part of each file, the newest files first, none that was last written
before the request came. Lines are shown as they were written, which is redacted. Whatever went to the console alone is not
here, nor is what another instance has written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson

from prodfix.errors import JournalUnavailable
from prodfix.logs.files import FILES
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

WHOLE = "service"  # which has all lines, where the console has them in colours
MEGABYTE = 1024 * 1024
MOST_BYTES = 16 * MEGABYTE  # of all files
OF_ONE = 8 * MEGABYTE  # of each of them, the last ones
MOST_LINES = 50
TIME = 0.5  # seconds
LONGEST = 500  # characters of a message
EARLIER = 5.0  # seconds that a clock of a disk may lag
DEEP = 4  # levels of a line in which the ID may stand


@frozen
class RequestLine(Serializable):
    """One of them."""

    at: datetime | None
    level: str
    event: str
    message: str
    file: str


@frozen
class RequestLog(Serializable):
    """Those that were found, oldest first."""

    lines: list[RequestLine]
    complete: Annotated[bool, Description("Whether all that this instance's log files have of that time was searched")]


class RequestLines:
    """Searches the files of ``folder``. ``aside`` runs what reads a disk in a native thread, and ends the waiting for it."""

    def __init__(
        self, folder: Path, aside: Callable[..., RequestLog], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._aside, self._clock = folder, aside, clock

    def find(self, request_id: str, since: datetime) -> RequestLog | None:
        """None if the disk does not answer in time."""
        try:
            return self._aside(self.search, request_id, since.timestamp(), limit=2 * TIME)
        except (TimeoutError, JournalUnavailable):
            return None

    def search(self, request_id: str, since: float) -> RequestLog:
        """In this thread."""
        end, wanted = self._clock() + TIME, request_id.encode()
        found: dict[tuple[object, ...], RequestLine] = {}  # what stands in several files once
        # Of lines of one millisecond only the file that has all of them knows which came first.
        order: dict[tuple[object, ...], int] = {}
        searched, complete = 0, True
        for path, name in self._files(since):
            room = min(OF_ONE, MOST_BYTES - searched)
            if room <= 0 or len(found) >= MOST_LINES or self._clock() > end:
                complete = False
                break
            data, whole = _tail(path, room)
            searched += len(data)
            complete = complete and whole
            for line in _lines_with(wanted, data):
                one = _line(line, request_id, name)
                if one is not None and len(found) < MOST_LINES:
                    key = (one.at, one.event, one.message)
                    found.setdefault(key, one)
                    if name == f"{WHOLE}.log":
                        order.setdefault(key, len(order))
        begun = datetime.fromtimestamp(since, UTC)
        keys = sorted(found, key=lambda key: (found[key].at or begun, order.get(key, 0)))
        return RequestLog([found[key] for key in keys], complete)

    def _files(self, since: float) -> Iterator[tuple[Path, str]]:
        """The newest first, those that were rotated among them."""
        known: list[tuple[float, Path, str]] = []
        for name in (*FILES, WHOLE):
            for path in (self._folder / f"{name}.log", *self._folder.glob(f"{name}.[0-9]*.log")):
                with suppress(OSError):
                    known.append((path.stat().st_mtime, path, f"{name}.log"))
        for written, path, name in sorted(known, key=lambda one: -one[0]):
            if written >= since - EARLIER:
                yield path, name


def _tail(path: Path, most: int) -> tuple[bytes, bool]:
    """The last ``most`` bytes, and whether that is all of it."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - most))
            return file.read(most), size <= most
    except OSError:
        return b"", False


def _lines_with(wanted: bytes, data: bytes) -> Iterator[bytes]:
    at = data.find(wanted)
    while at >= 0:
        begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield data[begin:end]
        at = data.find(wanted, end)


def _line(data: bytes, request_id: str, file: str) -> RequestLine | None:
    """Of a whole line that is this request's, in whatever names LOG_SCHEMA gives it; not of one that only mentions the ID."""
    try:
        entry = orjson.loads(data)
    except ValueError:
        return None
    if not isinstance(entry, dict) or not _has(entry, request_id):
        return None
    level, event = (
        _first(entry, "level", "log.level", "SeverityText"),
        _first(entry, "event", "event.action", "EventName"),
    )
    return RequestLine(
        at=_moment(entry),
        level=level.lower()[:20],
        event=event.removeprefix("prodfix.")[:60],
        message=_first(entry, "message", "Body")[:LONGEST],
        file=file,
    )


def _has(value: Any, request_id: str, depth: int = 0) -> bool:
    if isinstance(value, Mapping) and depth < DEEP:
        return any(_has(one, request_id, depth + 1) for one in value.values())
    return isinstance(value, str) and value == request_id


def _first(entry: Mapping[str, Any], *names: str) -> str:
    return next((str(entry[name]) for name in names if entry.get(name)), "")


def _moment(entry: Mapping[str, Any]) -> datetime | None:
    written = _first(entry, "timestamp", "@timestamp", "Timestamp")
    try:
        if written.isdecimal():
            return datetime.fromtimestamp(int(written) / 1e9, UTC)
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
