"""An instance that has nothing to do says next to nothing, and its workers take each other's turns whoever stands still."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

SECONDS = 10.0
DRIVERS_OWN = ("hello", "ismaster", "isMaster", "endSessions", "buildInfo")
WORKERS = "/api/v1/diagnostics/database"


@pytest.fixture
def proxy(server: DatabaseServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


def commands(proxy: Proxy) -> Counter[str]:
    """All but what the driver sends by itself."""
    return Counter({name: count for name, count in proxy.commands.items() if name not in DRIVERS_OWN})


def journals(served: Served) -> dict[str, int]:
    """When each journal was written last: a commit writes the log."""
    files = (served.folder / "state" / "journal").glob("*.db*")
    return {path.name: path.stat().st_mtime_ns for path in files if not path.name.endswith("-shm")}


def watched(served: Served, proxy: Proxy) -> tuple[Counter[str], bool]:
    """What was sent within :data:`SECONDS`, and whether a journal was written."""
    sent, written, end = commands(proxy), journals(served), time.monotonic() + SECONDS
    until(lambda: time.monotonic() > end, limit=SECONDS + 1)
    return commands(proxy) - sent, journals(served) != written


def workers(served: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = served.get(WORKERS, served.bearer()).body["workers"]
    return found


def both_seen(served: Served) -> bool:
    return {worker["pid"] for worker in workers(served)} == set(served.worker_pids())


def test_an_idle_instance_sends_one_ping_a_second_and_writes_nothing(proxy: Proxy, tmp_path: Path) -> None:
    with Served(tmp_path / "served", proxy.database_uri("idle")) as served:
        until(lambda: both_seen(served), what="both workers in the report")
        quiet = until(
            lambda: (found := watched(served, proxy)) and set(found[0]) == {"ping"} and not found[1] and found,
            limit=60,
            what="ten seconds in which nothing but pings is sent, and nothing is written",
        )
        assert quiet[0]["ping"] <= SECONDS + 1
        assert quiet[0]["ping"] >= SECONDS / 2, "the control: they ping"
        assert {worker["siblingsUnseen"] for worker in workers(served)} == {None}

        served.get("/nothing")
        until(lambda: journals(served), what="a journal")
        before = journals(served)
        served.get("/nothing")
        until(lambda: journals(served) != before, limit=5, what="the control: what is counted is written")


def test_the_control_workers_that_do_not_see_each_other_ping_for_themselves_and_say_so(
    proxy: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    with Served(tmp_path / "served", proxy.database_uri("alone"), STATE_DIR=str(tmp_path / "file" / "state")) as served:
        pings = until(
            lambda: (sent := watched(served, proxy)[0]["ping"]) >= SECONDS * 1.6 and sent,
            limit=60,
            what="pings of both workers",
        )
        assert pings > SECONDS + 1, "so the figure above would not be kept"
        assert all(worker["siblingsUnseen"].startswith("NotADirectoryError") for worker in workers(served))


def says(served: Served, status: int) -> bool:
    answers = [served.get("/health/db") for _ in range(3)]
    return {answer.status for answer in answers} == {status}


def test_a_worker_that_stands_still_makes_its_sibling_neither_blind_nor_a_liar(
    server: DatabaseServer, tmp_path: Path
) -> None:
    with Served(tmp_path / "served", f"{server.uri}still") as served:
        until(lambda: both_seen(served), what="both workers in the report")
        for pid in served.worker_pids():
            os.kill(pid, signal.SIGSTOP)
            try:
                end = time.monotonic() + 5
                while time.monotonic() < end:
                    assert says(served, 200)
                server.kill()
                until(lambda: says(served, 503), limit=2.5, what="503 from the one that is left")
                server.start()
                until(lambda: says(served, 200), limit=5, what="200 from the one that is left")
            finally:
                os.kill(pid, signal.SIGCONT)
            until(lambda: both_seen(served) and says(served, 200), what="both workers again")
