"""What an admin may see and change of the workers while they run: the same for both of them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.support.served import INHERITED, REPOSITORY, Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

DIAGNOSTICS = "/api/v1/diagnostics"


@pytest.fixture(scope="module")
def served(database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    uri = f"{database_server}run_time_{secrets.token_hex(6)}"
    limits = {"DIAGNOSTICS_TEST_RATE_LIMIT": "1000/minute"}
    folder = tmp_path_factory.mktemp("run-time")
    with Served(folder, uri, application="tests.hosts.probe:app", **limits) as application:
        until(lambda: len(application.worker_pids()) == 2 and application.all_say(200), what="two workers")
        yield application


def command(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "prodfix", *arguments],
        cwd=REPOSITORY,
        env=inherited | served.variables | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_both_workers_say_where_they_stand(served: Served) -> None:
    canary = f"canary{secrets.token_hex(8)}"
    waiting = threading.Thread(target=served.get, args=(f"/probe/wait?seconds=6&canary={canary}",))
    waiting.start()
    try:
        answer = served.get(f"{DIAGNOSTICS}/stacks", served.bearer())
    finally:
        waiting.join()
    assert (answer.status, answer.body["silent"]) == (200, [])
    workers = answer.body["workers"]
    assert {one["pid"] for one in workers} == set(served.worker_pids())
    for one in workers:
        places = [place for stack in one["stacks"] for place in stack["places"]]
        assert any(place.startswith("prodfix/process/loops.py:") for place in places)
        assert one["greenlets"] >= 5
        assert {stack["kind"] for stack in one["stacks"]} == {"greenlet", "thread"}
    told = json.dumps(workers)
    assert told.count(' in wait"') >= 1, "the request that stands still"
    assert canary not in told
    assert str(REPOSITORY) not in told


def test_a_worker_that_does_not_answer_is_told_of_in_time(served: Served) -> None:
    """A stopped one stands for one whose hub is blocked."""
    alive = set(served.worker_pids())
    stopped = min(alive)
    os.kill(stopped, signal.SIGSTOP)
    try:
        done = command(served, "stacks", "--json")
    finally:
        os.kill(stopped, signal.SIGCONT)
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert [one["pid"] for one in answer["workers"]] == sorted(alive - {stopped})
    assert [name.partition("-")[0] for name in answer["silent"]] == [str(stopped)]


def said(served: Served) -> set[str]:
    """Which workers say at DEBUG what they say, of those that answer ten requests."""
    asked = {str(served.get("/probe/say").headers["X-Request-ID"]) for _ in range(10)}

    def lines(event: str) -> dict[str, str]:
        known = [line for line in served.stdout_lines() if event in (line.get("event"), line.get("logger"))]
        return {str(line["requestId"]): str(line.get("message")) for line in known if line["requestId"] in asked}

    until(lambda: lines("request").keys() == asked, what="a line of each request, behind all that it has said")
    return set(lines("probe.words").values())


def test_a_logger_of_both_workers_says_more_for_a_while(served: Served) -> None:
    wanted = {f"said by {pid}" for pid in served.worker_pids()}
    assert said(served) == set()
    order = {"logger": "probe.words", "level": "debug", "minutes": 5}
    answer = served.post(f"{DIAGNOSTICS}/log-level", order, served.bearer())
    assert [one["logger"] for one in answer.body["levels"]] == ["probe.words"]
    until(lambda: said(served) == wanted, what="both workers say more")
    assert command(served, "log-level", "probe.words", "usual").returncode == 0
    until(lambda: said(served) == set(), what="none says it any more")
    audits = [line for line in served.log_lines("auth") if line.get("loggerName") == "probe.words"]
    assert [line["loggerLevel"] for line in audits] == ["debug", "usual"]
