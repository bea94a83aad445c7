"""The disk is broken: nothing that an admin asks for disappears with it, while MongoDB is well or comes back."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import Served
from tests.servers import DatabaseServer
from tests.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

NOTES = "/api/v1/notes"
DIAGNOSTICS = "/api/v1/diagnostics"


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made, not even by root."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m,ro", "none", str(folder)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mount is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def note() -> dict[str, Any]:
    name = secrets.token_hex(6)
    return {"slug": f"note-{name}", "title": "A title", "body": "Some text", "notebook": name}


def asked(served: Served, path: str, token: dict[str, str]) -> list[Any]:
    """Often enough that each of two workers has answered."""
    return [served.get(f"{DIAGNOSTICS}/{path}", token) for _ in range(12)]


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

        until(connected, what="both workers' state: connected")
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
            return set(found) == {200} and {count["database_connection"] for count in counts} == {len(refused)}

        until(told, limit=15, what="the same request and the same total from both workers")
        lines = [line for line in served.stdout_lines() if line.get("event") == "background"]
        assert len(lines) <= 6  # both workers: that the journal fails, and that a loop lost MongoDB, and found it
        assert str(read_only) not in str(lines)
