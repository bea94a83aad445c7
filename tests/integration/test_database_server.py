"""The launcher of the embedded server, as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from tests.processes import alive
from tests.servers import REPOSITORY, DatabaseServer
from tests.waiting import until

Document = dict[str, Any]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path / "data", txn_lifetime=1) as server:
        yield server


def client(server: DatabaseServer, **options: Any) -> MongoClient[Document]:
    return MongoClient(server.uri, **{"serverSelectionTimeoutMS": 5000} | options)


def refused(*options: str) -> str:
    """The message of a launcher that does not start."""
    command = [sys.executable, "-m", "config.database_server", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_and_in_order(number: signal.Signals) -> None:
    server = DatabaseServer().start()
    begun = time.monotonic()
    os.kill(server.pid, number)
    assert server.stop() == 0
    assert time.monotonic() - begun < 1.5  # two seconds of the package's own are what the launcher avoids


def test_a_signal_in_the_middle_of_its_start_ends_it_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "config.database_server", "--path", str(tmp_path / "data")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    # The lock is there once the handlers are, and before the port opens.
    until((tmp_path / "data.lock").exists, every=0.001, what="the lock of the data folder")
    process.terminate()
    assert process.wait(10) == 0


def test_a_taken_port_is_one_clear_line(kept: DatabaseServer) -> None:
    line = refused("--port", str(kept.port))
    assert f"Port {kept.port} of 127.0.0.1 is taken" in line
    assert "--port" in line


def test_an_open_data_folder_is_one_clear_line(kept: DatabaseServer, tmp_path: Path) -> None:
    line = refused("--path", str(tmp_path / "data"))
    assert "already open in another database server" in line


def test_it_listens_on_the_loopback_interface_only(kept: DatabaseServer) -> None:
    listening = []
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{kept.pid}/net/{table}")
        rows = [row.split() for row in path.read_text().splitlines()[1:]] if path.exists() else []
        listening += [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{kept.port:04X}")]
    assert listening == [f"0100007F:{kept.port:04X}"]


def test_what_was_acknowledged_survives_sigkill_on_the_same_port(kept: DatabaseServer) -> None:
    with client(kept, serverSelectionTimeoutMS=500) as writing:  # for close(), which tells the dead server
        for number in range(100):
            writing.shop.orders.insert_one({"_id": number})
        kept.kill()
    kept.start()
    with client(kept) as reading:
        assert [order["_id"] for order in reading.shop.orders.find().sort("_id")] == list(range(100))


def test_an_abandoned_transaction_does_not_block_a_plain_write(kept: DatabaseServer) -> None:
    with client(kept) as one:
        one.shop.orders.insert_one({"_id": 1, "state": "new"})
        session = one.start_session()
        session.start_transaction()
        one.shop.orders.update_one({"_id": 1}, {"$set": {"state": "held"}}, session=session)
        with client(kept, socketTimeoutMS=15_000) as other:  # without pruning it would wait for ever
            other.shop.orders.update_one({"_id": 1}, {"$set": {"state": "free"}})
            assert other.shop.orders.find_one() == {"_id": 1, "state": "free"}
        with pytest.raises(OperationFailure) as gone:
            session.commit_transaction()
        assert gone.value.code == 251  # NoSuchTransaction
        session.end_session()


PARENT = """
import time
from tests.servers import DatabaseServer
print(DatabaseServer().start().pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert alive(server)
        parent.kill()
    until(lambda: not alive(server), limit=5, what="the end of the server")


def test_a_stopped_server_answers_again_after_it_was_resumed(kept: DatabaseServer) -> None:
    kept.stop_signal()
    limits = {"serverSelectionTimeoutMS": 500, "socketTimeoutMS": 500, "connectTimeoutMS": 500}
    with client(kept, **limits) as impatient, pytest.raises(PyMongoError):
        impatient.admin.command("ping")
    kept.resume()
    with client(kept) as patient:
        assert patient.admin.command("ping")["ok"] == 1
