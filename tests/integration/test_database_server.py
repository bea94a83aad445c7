"""The launcher of the embedded server, as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from bson import Int64
from pymongo.errors import NetworkTimeout, OperationFailure, PyMongoError

from config.database_server import RETRYABLE_RECORDS
from tests.support.processes import alive
from tests.support.servers import REPOSITORY, DatabaseServer
from tests.support.waiting import until

Document = dict[str, Any]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path / "data", txn_lifetime=1) as server:
        yield server


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
    def took() -> float:
        server = DatabaseServer().start()
        begun = time.monotonic()
        os.kill(server.pid, number)
        assert server.stop() == 0
        return time.monotonic() - begun

    # Two seconds of the package's own are what the launcher avoids: on a busy machine one of three shows that.
    assert any(took() < 1.5 for _ in range(3))


def test_a_signal_in_the_middle_of_its_start_ends_it_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "config.database_server", "--path", str(tmp_path / "data")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    # The lock is there once the handlers are, and before the port opens.
    until((tmp_path / "data.lock").exists, every=0.001, what="the lock of the data folder")
    process.terminate()
    assert process.wait(30) == 0


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
    with kept.client(serverSelectionTimeoutMS=500) as writing:  # for close(), which tells the dead server
        for number in range(100):
            writing.shop.orders.insert_one({"_id": number})
        kept.kill()
    kept.start()
    with kept.client() as reading:
        assert [order["_id"] for order in reading.shop.orders.find().sort("_id")] == list(range(100))


def test_an_abandoned_transaction_does_not_block_a_plain_write(kept: DatabaseServer) -> None:
    with kept.client() as one:
        one.shop.orders.insert_one({"_id": 1, "state": "new"})
        session = one.start_session()
        session.start_transaction()
        one.shop.orders.update_one({"_id": 1}, {"$set": {"state": "held"}}, session=session)
        with kept.client(socketTimeoutMS=15_000) as other:  # without pruning it would wait for ever
            other.shop.orders.update_one({"_id": 1}, {"$set": {"state": "free"}})
            assert other.shop.orders.find_one() == {"_id": 1, "state": "free"}
        with pytest.raises(OperationFailure) as gone:
            session.commit_transaction()
        assert gone.value.code == 251  # NoSuchTransaction
        session.end_session()


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    with DatabaseServer() as server:
        yield server


def test_an_index_waits_for_a_transaction_and_does_not_stop_the_server(server: DatabaseServer) -> None:
    with server.client() as one, server.client() as other, ThreadPoolExecutor(1) as beside:

        def commands() -> set[str]:
            return {operation["op"] for operation in one.admin.command("currentOp")["inprog"]}

        with one.start_session() as session, session.start_transaction():
            one.shop.orders.insert_one({"_id": 1}, session=session)
            made = beside.submit(other.shop.orders.create_index, "state")
            until(lambda: "createIndexes" in commands(), every=0.01, what="the other's createIndexes")
            # As it is in the package, this waits for the lock of the other command, which waits for this transaction.
            assert one.shop.orders.find_one({}, session=session) == {"_id": 1}
            assert not made.done()
        assert made.result(10) == "state_1"
        assert set(other.shop.orders.index_information()) == {"_id_", "state_1"}
        assert other.shop.orders.count_documents({}) == 1


def test_collections_that_two_clients_make_at_once_do_not_stop_the_server(server: DatabaseServer) -> None:
    # Two workers do so when the database is new to both. Without the remedy it stands still at one of the first.
    together = Barrier(2)
    with server.client() as one, server.client() as other, ThreadPoolExecutor(2) as pool:

        def insert() -> None:
            for number in range(100):
                together.wait(60)
                one.shop[f"c{number}"].insert_one({"number": number})

        def index() -> None:
            for number in range(100):
                together.wait(60)
                other.shop[f"c{number}"].create_index("number")

        for working in (pool.submit(insert), pool.submit(index)):
            working.result()
        for number in range(100):
            indexed = one.shop[f"c{number}"].find({"number": number}).hint("number_1")
            assert [document["number"] for document in indexed] == [number]


def test_no_collection_needs_a_file_of_its_own_that_a_kill_could_leave_half_made(
    kept: DatabaseServer, tmp_path: Path
) -> None:
    def tables() -> list[str]:
        return sorted(path.name for path in (tmp_path / "data").glob("*.wt"))

    before = tables()
    with kept.client() as writing:
        for number in range(40):
            writing[f"shop{number}"].orders.insert_one({})
    assert tables() == before


def test_whoever_waits_for_it_in_vain_is_told_where_its_threads_stand(capfd: pytest.CaptureFixture[str]) -> None:
    hung = {"failCommands": ["find"], "blockConnection": True, "blockTimeMS": 1500}
    with DatabaseServer() as server, server.client() as client:
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=hung)
        with pytest.raises(NetworkTimeout), server.client(socketTimeoutMS=300) as waiting:
            waiting.shop.orders.find_one()
        told = capfd.readouterr().err
        assert f"{server.uri} (PID {server.pid}) does not answer" in told
        assert "in _watch" in told
        assert "in _serve_forever" in told
        assert client.admin.command("ping")["ok"] == 1


def test_it_remembers_few_retryable_writes_and_the_latest_ones(server: DatabaseServer) -> None:
    """With the ten thousand of the package each further write sorts them all."""
    with server.client() as client, ExitStack() as stack:
        sessions = [stack.enter_context(client.start_session()) for _ in range(RETRYABLE_RECORDS + 50)]

        def insert(number: int) -> Any:
            documents = [{"_id": number}]
            numbered = {"insert": "orders", "documents": documents, "txnNumber": Int64(1)}
            return client.shop.command(numbered, session=sessions[number])

        for number in range(len(sessions)):
            assert insert(number)["n"] == 1
        # What is remembered is answered again, and what is not is a second insert of the same document.
        assert insert(len(sessions) - 1).get("writeErrors") is None
        assert insert(0)["writeErrors"][0]["code"] == 11000
        assert client.shop.orders.count_documents({}) == len(sessions)


PARENT = """
import time
from tests.support.servers import DatabaseServer
print(DatabaseServer().start().pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert alive(server)
        parent.kill()
    until(lambda: not alive(server), what="the end of the server")


def test_a_stopped_server_answers_again_after_it_was_resumed(kept: DatabaseServer) -> None:
    kept.stop_signal()
    limits = {"serverSelectionTimeoutMS": 500, "socketTimeoutMS": 500, "connectTimeoutMS": 500}
    with kept.client(**limits) as impatient, pytest.raises(PyMongoError):
        impatient.admin.command("ping")
    kept.resume()
    with kept.client() as patient:
        assert patient.admin.command("ping")["ok"] == 1
