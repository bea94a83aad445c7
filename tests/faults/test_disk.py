"""The disk is broken: nothing that an admin asks for disappears with it, while MongoDB is well or comes back."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prodfix.journal.image import roots
from prodfix.journal.salvage import wal_of
from prodfix.journal.tables import PAGE
from prodfix.journal.wal import read_log
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

NOTES = "/api/v1/notes"
DIAGNOSTICS = "/api/v1/diagnostics"


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size=1m{options}", "none", str(folder)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mount is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made, not even by root."""
    with mounted(tmp_path / "read-only", ",ro") as folder:
        yield folder


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", "") as folder:
        yield folder


def note() -> dict[str, Any]:
    name = secrets.token_hex(6)
    return {"slug": f"note-{name}", "title": "A title", "body": "Some text", "notebook": name}


def asked(served: Served, path: str, token: dict[str, str]) -> list[Any]:
    """Often enough that each of two workers has answered."""
    return [served.get(f"{DIAGNOSTICS}/{path}", token) for _ in range(12)]


@pytest.mark.timeout(300)  # a minute must be over before it is stored
def test_on_a_read_only_disk_errors_are_counted_found_and_stored_and_the_reason_is_told(
    tmp_path: Path, read_only: Path
) -> None:
    with (
        DatabaseServer(tmp_path / "data") as server,
        Served(tmp_path / "served", f"{server.uri}disk", STATE_DIR=str(read_only)) as served,
    ):
        token = served.bearer()

        def connected() -> bool:
            reports = asked(served, "database", token)
            return {report.body["connection"]["state"] for report in reports} == {"connected"}

        until(connected, limit=90, what="both workers' state: connected")
        for answer in asked(served, "database", token):
            assert answer.body["journal"]["failing"] == "OSError 30"
            assert len(answer.body["workers"]) == 1  # the one that answers: they have no place to meet
        assert served.post(NOTES, note()).status == 201

        server.kill()
        until(lambda: served.get("/health/db").status == 503, what="/health/db -> 503")
        refused = [served.post(NOTES, note()) for _ in range(6)]
        assert {answer.status for answer in refused} == {503}
        request_id = refused[0].body["requestId"]
        # Its own worker knows it at once, and all know it as soon as MongoDB is back.
        assert 200 in {answer.status for answer in asked(served, f"requests/{request_id}", token)}
        server.start()

        def told() -> bool:
            found = [answer.status for answer in asked(served, f"requests/{request_id}", token)]
            counts = [answer.body["errorsByCategory"] for answer in asked(served, "errors?timeRange=1h", token)]
            return set(found) == {200} and {count.get("database_connection") for count in counts} == {len(refused)}

        # Without a folder in common they meet in MongoDB, where each stores a minute once it is over.
        until(told, limit=120, every=6.0, what="the same request and the same total from both workers")
        lines = [line for line in served.stdout_lines() if line.get("event") == "background"]
        assert len(lines) <= 6  # both workers: that the journal fails, and that a loop lost MongoDB, and found it
        assert str(read_only) not in str(lines)


def overwrite_a_page_of_writes(journals: Path) -> None:
    """In each file, as a bad disk would: the page that the table of deferred writes begins on, as the log has it last."""
    for path in journals.glob("*.db"):
        frames = [frame for frame in read_log(wal_of(path)).frames if frame.number == roots()["writes"]]
        with wal_of(path).open("r+b") as file:
            file.seek(frames[-1].at)
            file.write(b"\xa5" * PAGE)


def test_a_damaged_page_costs_what_stood_on_it_and_is_told(tmp_path: Path) -> None:
    with DatabaseServer(tmp_path / "data") as server, Served(tmp_path / "served", f"{server.uri}damage") as served:
        token = served.bearer()
        assert served.post(NOTES, note()).status == 201
        server.kill()
        until(lambda: served.all_say(503), what="/health/db -> 503 from both")
        answers = [served.post(NOTES, note()) for _ in range(60)]
        assert {answer.status for answer in answers} == {202}
        victims = served.worker_pids()
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)  # nobody adopts what is not damaged yet
        (journals,) = (tmp_path / "served").rglob("journal")
        overwrite_a_page_of_writes(journals)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(set(served.worker_pids()) - set(victims)) == 2, what="two new workers")
        server.start()

        def told() -> list[Any]:
            found = [served.get(answer.body["statusUrl"]) for answer in answers]
            assert 404 not in {answer.status for answer in found}, "nobody is told that it never was"
            return [(answer.body.get("status"), answer.body.get("reason")) for answer in found]

        until(lambda: set(told()) <= {("applied", None), ("failed", "LOST")}, limit=20, what="all told for good")
        lost = told().count(("failed", "LOST"))
        with server.client() as client:
            assert client.damage.notes.count_documents({}) == 1 + 60 - lost
        assert lost < 40, "one page of each of two files"

        def lines() -> list[dict[str, Any]]:
            return [line for line in served.stdout_lines() if line.get("event") == "journal-damaged"]

        until(lambda: len(lines()) == 2, limit=20, what="a line of each file")
        assert sum(line["lostWrites"] for line in lines()) == lost
        assert {line["severity"] for line in lines()} == {"critical"}

        def reported() -> bool:
            reports = [answer.body["journal"] for answer in asked(served, "database", token)]
            return {(report["quarantined"], report["lostWrites"]) for report in reports} == {(len(lines()), lost)}

        until(reported, what="the same from both workers")
        alarms = served.get(f"{DIAGNOSTICS}/alerts", token)
        until(
            lambda: "A journal was damaged" in str(served.get(f"{DIAGNOSTICS}/alerts", token).body),
            what=f"the alarm: {alarms.body}",
        )


# ---- the disk of the log, and the console


def refused(served: Served, count: int) -> list[str]:
    """So many requests that are refused and logged, each answered in time; their IDs."""
    found = []
    for _ in range(count):
        begun = time.monotonic()
        answer = served.post(NOTES, {"title": "x" * 200})
        assert time.monotonic() - begun < 2
        assert answer.status == 422
        found.append(answer.body["requestId"])
    return found


def sinks(served: Served, name: str) -> list[dict[str, Any]]:
    """What the admin is told of one sink, for each worker."""
    report = served.get(f"{DIAGNOSTICS}/database", served.bearer()).body
    states = [state for worker in report["workers"] for state in worker["logs"]["sinks"]]
    return [state for state in states if state["name"] == name]


def logged(lines: list[dict[str, Any]]) -> list[str]:
    return sorted(line["requestId"] for line in lines if line.get("event") == "error")


def news(lines: list[dict[str, Any]], sink: str) -> list[dict[str, Any]]:
    return [line for line in lines if line.get("event") == "sink" and line["sink"] == sink]


def test_a_full_log_disk_costs_no_request_and_no_line_of_the_console(
    tmp_path: Path, small: Path, database_uri: str
) -> None:
    ballast = small / "ballast"
    with Served(tmp_path / "served", database_uri, LOG_DIR=str(small)) as served:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        sent = refused(served, 30)
        until(lambda: logged(served.stdout_lines()) == sorted(sent), what="every line on the console")

        def lost() -> int:
            return len(sent) - len(logged(served.log_lines("validation")))

        def counted() -> bool:
            states = sinks(served, "validation.log")
            reasons = {state["failing"] for state in states}
            return "No space left on device" in reasons and sum(state["lost"] for state in states) == lost() > 0

        until(counted, what="the reason, and the exact number of lost lines")
        told = [line["message"] for line in news(served.stdout_lines(), "validation.log")]
        # Once from each worker that has found out, whatever else may fit in between.
        assert 1 <= told.count("validation.log fails: No space left on device") <= 2

        ballast.unlink()

        def all_told() -> bool:
            """In the file itself, between its own lines: how many are missing there."""
            sent.extend(refused(served, 2))
            missing = sum(line["lost"] for line in news(served.log_lines("validation"), "validation.log"))
            return missing == sum(state["lost"] for state in sinks(served, "validation.log")) == lost()

        until(all_told, limit=20, what="every lost line told of, from both workers")
        until(
            lambda: {state["failing"] for state in sinks(served, "validation.log")} == {None},
            what="both workers report that the file works",
        )
        assert lost() > 0
        until(lambda: logged(served.stdout_lines()) == sorted(sent), what="every line on the console")


class Elsewhere(Served):
    """Served with another file as its stdout."""

    console: Path

    def _output(self, name: str) -> Path:
        return self.console if name == "stdout" else super()._output(name)

    def stdout(self) -> str:
        return ""


def test_a_console_that_takes_nothing_costs_no_request_and_no_line_of_a_file(tmp_path: Path, database_uri: str) -> None:
    served = Elsewhere(tmp_path / "served", database_uri)
    served.console = Path("/dev/full")
    with served:
        sent = refused(served, 20)
        until(lambda: logged(served.log_lines("validation")) == sorted(sent), what="every line in its file")
        until(
            lambda: {state["failing"] for state in sinks(served, "console")} == {"No space left on device"},
            what="the reason from both workers",
        )
        assert sum(state["lost"] for state in sinks(served, "console")) >= 20

        def told() -> list[str]:
            return [line["message"] for line in news(served.log_lines("error"), "console")]

        until(lambda: len(told()) >= 2, limit=10, what="the line of each worker")
        assert told() == ["console fails: No space left on device"] * 2


def test_a_console_that_nobody_reads_costs_no_request_no_line_of_a_file_and_no_time_at_the_end(
    tmp_path: Path, database_uri: str
) -> None:
    served = Elsewhere(tmp_path / "served", database_uri)
    served.console = tmp_path / "pipe"
    os.mkfifo(served.console)
    reader = os.open(served.console, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        with served:
            sent = refused(served, 40)
            until(lambda: logged(served.log_lines("validation")) == sorted(sent), what="every line in its file")
            until(
                lambda: sum(state["waiting"] for state in sinks(served, "console")) > 20,
                what="the waiting lines in the report",
            )
            begun = time.monotonic()
            assert served.stop() == 0
            assert time.monotonic() - begun < 15
        (tell, other) = news(served.log_lines("error"), "console")
        assert "lines lost at the end of the process" in tell["message"]
        assert tell["lost"] + other["lost"] > 20
        # What did come through is whole lines.
        *lines, rest = os.read(reader, 65_536).split(b"\n")
        assert all(json.loads(line) for line in lines)
        assert len(rest) < 4096
    finally:
        os.close(reader)
