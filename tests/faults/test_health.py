"""The health answers under every fault: they never hang, never lie, and cost the database nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.support.proxy import Mode, Proxy
from tests.support.served import Answer, Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

LIMIT = 2.5  # seconds: the promise is 2, and these machines are slow


@pytest.fixture
def proxy(server: DatabaseServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def served(proxy: Proxy, tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "served", proxy.database_uri("health")) as application:
        yield application


def both_say(served: Served, status: int) -> bool:
    """Of both workers, with no answer that takes long and none that contradicts itself."""
    for _ in range(6):
        begun = time.monotonic()
        answer = served.get("/health/db")
        assert time.monotonic() - begun < 1.0
        assert answer.body["healthy"] == answer.body["database"]["connected"] == (answer.status == 200)
        assert answer.status == 200 or answer.headers["Retry-After"]
        assert answer.headers["Cache-Control"] == "no-store"
        if answer.status != status:
            return False
    return True


def started(served: Served) -> set[int]:
    """The workers that say so."""
    answers = [served.get("/health/startup?verbose", served.bearer()) for _ in range(20)]
    return {answer.body["worker"]["pid"] for answer in answers if answer.status == 200}


@contextmanager
def refusing(server: DatabaseServer, **fault: object) -> Iterator[None]:
    """The server answers the watching clients' pings with an error."""
    client: MongoClient[dict[str, object]]
    with MongoClient(server.uri, directConnection=True) as client:
        data = {"failCommands": ["ping"], "appName": "prodfix-watch", **fault}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        yield
        client.admin.command("configureFailPoint", "failCommand", mode="off")


def test_it_is_exact_under_every_fault(server: DatabaseServer, proxy: Proxy, served: Served) -> None:
    @contextmanager
    def through(mode: Mode) -> Iterator[None]:
        proxy.set(mode)
        yield
        proxy.set("pass")

    @contextmanager
    def late(seconds: float) -> Iterator[None]:
        proxy.delay = seconds
        yield
        proxy.delay = 0.0

    @contextmanager
    def stopped() -> Iterator[None]:
        server.stop_signal()
        yield
        server.resume()

    @contextmanager
    def killed() -> Iterator[None]:
        server.kill()
        yield
        server.start()

    faults: dict[str, Callable[[], object]] = {
        **{mode: lambda mode=mode: through(mode) for mode in ("blackhole", "refuse", "half_open", "cut", "corrupt")},
        "an answer 4 s late": lambda: late(4.0),
        "hung": stopped,
        "killed": killed,
        "shutting down": lambda: refusing(server, errorCode=91),
        "our credentials are refused": lambda: refusing(server, errorCode=18),
        "the connection is closed": lambda: refusing(server, closeConnection=True),
    }
    until(lambda: started(served) == set(served.worker_pids()), what="both workers started")
    for name, fault in faults.items():
        with fault():  # type: ignore[attr-defined]
            until(lambda: both_say(served, 503), limit=LIMIT, what=f"{name}: 503 from both workers")
            assert served.get("/health/live").status == 200, name
            assert served.get("/health/startup").status == 200, name
            assert served.get("/health/ready").status == 200, name
        until(lambda: both_say(served, 200), limit=2 * LIMIT, what=f"after {name}: 200 from both workers")

    # The control: what is slow, and answers, is not down.
    def all_the_time() -> bool:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            if not both_say(served, 200):
                return False
        return True

    with late(0.3):
        until(all_the_time, what="200 from both workers for three seconds")


def test_fifty_probes_at_once_cost_no_ping(proxy: Proxy, served: Served) -> None:
    def pings(seconds: float) -> int:
        before = proxy.commands["ping"]
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() > end, limit=seconds + 1)
        return proxy.commands["ping"] - before

    until(lambda: proxy.commands["ping"] > 4, what="some pings")
    quiet = pings(3)
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(lambda: [served.get("/health/db").status for _ in range(4)]) for _ in range(50)]
        busy = pings(3)
        assert {status for one in asked for status in one.result()} == {200}
    assert quiet >= 2
    assert busy <= quiet + 3, (quiet, busy)


def connected(served: Served, path: str) -> Answer | None:
    answer = served.get(f"/health/{path}?verbose", served.bearer())
    return answer if answer.body["worker"]["connection"]["state"] == "connected" else None


def test_what_a_worker_knows_is_for_admins(served: Served) -> None:
    for path in ("live", "ready", "startup", "db"):
        plain = served.get(f"/health/{path}")
        assert "worker" not in plain.body
        assert served.get(f"/health/{path}?verbose").status == 401
        assert served.get(f"/health/{path}?verbose", served.bearer("user")).status == 403
        told = until(lambda path=path: connected(served, path), limit=5, what="a worker that is connected")
        assert told.status == 200
        assert told.body["worker"]["pid"] in served.worker_pids()
        assert "127.0.0.1" not in str(told.body)
