"""Four workers under load: what the statistics say is what was answered, whichever worker says it and whatever became of them.

``LOAD_SECONDS=60 make faults`` takes the whole minute that the promise is about.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.load import Load
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults, pytest.mark.timeout(400)]

SECONDS = float(os.environ.get("LOAD_SECONDS", "5"))
RATE = 500.0
FAILING = "/broken/view"
FINE = "/broken/fine"
KINDS = {FAILING: 500, "/broken/nowhere": 404}
ASKED = 12  # times, over new connections: each of four workers has its turn


@pytest.fixture
def served(tmp_path: Path, database_uri: str) -> Iterator[Served]:
    options = {"APP_ENV": "production", "LOG_LEVEL": "error"}
    with Served(tmp_path, database_uri, workers=4, application="tests.hosts.broken:app", **options) as application:
        yield application


def path_of(number: int) -> str:
    """One request of five fails; some of these by the client's own fault."""
    if number % 5:
        return FINE
    return FAILING if number % 25 else "/broken/nowhere"


def statistics(served: Served) -> dict[str, Any]:
    answer = served.get("/api/v1/diagnostics/errors?timeRange=1h", served.bearer())
    assert answer.status == 200, answer.body
    kept: dict[str, Any] = answer.body
    return kept


def settled(served: Served, requests: int) -> dict[str, Any]:
    """What every worker says, once all of them have told of their last second."""
    last: list[dict[str, Any]] = []

    def agreed() -> bool:
        last[:] = [statistics(served) for _ in range(ASKED)]
        found = {counted(answer) for answer in last}
        return len(found) == 1 and min(found)[1] >= requests

    until(agreed, limit=15, what=f"{requests} requests in the answer of every worker")
    return last[0]


def counted(answer: dict[str, Any]) -> tuple[int, int]:
    """Errors, and requests, of the endpoints that the load asked for."""
    rows = {row["endpoint"]: row for row in answer["endpoints"]}
    asked = [rows[name] for name in (FAILING, FINE, "unmatched") if name in rows]
    return sum(row["errors"] for row in asked), sum(row["requests"] for row in asked)


def own_counts(served: Served) -> list[int]:
    """Errors that each worker has counted, as its own journal says."""
    counts = []
    for path in sorted((served.folder / "state" / "journal").glob("*.db")):
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as file:
            rows = [json.loads(errors) for (errors,) in file.execute("SELECT errors FROM minutes")]
        counts.append(sum(row[5] for row in itertools.chain(*rows)))
    return counts


def test_the_totals_are_what_was_answered_from_every_worker_and_after_a_restart(served: Served) -> None:
    load = Load(served.port, path_of, rate=RATE, seconds=SECONDS)
    load.start()
    load.join()
    assert not load.unanswered
    errors, requests = load.sent(KINDS), load.sent([*KINDS, FINE])
    assert {path for path, status in load.answered if status == KINDS.get(path, 200)} == {*KINDS, FINE}
    answer = settled(served, requests)
    assert counted(answer) == (errors, requests)
    assert answer["errorsByCategory"]["unknown"] == load.sent([FAILING])
    assert answer["devices"]["mobile"]["requests"] >= requests
    own = own_counts(served)
    assert (sum(own), len(own)) == (errors, 4)
    assert max(own) < errors  # the control: what one worker alone would have answered
    print(f"{requests} requests, {errors} errors in {load.took:.1f} s")
    assert served.stop() == 0
    served.start()
    assert counted(settled(served, requests)) == (errors, requests)


def test_a_worker_that_is_killed_takes_its_last_second_along_at_most(served: Served) -> None:
    load = Load(served.port, path_of, rate=RATE, seconds=SECONDS)
    load.start()
    until(lambda: sum(load.answered.values()) > RATE * SECONDS / 3, limit=60, what="a third of the load")
    os.kill(served.worker_pids()[0], signal.SIGKILL)
    load.join()
    answered = sum(count for (path, _), count in load.answered.items() if path in KINDS)
    sent, second = load.sent(KINDS), RATE / 4  # requests of one worker in one second
    everything = load.sent([*KINDS, FINE])
    errors, requests = counted(settled(served, everything - int(second) - sum(load.unanswered.values())))
    # Errors gather for a hundredth of a second before they are in the journal: those of its last moment are missing at most.
    moment = RATE / 4 / 10  # errors of one worker in a tenth of a second, on a machine that is busy
    assert answered - moment <= errors <= sent
    assert everything - second - sum(load.unanswered.values()) <= requests <= everything
    print(f"{sent} errors sent, {answered} answered, {errors} counted; {everything} requests, {requests} counted")
