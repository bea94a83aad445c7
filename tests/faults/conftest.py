"""A database server of the test's own, to be broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import DatabaseServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path / "data") as server:
        yield server
