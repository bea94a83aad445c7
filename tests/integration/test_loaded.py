"""What a worker has loaded: what it serves with, and nothing of what only an admin or a command needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.served import Served

pytestmark = pytest.mark.served

# Of these nothing is loaded by health checks and an application's own requests.
LATER = {
    "limits": "how often an admin may ask",
    "rich": "tables of the command line",
    "prodfix.doctor": "a command",
    "prodfix.cli.read_only": "all commands",
    "apprise": "the program that delivers alerts, which is another process",
    "prodfix.alerts.apprise_program": "the same",
    "prodfix.alerts.direct_channels": "the same",
    "user_agents": "words for an admin",
    "jwt": "tokens, of who shows one",
    "flask_jwt_extended": "plug-ins that import it",
}


@pytest.fixture(scope="module")
def worker(database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("loaded")
    application = "tests.hosts.probe:app"
    with Served(folder, f"{database_server}loaded", workers=1, application=application) as served:
        yield served


def loaded(worker: Served) -> list[str]:
    modules = set(worker.get("/probe/modules").body)
    return [name for name in LATER if name in modules]


def test_a_worker_loads_nothing_that_only_admins_and_commands_need(worker: Served, note: dict[str, Any]) -> None:
    assert worker.get("/health/ready").status == 200
    assert worker.post("/api/v1/notes", note).status == 201
    assert loaded(worker) == []


def test_the_control_an_admin_who_looks_has_some_of_it_loaded(worker: Served) -> None:
    assert worker.get("/api/v1/diagnostics", worker.bearer()).status == 200
    assert {"limits", "jwt"} <= set(loaded(worker))
