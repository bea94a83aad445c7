"""What a client is told of a write whose commit was answered with what nobody can read."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.proxy import Proxy
from tests.served import Served
from tests.servers import DatabaseServer

pytestmark = [pytest.mark.served, pytest.mark.faults]

NOTES = "/api/v1/notes"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DatabaseServer, Proxy, Served]]:
    folder = tmp_path_factory.mktemp("outcomes")
    with DatabaseServer(folder / "data") as server, Proxy(server.port) as proxy:
        uri = proxy.database_uri("outcomes")
        with Served(folder / "served", uri, workers=1, APP_ENV="production") as served:
            yield server, proxy, served


def note() -> dict[str, Any]:
    name = secrets.token_hex(6)
    return {"slug": f"note-{name}", "title": "A title", "body": "", "notebook": name}


@pytest.mark.parametrize("kept", [16, 21])
@pytest.mark.parametrize("count", [1, 9])
def test_a_commit_whose_answer_cannot_be_read_is_never_told_not_applied(
    deployment: tuple[DatabaseServer, Proxy, Served], kept: int, count: int
) -> None:
    server, proxy, served = deployment
    written = note()
    proxy.corrupt_reply_of("commitTransaction", count, kept=kept)
    answer = served.post(NOTES, written)
    proxy.corrupt_reply_of("", 0)
    assert proxy.spoiled[-1] == "commitTransaction", "the fault"
    with server.client() as client:
        assert client.outcomes.notes.count_documents({"slug": written["slug"]}) == 1, "it is applied"
    # Asked once more, the server says that it is; while nobody can read its answers, the journal knows of it.
    assert answer.status == (201 if count == 1 else 202)
