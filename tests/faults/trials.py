"""Kill trials: writes that may wait, while the database and the workers are killed, stopped and cut off at random moments.

    python -m tests.faults.trials --rounds 100 --seed 7

Every write that was answered 201 or 202 must be in MongoDB exactly once at the end, and none of the others twice.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.proxy import Proxy
from tests.served import Served
from tests.servers import DatabaseServer
from tests.waiting import until

CLIENTS = 6
DATABASE = "ledger"


@dataclass(slots=True)
class Outcome:
    """What was answered, and how often each number's two steps are in MongoDB."""

    acknowledged: set[int]
    deferred: int
    sent: int
    inserted: Counter[int]
    counted: Counter[int]
    faults: list[str] = field(default_factory=list)

    @property
    def lost(self) -> set[int]:
        """Of what was not acknowledged nobody was told what became of it, and one of its two steps may be missing."""
        return self.acknowledged - (set(self.inserted) & set(self.counted))

    @property
    def doubled(self) -> set[int]:
        return {number for steps in (self.inserted, self.counted) for number, count in steps.items() if count > 1}

    def __str__(self) -> str:
        return (
            f"{len(self.acknowledged)} acknowledged of {self.sent} ({self.deferred} of them deferred), {len(self.faults)} faults:"
            f" {len(self.lost)} lost, {len(self.doubled)} doubled"
        )


class Writers:
    """Clients that post numbers, each once, until told to end."""

    def __init__(self, port: int, path: str, pause: float) -> None:
        self._port, self._path, self._pause = port, path, pause
        self._numbers = iter(range(10**9))
        self._lock, self._ended = threading.Lock(), threading.Event()
        self.acknowledged: set[int] = set()
        self.deferred = self.sent = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._pause):
            with self._lock:
                number = next(self._numbers)
                self.sent += 1
            status = self._post(number)
            with self._lock:
                if status in (201, 202):
                    self.acknowledged.add(number)
                    self.deferred += status == 202

    def _post(self, number: int) -> int | None:
        """Over a connection of its own, so that both workers are asked."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", self._path, json.dumps({"number": number}), headers)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return None


class Trials:
    """One database behind a proxy, one application with two workers."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self._folder, self._random = folder, random.Random(seed)
        self._faults: dict[str, Callable[[], None]] = {
            "database killed": self._kill_database,
            "database stopped": self._stop_database,
            "worker killed": self._kill_worker,
            "both workers killed": self._kill_workers,
            "answers lost": self._lose_answers,
            "connections refused": self._refuse,
            "database and worker killed": self._kill_both,
        }

    def run(
        self, rounds: int, *, least: int = 0, tell: Callable[[int, str], None] = lambda done, fault: None
    ) -> Outcome:
        """The outcome of ``rounds`` faults under load, one after another, and of more until ``least`` are acknowledged."""
        with self._everything(), Writers(self._served.port, "/ledger", pause=0.005) as writers:
            faults: list[str] = []
            while len(faults) < rounds or (len(writers.acknowledged) < least and len(faults) < 5 * rounds):
                time.sleep(self._random.uniform(0.1, 0.5))
                kinds = list(self._faults)
                fault = kinds[len(faults)] if len(faults) < len(kinds) else self._random.choice(kinds)
                self._faults[fault]()
                faults.append(fault)
                tell(len(faults), fault)
            writers.__exit__()
            return self._outcome(writers, faults)

    @contextlib.contextmanager
    def _everything(self) -> Iterator[None]:
        with DatabaseServer(self._folder / "data") as self._server, Proxy(self._server.port) as self._proxy:
            uri = self._proxy.database_uri(DATABASE)
            options = {"LOG_LEVEL": "error", "REQUEST_DEADLINE_MS": "4000", "DEFERRED_MAX_ATTEMPTS": "1000"}
            with Served(self._folder / "served", uri, application="tests.hosts.ledger:app", **options) as self._served:
                yield

    def _outcome(self, writers: Writers, faults: list[str]) -> Outcome:
        with self._server.client() as client:
            database = client[DATABASE]
            until(lambda: self._waiting() == 0, limit=60, every=0.2, what="an empty journal")
            inserted = Counter(entry["number"] for entry in database.entries.find({}, {"number": 1}))
            counted = Counter({count["_id"]: count["n"] for count in database.counts.find()})
        return Outcome(set(writers.acknowledged), writers.deferred, writers.sent, inserted, counted, faults)

    def _waiting(self) -> int:
        """Writes that wait, or were put aside, on this instance; what is still on its way counts as one."""
        if self._served.get("/health/db").status != 200:
            return 1
        deferred = self._served.get("/api/v1/diagnostics/database", self._served.bearer()).body["deferred"]
        return 1 if deferred["waiting"] is None else int(deferred["waiting"] + deferred["dead"])

    # -- faults -----------------------------------------------------------------------------------------------------------

    def _for_a_moment(self, longest: float = 1.0) -> None:
        time.sleep(self._random.uniform(0.1, longest))

    def _kill_database(self) -> None:
        self._server.kill()
        self._for_a_moment()
        self._server.start()

    def _stop_database(self) -> None:
        self._server.stop_signal()
        self._for_a_moment()
        self._server.resume()

    def _kill_worker(self) -> None:
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(self._random.choice(self._served.worker_pids()), signal.SIGKILL)

    def _kill_workers(self) -> None:
        for pid in self._served.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _kill_both(self) -> None:
        self._server.kill()
        self._for_a_moment(0.5)
        self._kill_worker()
        self._for_a_moment(0.5)
        self._server.start()

    def _lose_answers(self) -> None:
        for command in ("insert", "update"):
            self._proxy.lose_reply_of(command, self._random.randint(1, 4))
            self._for_a_moment(0.5)

    def _refuse(self) -> None:
        self._proxy.set("refuse")
        self._for_a_moment()
        self._proxy.set("pass")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.trials", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="faults, one after another (default 100)")
    parser.add_argument("--seed", type=int, default=None, help="to have the same faults again")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    print(f"seed {seed}")

    def tell(done: int, fault: str) -> None:
        bar = "#" * (40 * done // options.rounds)
        print(f"\r[{bar:<40}] {done}/{options.rounds} {fault:<28}", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        outcome = Trials(Path(folder), seed=seed).run(options.rounds, tell=tell)
    print(file=sys.stderr)
    print(outcome)
    return 1 if outcome.lost or outcome.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
