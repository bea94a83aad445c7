"""Fixtures of all tests. Nothing here may import gevent: pytest runs unpatched."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from tests.servers import DatabaseServer


@pytest.fixture(scope="session")
def database_server() -> Iterator[str]:
    """The URI of a server for all tests: the embedded one, in memory and with fail points, or ``TEST_MONGODB_URI``."""
    if given := os.environ.get("TEST_MONGODB_URI"):
        yield given
        return
    with DatabaseServer() as server:
        yield server.uri


@pytest.fixture
def database_uri(database_server: str) -> Iterator[str]:
    """A URI with a database of this test's own, dropped afterwards."""
    name = f"test_{secrets.token_hex(8)}"
    uri = urlsplit(database_server)._replace(path=f"/{name}").geturl()
    yield uri
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, serverSelectionTimeoutMS=5000) as client:
        client.drop_database(name)
