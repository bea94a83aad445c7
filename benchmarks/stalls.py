"""``python -m benchmarks.stalls``: what a sink that does not take its lines does to everybody else in the process (row 15).

The application as served writes five hundred lines a second to a pipe. In the same process a greenlet that sleeps a millisecond
notes how late it wakes, which is the stall of the hub, and another one asks for ``/ping``, again and again. The reader of the
pipe reads all the time; or for half a second of each one and a half, as a collector of logs does that is stuck. ``print`` writes
the same lines by itself, as :func:`print` would: it is the control that must be stalled.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator

from benchmarks.canned import canned_server
from benchmarks.rows import Figure
from benchmarks.team import ROOT, Tick
from config import tether

RATE = 500  # lines a second
SMALL = 4096  # bytes that the pipe holds
READS, RESTS = 0.5, 1.0  # seconds that a stuck reader reads and does not
HOLD, AIM = 1.2, 1.0
KINDS = {"prodfix": False, "prodfix again": False, "prodfix, stalled": True, "print": False, "print, stalled": True}
Seen = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stalls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of each kind (default 2)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one (default 6)")
    options = parser.parse_args()
    with canned_server() as uri:
        for figure in figures(uri, options.rounds, options.seconds, lambda: None):
            taken = "   ".join(f"{name} {value:.2f} ms" for name, value in figure.taken.items())
            print(f"{figure.part:<40} x {figure.value:7.2f}   {figure.verdict:<7} {taken}")


def figures(uri: str, rounds: int, seconds: float, tick: Tick) -> Iterator[Figure]:
    """Row 15, with what :func:`print` does beside it. Ticks ``rounds`` times for each of :data:`KINDS`."""
    seen: dict[str, Seen] = {kind: {"gaps": [], "others": []} for kind in KINDS}
    for _ in range(rounds):
        for kind, stalled in KINDS.items():
            for name, values in _run(uri, kind.split(",")[0].split()[0], seconds, stalled=stalled).items():
                seen[kind][name] += values
            tick()
    what = "a sink that is stalled, to one that is not"
    for name, share, title in (("gaps", 0.999, "stall of the hub, p99.9"), ("others", 0.99, "requests meanwhile, p99")):
        at = {kind: quantile(found[name], share) for kind, found in seen.items()}
        again = at["prodfix again"] / at["prodfix"]
        ours = {kind: at[kind] for kind in ("prodfix", "prodfix, stalled")}
        yield Figure(
            "15", title, what, "wall", at["prodfix, stalled"] / at["prodfix"], "x", again, HOLD, AIM, None, ours
        )
        print_ = {kind: at[kind] for kind in ("print", "print, stalled")}
        ratio = at["print, stalled"] / at["print"]
        yield Figure("15", f"{title}, of print()", what, "wall", ratio, "x", None, None, None, None, print_)


def quantile(values: Iterable[float], share: float) -> float:
    """That under which so many of the values are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _run(uri: str, how: str, seconds: float, *, stalled: bool) -> Seen:
    """One process that logs, and its reader."""
    source, target = os.pipe()
    fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, SMALL)
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "benchmarks.stalls_worker", uri, folder, how, str(RATE), str(seconds)]
        process = subprocess.Popen(
            tether.command(line),
            cwd=ROOT,
            stdout=target,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(target)
        assert process.stderr is not None
        reader = threading.Thread(target=_read, args=(source, process), kwargs={"stalled": stalled}, daemon=True)
        reader.start()
        told = process.stderr.read()
        process.wait(60)
        reader.join(10)
        os.close(source)
    if process.returncode:
        raise RuntimeError(f"the process that logs ended with {process.returncode}: {told.decode()[-500:]}")
    found: Seen = json.loads(told.splitlines()[-1])
    return found


def _read(source: int, process: subprocess.Popen[bytes], *, stalled: bool) -> None:
    begun = time.monotonic()
    while True:
        into = (time.monotonic() - begun) % (READS + RESTS)
        if stalled and into > READS and process.poll() is None:
            time.sleep(0.01)
        elif not os.read(source, 65_536):
            return


if __name__ == "__main__":
    main()
