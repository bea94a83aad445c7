"""What a scraper is told of two workers: the same from both, in both formats, and nothing falls when one is killed."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from config.ports import free_port
from tests.support import REPOSITORY
from tests.support.doc_blocks import blocks
from tests.support.scrapes import Scrape, counters, fallen, problems, scrape
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

TOKEN = "metrics-0123456789-abcdefghijklmnop"
NOTES = "/api/v1/notes"
REQUESTS = "http_server_request_duration_seconds_count"
OPEN = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(scope="module")
def metered(database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    uri = f"{database_server}metered_{secrets.token_hex(6)}"
    with Served(tmp_path_factory.mktemp("metered"), uri, METRICS_TOKEN=TOKEN) as application:
        until(lambda: scrape(text(application)).value("prodfix_workers") == 2, what="both workers")
        yield application


def text(served: Served, accept: str = OPEN) -> str:
    answer = served.get("/metrics", {"Authorization": f"Bearer {TOKEN}", "Accept": accept})
    assert answer.status == 200, answer
    return str(answer.body)


def posted(found: Scrape) -> float:
    return found.total(REQUESTS, http_route=NOTES, http_request_method="POST")


def doubled(found: Scrape) -> float:
    return found.total("db_client_operation_duration_seconds_count", error_type="11000")


def test_both_workers_say_the_same_in_both_formats(metered: Served, note: dict[str, Any]) -> None:
    begun = scrape(text(metered))
    before, doubles = posted(begun), doubled(begun)
    trace = secrets.token_hex(16)
    for _ in range(10):
        metered.post(NOTES, note, {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"})
    until(lambda: {posted(scrape(text(metered))) - before for _ in range(6)} == {10.0}, what="all requests in both")

    def same() -> list[str] | None:
        """What both say in both formats, once nothing was counted meanwhile."""
        texts = [text(metered, accept) for accept in (OPEN, "text/plain") for _ in range(6)]
        counted = [{key: value for key, value in counters(one).items() if "scrapes" not in key[0]} for one in texts]
        return texts if all(one == counted[0] for one in counted) else None

    texts = until(same, what="the same from both in both formats")
    assert texts is not None
    assert [problems(one) for one in texts] == [[]] * 12
    found = scrape(texts[0])
    assert found.value("prodfix_workers") == 2
    assert found.value("prodfix_database_up") == 1
    assert found.total("db_client_operation_duration_seconds_count", db_operation_name="insert", error_type="") == 0
    assert doubled(found) - doubles >= 9
    assert found.total("prodfix_errors_total", code="DUPLICATE_KEY") >= 9
    traces = {
        sample.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(texts[0])
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert traces == {trace}


def test_nothing_falls_when_a_worker_is_killed(metered: Served, note: dict[str, Any]) -> None:
    before = _queries(metered)
    with closing(metered.connection()) as kept:  # one worker has them all
        for _ in range(20):
            metered.request("GET", f"{NOTES}?limit=1", connection=kept)
        answer = metered.request("GET", "/health/db?verbose", headers=metered.bearer(), connection=kept)
    killed = answer.body["worker"]["pid"]
    asked = until(lambda: (now := _queries(metered)) >= before + 20 and now, what="what it has counted")
    settled = until(lambda: _steady(metered), what="what both have counted")
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(metered.worker_pids()) == 2 and killed not in metered.worker_pids(), what="a new worker")
    for _ in range(10):
        assert fallen(settled, counters(text(metered))) == {}
    # The control: what each worker has in its memory alone, and goes with it, has fallen.
    until(lambda: _queries(metered) < asked, what="fewer queries than before")
    until(lambda: _workers(metered) == set(metered.worker_pids()), what="both workers in the report")
    assert fallen(settled, counters(text(metered))) == {}


def _steady(served: Served) -> dict[Any, float] | None:
    """All counters, once two answers in a row are the same: then all is in the journals."""
    first, second = (
        {key: value for key, value in counters(text(served)).items() if "scrapes" not in key[0]} for _ in range(2)
    )
    found = first.get((REQUESTS, frozenset()), 0) == second.get((REQUESTS, frozenset()), 0) and first == second
    return second if found else None


def _queries(served: Served) -> int:
    page = served.get("/api/v1/diagnostics/queries", served.bearer()).body
    return sum(kind["count"] for kind in page["queries"] if kind["collection"] == "notes")


def _workers(served: Served) -> set[int]:
    report = served.get("/api/v1/diagnostics/database", served.bearer()).body
    return {worker["pid"] for worker in report["workers"]}


def test_strangers_are_told_nothing(metered: Served) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, metered.bearer()):
        answer = metered.get("/metrics", headers)
        assert (answer.status, answer.body["code"]) == (401, "AUTHENTICATION_REQUIRED")
    assert TOKEN not in metered.stdout()


def ask(port: int) -> str | None:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/metrics", headers={"Accept": OPEN})
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else None
    except OSError:
        return None


def listening(port: int) -> set[int]:
    """The processes that have a socket which listens on ``port``."""
    inodes = {
        fields[9]
        for fields in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
    }
    found = set()
    for folder in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(folder)
        except OSError:
            continue
        if target.startswith("socket:[") and target[8:-1] in inodes:
            found.add(int(folder.parts[2]))
    return found


def test_one_worker_has_the_port_and_another_takes_over(database_server: str, tmp_path: Path) -> None:
    port = free_port()
    uri = f"{database_server}port_{secrets.token_hex(6)}"
    with Served(tmp_path / "port", uri, METRICS_PORT=str(port)) as served:
        until(lambda: ask(port), what="an answer of the port")
        served.get("/nothing")
        assert served.get("/metrics").status == 404
        before = until(lambda: (found := scrape(ask(port) or "# EOF\n")).total(REQUESTS) >= 1 and found, what="a count")
        (first,) = listening(port)
        assert first in served.worker_pids()
        os.kill(first, signal.SIGKILL)
        until(lambda: ask(port), what="the other worker's answer")
        (second,) = listening(port)
        assert second != first
        assert second in served.worker_pids()
        assert scrape(ask(port) or "").total(REQUESTS) >= before.total(REQUESTS)
    assert listening(port) == set()


def test_the_command_of_the_page_asks_what_is_served(metered: Served) -> None:
    page = REPOSITORY / "docs" / "metrics.md"
    (block,) = [block for block in blocks(page) if "/metrics" in block.text and block.language == "sh"]
    environment = {"PATH": os.environ["PATH"], "METRICS_TOKEN": TOKEN, "PORT": str(metered.port)}
    done = subprocess.run(
        ["bash", "-eu", "-c", block.text], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert problems(done.stdout) == []
    assert scrape(done.stdout).value("prodfix_workers") == 2
