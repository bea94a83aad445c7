"""Where the greenlets and threads of a worker are: places only, no local value and no source line.

Those that stand at the same place are one entry with a count. The walk over all objects, which finds the greenlets, is done in
a native thread, so that the hub goes on; their frames are looked at from the hub, in one go, as they must not run meanwhile.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Annotated, Any, Literal

from prodfix.operations.frames import standing
from prodfix.process.native import Pool, under_gevent
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen
from prodfix.workers.asks import LIMIT, Asks

StackKind = Literal["greenlet", "thread"]

WALKED = 500  # greenlets whose frames are looked at, of a worker
SHOWN = 60  # different stacks of a worker
SEARCH = 2.0  # seconds for the walk over all objects


@frozen
class StandingStack(Serializable):
    """One place where greenlets or threads stand."""

    kind: StackKind
    count: Annotated[int, Description("How many stand there")]
    places: Annotated[list[str], Description("File, line and function, outermost first")]


@frozen
class WorkerStacks(Serializable):
    """Those of one worker."""

    worker: str
    pid: int
    at: datetime
    greenlets: int
    threads: int
    stacks: list[StandingStack]
    dropped: Annotated[int, Description("Greenlets and threads that are counted and not shown")]


@frozen
class StacksReport(Serializable):
    """Those of all workers of the instance. ``silent``: live workers that have not answered in time: their hub is blocked, or
    the process is stopped."""

    workers: list[WorkerStacks]
    silent: Annotated[list[str], Description("Live workers that did not answer: what they do leaves them no moment")]


def stacks_here(worker: str) -> WorkerStacks:
    """Those of this process, now."""
    greenlets = _greenlets()
    counts: Counter[tuple[StackKind, tuple[str, ...]]] = Counter()
    for frame in _frames(greenlets[:WALKED]):
        counts["greenlet", standing(frame)] += 1
    threads = sys._current_frames()
    for number, frame in threads.items():
        # Under gevent the hub's thread is the one that does this; its greenlets are above.
        if not (greenlets and number == threading.get_ident()):
            counts["thread", standing(frame)] += 1
    found = counts.most_common(SHOWN)
    return WorkerStacks(
        worker=worker,
        pid=os.getpid(),
        at=datetime.now(UTC),
        greenlets=len(greenlets),
        threads=len(threads),
        stacks=[StandingStack(kind, count, list(places)) for (kind, places), count in found],
        dropped=max(0, len(greenlets) - WALKED) + sum(counts.values()) - sum(count for _, count in found),
    )


def _greenlets() -> list[Any]:
    """All that were begun and have not ended; the one that asks is among them."""
    if not under_gevent():
        return []
    pool = Pool(1)
    try:
        return pool.run(_search, limit=SEARCH)
    except TimeoutError:
        return []
    finally:
        pool.close()


def _search() -> list[Any]:
    from greenlet import greenlet

    # By its type, and not by isinstance(), which asks proxies for what they stand for.
    return [one for one in gc.get_objects() if issubclass(type(one), greenlet) and one]


def _frames(greenlets: Sequence[Any]) -> Iterator[FrameType]:
    """Of those of this thread: one of another might run while its frames are looked at."""
    if not greenlets:
        return
    from greenlet import getcurrent

    here = _root(getcurrent())
    for one in greenlets:
        frame = one.gr_frame  # None of the one that runs
        if frame is not None and _root(one) is here:
            yield frame


def _root(one: Any) -> Any:
    """The main greenlet of its thread."""
    while one.parent is not None:
        one = one.parent
    return one


def gathered(asks: Asks, workers: Callable[[], Collection[str]], limit: float = LIMIT) -> StacksReport:
    """Those of all workers that answer within ``limit`` seconds.

    Raises :class:`prodfix.errors.JournalUnavailable` if the disk fails.
    """
    alive = frozenset(workers())
    told = asks.gather("stacks", lambda: alive, limit)
    found = [_read(answer) for _, answer in sorted(told.items())]
    return StacksReport([one for one in found if one is not None], sorted(alive - told.keys()))


def _read(answer: Any) -> WorkerStacks | None:
    try:
        return WorkerStacks.from_json(answer)
    except TypeError:
        return None
