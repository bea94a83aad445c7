"""What an application keeps of its promises when the database, a worker or the time runs out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.served import Served
from tests.support.servers import DatabaseServer

pytestmark = [pytest.mark.served, pytest.mark.faults]


def test_a_view_that_waits_is_ended_by_the_requests_deadline(server: DatabaseServer, tmp_path: Path) -> None:
    variables = {"REQUEST_DEADLINE_MS": "700"}
    with Served(
        tmp_path / "served", f"{server.uri}recovery", application="tests.hosts.probe:app", **variables
    ) as served:
        begun = time.monotonic()
        late = served.get("/probe/sleep?seconds=20")
        took = time.monotonic() - begun
        assert (late.status, late.body["code"]) == (504, "DEADLINE_EXCEEDED")
        assert 0.6 < took < 3
        mobile = {"User-Agent": "okhttp/4.12.0"}
        assert served.get("/probe/sleep?seconds=1", mobile).status == 200, "a mobile device has twice the time"
        assert served.get("/probe/sleep?seconds=1").status == 504, "the control"
