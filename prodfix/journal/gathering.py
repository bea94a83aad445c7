"""What nobody waits for: it gathers for a moment in memory, and one commit in a native thread takes all of it.

An error that waited for its own commit took as long for that as for all the rest. The price is the moment: another worker may
hear of an error :data:`GATHERING` seconds after its client, and a process that is killed (SIGKILL, out of memory) takes what has
gathered with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from prodfix.journal.batch import LARGEST, Batch, Part, Statement
from prodfix.process.native import allocate_lock, original_queue, start_thread

GATHERING = 0.01  # seconds
MOST = 1_000  # parts that may wait, while the disk does not answer: whoever adds one more waits for it

Source = Callable[[], Sequence[Statement]]


class Gathering:
    """Parts that wait, and ``sources`` of totals, which are asked for their statements when the time has come, so that what was
    counted a hundred times is written once. ``commit`` is called in a native thread, and takes what :meth:`taken` gives; not
    ``alone``: then it is left to whoever reads."""

    def __init__(self, commit: Callable[[], None], sources: Sequence[Source], *, alone: bool = True) -> None:
        self._commit, self._sources, self._alone = commit, sources, alone
        self._parts: deque[Part] = deque()
        self.failed = 0
        """Sources that have raised instead."""
        self._asked = False
        self._running = False
        self._wake = original_queue()
        self._hurry = allocate_lock()  # released by who cannot wait any more
        self._hurry.acquire()
        self._starting = allocate_lock()

    @property
    def waiting(self) -> bool:
        """Whether there is something that was not taken."""
        return self._asked or bool(self._parts)

    @property
    def full(self) -> bool:
        return len(self._parts) >= MOST

    def put(self, part: Part) -> None:
        """Never waits."""
        self._parts.append(part)
        self.ask()

    def ask(self) -> None:
        """One of the sources has something."""
        if not self._asked:
            self._asked = True
            if self._alone:
                if not self._running:
                    self._start()
                self._wake.put(True)

    def taken(self) -> list[Batch]:
        """All that waits, to be committed in this order. Never raises."""
        self._asked = False  # first: who adds something from here on asks again
        batch = Batch()
        found = [batch]
        for source in self._sources:
            try:
                statements = source()
            except Exception:  # noqa: BLE001 - in this thread nobody hears it, and what else waits must be kept
                self.failed += 1
                continue
            if statements:
                batch.add(Part(statements))
        while self._parts:
            if batch.size >= LARGEST:
                batch = Batch()
                found.append(batch)
            batch.add(self._parts.popleft())
        return [one for one in found if one.parts]

    def close(self) -> None:
        """The thread ends once it has committed what waits."""
        self._wake.put(False)
        self._hurry.release()

    def _start(self) -> None:
        with self._starting:
            if not self._running:
                start_thread(self._work)
                self._running = True

    def _work(self) -> None:
        while self._wake.get():
            self._hurry.acquire(True, GATHERING)
            self._commit()
