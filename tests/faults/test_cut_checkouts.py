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

uri, seconds = sys.argv[1], float(sys.argv[2])
client = MongoClient(uri, maxPoolSize=4, maxConnecting=2, directConnection=True)
client.admin.command("ping")
moments, errors, cuts, end = random.Random(5), [], 0, time.monotonic() + seconds

def busy(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until: pass

def ask():
    global cuts
    while time.monotonic() < end:
        limit = limits.start_limit(moments.uniform(0.001, 0.05))
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


AT_ITS_WORST = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from pymongo import MongoClient
from prodfix.process import limits

client, ended = MongoClient(sys.argv[1], maxPoolSize=1, directConnection=True), []
client.admin.command("ping")
(pool,) = [server.pool for server in client._topology._servers.values()]

def ask():
    limit = gevent.Timeout.start_new(0.3) if sys.argv[2:] == ["careless"] else limits.start_limit(0.3)
    try:
        client.shop.orders.find_one()
    except gevent.Timeout:
        ended.append("cut")
    finally:
        limit.close()

with pool.checkout():
    asks = gevent.spawn(ask)
    gevent.sleep(0.1)
    try:
        with pool.size_cond:  # as whoever gives a connection back
            pool.size_cond.notify()
            gevent.sleep(0.4)  # the limit of who waits for one ends while it takes this lock
    except RuntimeError as error:
        ended.append(str(error))
    gevent.sleep(0.1)
    print(ended)
"""


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    with DatabaseServer() as server:
        yield server


def told(server: DatabaseServer, code: str, *arguments: str) -> Any:
    command = [sys.executable, "-c", code, f"mongodb://127.0.0.1:{server.port}", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return ast.literal_eval(done.stdout)


def test_a_pool_whose_operations_are_cut_at_any_moment_stays_right(server: DatabaseServer) -> None:
    found = told(server, CUT, "4.0")
    assert found.pop("cuts") > 50
    assert found == {"errors": [], "requests": 0, "active": 0, "locked": False}


def test_who_is_cut_while_it_takes_the_lock_of_a_pool_leaves_it_to_who_has_it(server: DatabaseServer) -> None:
    assert told(server, AT_ITS_WORST) == ["cut"]
    # The control: a timeout that does not look.
    assert told(server, AT_ITS_WORST, "careless") == ["cut", "Semaphore released too many times"]
