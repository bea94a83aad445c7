"""One application for the tests of this folder, as it is served, on a database of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.served import Served


@pytest.fixture(scope="session")
def served(database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    uri = f"{database_server}served_{secrets.token_hex(6)}"
    with Served(tmp_path_factory.mktemp("served"), uri, SLOW_QUERY_THRESHOLD_MS="200") as application:
        yield application


@pytest.fixture
def note() -> dict[str, Any]:
    """The fields of a note that nobody has posted yet."""
    return {"slug": f"note-{secrets.token_hex(6)}", "title": "A title", "body": "Some text", "notebook": "inbox"}
