"""Counts as served: two instances on one host, whose workers are killed and stopped meanwhile, say what was sent, and no more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from prodfix.statistics.instance_hours import ERROR_MINUTES
from tests.support.served import Served
from tests.support.stored_counts import revisions, states, window_of
from tests.support.waiting import until

pytestmark = pytest.mark.served

ERRORS = "/api/v1/diagnostics/errors?timeRange=1h"
GATHERED = 0.1  # seconds after which an error is in its worker's journal
ASKED = 6  # times, over new connections: both workers have their turn
HEARD = 25.0  # seconds until another instance knows: twice ten, and what a busy machine takes


@pytest.fixture
def instances(tmp_path: Path, database_server: str) -> Iterator[tuple[list[Served], Any]]:
    uri = f"{database_server.rstrip('/')}/counts_of_{tmp_path.name.replace('-', '_')}"
    with ExitStack() as stack:
        served = [stack.enter_context(Served(tmp_path / name, uri)) for name in "ab"]
        client = stack.enter_context(MongoClient[Any](uri, tz_aware=True))
        yield served, client.get_default_database()


def send(served: Served, times: int) -> int:
    """So many errors, each answered."""
    for _ in range(times):
        assert served.get("/nothing").status == 404
    time.sleep(GATHERED)
    return times


def say(served: Served) -> set[tuple[int, str, bool]]:
    token = served.bearer()
    bodies = [served.get(ERRORS, token).body for _ in range(ASKED)]
    return {(body["totalErrors"], body["scope"], body["partial"]) for body in bodies}


def test_totals_are_what_was_sent_whoever_was_killed_and_stopped(instances: tuple[list[Served], Any]) -> None:
    (first, second), database = instances
    sent = 0
    for round_ in range(4):
        sent += send(first, 5) + send(second, 7)
        os.kill(first.worker_pids()[round_ % 2], signal.SIGKILL)
        until(lambda: len(first.worker_pids()) == 2 and first.get("/health/ready").status == 200, what="both workers")
    stopped = second.worker_pids()[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        sent += send(first, 3)
    finally:
        os.kill(stopped, signal.SIGCONT)
    sent += send(second, 2)
    for served in (first, second):
        until(lambda served=served: say(served) == {(sent, "all", False)}, limit=HEARD, what=f"{sent} from all")
    until(lambda: window_of(*states(database)).counts.total_errors == sent, limit=HEARD, what=f"{sent} in MongoDB")
    assert len({state.instance for state in states(database)}) == 2
    counted = {int(worker.partition("-")[0]) for worker, _, _ in revisions(database)}
    assert counted - {*first.worker_pids(), *second.worker_pids()}, "those that were killed have counted too"
    updates = sum(document["revision"] for document in database[ERROR_MINUTES].find())
    assert updates < sent, "the control: not one for each change"


def test_an_instance_that_ends_with_its_disk_has_stored_all(instances: tuple[list[Served], Any]) -> None:
    (first, second), database = instances
    sent = send(first, 9)
    first.stop()
    assert window_of(*states(database)).counts.total_errors == sent
    assert say(second) == {(sent, "all", False)}
