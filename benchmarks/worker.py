"""``python -m benchmarks.worker [--gevent] [--counted] URI SETUP...``: one process that does what it is told, line by line.

It answers each order (a line of JSON on stdin) with a line of JSON. What it prints itself goes where a console would be: into a
pipe that somebody reads. ``--counted``: it runs under valgrind.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM_UP, AGAIN = 100, 60  # pieces of a work before it is counted, for the first time and for another one


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--gevent", action="store_true")
    parser.add_argument("--counted", action="store_true")
    parser.add_argument("uri")
    parser.add_argument("setups", nargs="+")
    options = parser.parse_args()
    answers = _own_stdout()
    if options.gevent:
        from gevent import monkey

        monkey.patch_all()
    worker = Worker(options.uri, options.setups, counted=options.counted)
    _answer(answers, sorted(worker.works))
    for line in sys.stdin:
        _answer(answers, worker.obey(json.loads(line)))
    # Threads and clients of what is measured are not ended one by one.
    os._exit(0)


def _own_stdout() -> Any:
    """The pipe to whoever gives orders; from here on descriptors 1 and 2 are another one, that somebody reads: what platforms and
    containers give a service for its lines."""
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert reader.stdin is not None
    os.dup2(reader.stdin.fileno(), 1)
    if not os.environ.get("BENCH_STDERR"):
        os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()  # so that it ends with this process
    return pipe


def _answer(pipe: Any, answer: Any) -> None:
    pipe.write(json.dumps(answer) + "\n")
    pipe.flush()


class Worker:
    """The works of some setups, by ``setup/work``."""

    def __init__(self, uri: str, setups: list[str], *, counted: bool) -> None:
        from benchmarks.setups import SETUPS

        known = dict(SETUPS)
        if any(name not in known for name in setups):
            from benchmarks.peers import PEERS

            known |= PEERS
        self.works = {f"{name}/{work}": do for name in setups for work, do in known[name](uri).items()}
        self._orders: dict[str, Callable[..., Any]] = {
            "time": self._time,
            "count": self._count,
            "memory": self._memory,
            "profile": self._profile,
        }
        self._warm: set[str] = set()
        self._counter: Any = None
        if counted:
            from benchmarks.callgrind import Counter

            self._counter = Counter()

    def obey(self, order: dict[str, Any]) -> Any:
        return self._orders[order.pop("order")](**order)

    def _time(self, work: str, times: int) -> dict[str, float]:
        """Microseconds of one piece: wall clock, CPU of this thread, CPU of the process."""
        do, clocks = self.works[work], (time.perf_counter, time.thread_time, time.process_time)
        begun = [clock() for clock in clocks]
        do(times)
        wall, caller, process = ((clock() - before) / times * 1e6 for clock, before in zip(clocks, begun, strict=True))
        return {"wall": wall, "caller": caller, "cpu": process}

    def _count(self, work: str, times: int, label: str) -> None:
        """The counts are in callgrind's file, as ``label``."""
        do = self.works[work]
        do(AGAIN if work in self._warm else WARM_UP)
        self._warm.add(work)
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            self._counter.begin()
            do(times)
            self._counter.end(label)
        finally:
            gc.enable()
            gc.unfreeze()

    def _memory(self) -> float:
        """Megabytes: proportional set size."""
        gc.collect()
        text = Path("/proc/self/smaps_rollup").read_text()
        return int(text.partition("\nPss:")[2].split()[0]) / 1024

    def _profile(self, work: str, times: int) -> list[tuple[str, str, float, float, float]]:
        """Functions of the process, native threads included: file, name, calls for one piece, and the shares of its CPU time
        that they take themselves and with all that they call."""
        import cProfile
        import pstats

        self.works[work](WARM_UP)
        profile = cProfile.Profile(time.process_time, builtins=False)
        with contextlib.suppress(ValueError), profile:
            self.works[work](times)
        stats: Any = pstats.Stats(profile)
        rows = [(file, name, *taken[1:4]) for (file, _, name), taken in stats.stats.items()]
        whole = sum(own for *_, own, _ in rows) or 1.0
        return [(file, name, calls / times, own / whole, below / whole) for file, name, calls, own, below in rows]


if __name__ == "__main__":
    main()
