"""An outage is one incident, whichever worker is asked, while it lasts and when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

DIAGNOSTICS = "/api/v1/diagnostics"
ASKED = 8  # times, over new connections: both workers have their turn


@pytest.fixture
def served(server: DatabaseServer, tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "served", f"{server.uri}incident", APP_RELEASE="v7") as application:
        yield application


def answers(served: Served) -> list[list[dict[str, Any]]]:
    """What the workers say, without the end of what lasts."""
    found = [served.get(f"{DIAGNOSTICS}/incidents", served.bearer()).body["incidents"] for _ in range(ASKED)]
    moving = ("to", "seconds")
    return [[{name: one[name] for name in one if name not in moving} for one in answer] for answer in found]


def agreed(served: Served, **facts: Any) -> dict[str, Any]:
    """The one incident, once all workers say the same of it."""

    def same() -> dict[str, Any] | None:
        first, *others = answers(served)
        if len(first) == 1 and all(other == first for other in others) and first[0].items() >= facts.items():
            return first[0]
        return None

    found: dict[str, Any] = until(same, limit=15, what=f"one incident with {facts} from every worker")
    return found


def told(served: Served) -> list[dict[str, Any]]:
    return [line for line in served.stdout_lines() if line.get("event") == "incident"]


def test_an_outage_is_one_incident_from_its_first_failure_to_its_summary(
    server: DatabaseServer, served: Served
) -> None:
    assert answers(served) == [[]] * ASKED
    server.kill()
    until(lambda: served.get("/health/db").status == 503, limit=10, what="/health/db -> 503")
    failed = [served.get("/api/v1/notes").status for _ in range(30)]
    assert set(failed) == {503}

    lasting = agreed(served, failed=len(failed), workers=2)
    assert (lasting["status"], lasting["cause"], lasting["releases"]) == ("open", "database_lost", ["v7"])

    server.start()
    until(lambda: served.get("/health/db").status == 200, limit=10, what="/health/db -> 200")
    until(lambda: told(served), limit=70, what="the summary of the incident")
    closed = agreed(served, status="closed", failed=len(failed), workers=2)
    (line,) = told(served)
    assert (line["incident"]["failed"], line["incident"]["id"]) == (len(failed), closed["id"])
