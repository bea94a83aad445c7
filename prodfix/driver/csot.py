"""What is left of ``pymongo.timeout`` (client-side operations timeout), and a deadline that is begun and ended as it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pymongo

from prodfix.driver.private_names import PrivateName, found

Deadline = tuple[float | None, float]
"""The seconds that ``pymongo.timeout`` was given, and when they are over (monotonic)."""

if TYPE_CHECKING:
    from pymongo import _csot
else:
    _csot = found("pymongo", "_csot")

_TIMES = all(hasattr(_csot, name) for name in ("remaining", "get_timeout", "get_deadline", "TIMEOUT", "DEADLINE"))

TIMEOUT_NAMES = (
    PrivateName("_csot", "what is left of pymongo.timeout: a caller's shorter limits, waits that end with it", _TIMES),
)


if _TIMES:

    def remaining() -> float | None:
        """Seconds left of ``pymongo.timeout``, below 0 once they are over; ``None`` without one."""
        return _csot.remaining()

    def deadline() -> Deadline | None:
        """The deadline of ``pymongo.timeout``; ``None`` without one."""
        timeout = _csot.get_timeout()
        return None if timeout is None else (timeout, _csot.get_deadline())

else:

    def remaining() -> float | None:
        """Nobody knows."""
        return None

    def deadline() -> Deadline | None:
        """Nobody knows."""
        return None


if _TIMES and hasattr(_csot, "RTT"):

    def begin_deadline(end: Deadline) -> Any:
        """What ``pymongo.timeout`` begins, in a third of its time. Give what is returned to :func:`end_deadline`."""
        until, outer = end[1], _csot.DEADLINE.get()
        round_trip = _csot.RTT.get()
        if round_trip:  # a command has set it; each set is dear, and most requests find none
            _csot.RTT.set(0.0)
        return _csot.TIMEOUT.set(end[0]), _csot.DEADLINE.set(until if until < outer else outer), round_trip

    def end_deadline(begun: Any) -> None:
        """Raises ``ValueError`` in another context than it was begun in."""
        _csot.TIMEOUT.reset(begun[0])
        _csot.DEADLINE.reset(begun[1])
        if _csot.RTT.get() != begun[2]:
            _csot.RTT.set(begun[2])

else:

    def begin_deadline(end: Deadline) -> Any:
        """``pymongo.timeout``."""
        begun = pymongo.timeout(end[0])
        begun.__enter__()
        return begun

    def end_deadline(begun: Any) -> None:
        """Raises ``ValueError`` in another context than it was begun in."""
        begun.__exit__(None, None, None)


@contextmanager
def restored(end: Deadline) -> Iterator[None]:
    """A block that has the deadline ``end``, also where a shorter one counts: ``pymongo.timeout`` only ever shortens."""
    timeout, until = _csot.TIMEOUT.set(end[0]), _csot.DEADLINE.set(end[1])
    try:
        yield
    finally:
        _csot.TIMEOUT.reset(timeout)
        _csot.DEADLINE.reset(until)
