"""What one worker tells its siblings, and the few bytes that it is in their common file.

All moments are of the monotonic clock, which the processes of one machine have in common until that is started anew
(clock_gettime(2)): no clock that is set makes a worker look dead.
"""

from __future__ import annotations

import struct
import zlib

from prodfix.slotted import frozen

SIZE = 320  # bytes of one worker
OWNER, KEY, ERROR, CAUSE = 40, 16, 96, 48  # bytes of texts; what is longer is cut

_FORMAT = struct.Struct(f"<{OWNER}sdddddQB{KEY}sddddI{ERROR}s{CAUSE}s")
_SUM = struct.Struct("<I")


@frozen
class PingReport:
    """What one worker's own pings found. ``begun``: when the last one began; ``since`` and ``ended``: when the last one that is
    over began and was over, 0 if none is. All the rest is of that one.

    ``failures``: in a row, whoever made them. ``alone``: this worker's pings fail and its siblings' do not, so that the
    connection is its own trouble. ``error`` and ``cause``: types and codes only.
    """

    begun: float = 0.0
    since: float = 0.0
    ended: float = 0.0
    good: bool = False
    latency_ms: float = 0.0
    failures: int = 0
    error: str = ""
    cause: str = ""
    refused: bool = False
    misconfigured: bool = False
    alone: bool = False

    @property
    def asking(self) -> bool:
        """Whether an answer is waited for."""
        return self.begun > self.since

    @property
    def found(self) -> bool:
        """Whether any of its pings has come to its end."""
        return self.ended > 0


@frozen
class Heartbeat:
    """``owner`` is the worker's boot, and ``at`` when it was last seen to work. ``begun``: when it began; ``asked``: when its
    requests last asked the database for something, 0 if none has. ``version`` is another one whenever its journal has changed.

    ``database`` says which one ``ping`` is of: workers of one folder may have several. None pings where none is configured.
    """

    owner: str
    at: float
    begun: float = 0.0
    asked: float = 0.0
    lag_ms: float = 0.0
    round_trip_ms: float = 0.0
    version: int = 0
    database: bytes = b""
    ping: PingReport | None = None


def encode(beat: Heartbeat) -> bytes:
    """Exactly :data:`SIZE` bytes."""
    ping = beat.ping or PingReport()
    known = (beat.ping is not None, ping.good, ping.refused, ping.misconfigured, ping.alone)
    content = _FORMAT.pack(
        _cut(beat.owner, OWNER),
        beat.at,
        beat.begun,
        beat.asked,
        beat.lag_ms,
        beat.round_trip_ms,
        beat.version,
        sum(1 << place for place, is_so in enumerate(known) if is_so),
        beat.database,
        ping.begun,
        ping.since,
        ping.ended,
        ping.latency_ms,
        min(ping.failures, 0xFFFFFFFF),
        _cut(ping.error, ERROR),
        _cut(ping.cause, CAUSE),
    )
    return (_SUM.pack(zlib.crc32(content)) + content).ljust(SIZE, b"\0")


def decode(content: bytes) -> Heartbeat | None:
    """None for a place that is free, and for one that is being written just now."""
    end = _SUM.size + _FORMAT.size
    if len(content) < end or not any(content[: _SUM.size + OWNER]):
        return None
    if _SUM.unpack_from(content)[0] != zlib.crc32(content[_SUM.size : end]):
        return None
    owner, at, begun, asked, lag, trip, version, flags, database, *pinged = _FORMAT.unpack_from(content, _SUM.size)
    pings, good, refused, misconfigured, alone = (bool(flags & 1 << place) for place in range(5))
    ping = None
    if pings:
        last, since, ended, latency, failures, error, cause = pinged
        found = (last, since, ended, good, latency, failures)
        ping = PingReport(*found, _text(error), _text(cause), refused, misconfigured, alone)
    return Heartbeat(_text(owner), at, begun, asked, lag, trip, version, database.rstrip(b"\0"), ping)


def _cut(text: str, size: int) -> bytes:
    return text.encode("utf-8", "replace")[:size]


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode("utf-8", "ignore")
