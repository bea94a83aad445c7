"""Operations that are cut at every moment of a checkout, by short limits on a small pool that many want: the pool stays right."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import REPOSITORY
from tests.support.servers import DatabaseServer

pytestmark = pytest.mark.faults

CUT = """
from gevent import monkey; monkey.patch_all()
import random, sys, time, gevent
from pymongo import MongoClient
from prodfix.process import limits

uri, seconds, careless = sys.argv[1], float(sys.argv[2]), sys.argv[3:] == ["careless"]
client = MongoClient(uri, maxPoolSize=4, maxConnecting=2, directConnection=True)
client.admin.command("ping")
moments, errors, cuts, end = random.Random(5), [], 0, time.monotonic() + seconds

def busy(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until: pass

def ask():
    global cuts
    while time.monotonic() < end and not (careless and errors):
        after = moments.uniform(0.001, 0.05)
        limit = gevent.Timeout.start_new(after) if careless else limits.start_limit(after)
        try:
            client.shop.orders.find_one({"status": "new"})
        except gevent.Timeout:
            cuts += 1
        except RuntimeError as error:
            errors.append(str(error))
        finally:
            limit.close()
        if moments.random() < 0.2: busy(0.004)  # so that several are due at once

gevent.joinall([gevent.spawn(ask) for _ in range(40)], timeout=seconds + 20, raise_error=True)
(pool,) = [server.pool for server in client._topology._servers.values()]
client.admin.command("ping")
print({"errors": errors, "cuts": cuts, "requests": pool.requests, "active": pool.active_sockets, "locked": pool.lock.locked()})
"""


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    with DatabaseServer() as server:
        yield server


def told(server: DatabaseServer, seconds: float, *arguments: str) -> dict[str, Any]:
    uri = f"mongodb://127.0.0.1:{server.port}"
    command = [sys.executable, "-c", CUT, uri, str(seconds), *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(ast.literal_eval(done.stdout))


def test_a_pool_whose_operations_are_cut_at_any_moment_stays_right(server: DatabaseServer) -> None:
    found = told(server, 4.0)
    assert found.pop("cuts") > 50
    assert found == {"errors": [], "requests": 0, "active": 0, "locked": False}


def test_a_timeout_that_does_not_look_breaks_its_lock(server: DatabaseServer) -> None:
    """The control."""
    assert told(server, 40.0, "careless")["errors"][:1] == ["Semaphore released too many times"]
