from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from config import database_server
from tests.support.servers import REPOSITORY


@pytest.mark.parametrize(("path", "synced"), [(":memory:", False), ("kept", True)])
def test_the_server_is_opened_without_its_defects(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, synced: bool
) -> None:
    import secantus.server
    import secantus.transactions

    class Opened(secantus.server.SecantusDBServer):
        def __init__(self, **options: Any) -> None:
            opened.update(options)
            super().__init__(**options)

    opened: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(secantus.transactions, "_RETRYABLE_RECORD_MAX", 10_000)
    monkeypatch.setattr(secantus.server, "SecantusDBServer", Opened)
    server = database_server._opened(
        database_server._options(["--path", path, "--ttl-sweep", "0.5", "--txn-lifetime", "5"])
    )
    server.storage.close()
    assert secantus.transactions._RETRYABLE_RECORD_MAX == database_server.RETRYABLE_RECORDS
    assert opened == {
        "host": "127.0.0.1",
        "port": 0,
        "storage_path": path,
        "enable_test_commands": False,
        "ttl_sweep_seconds": 0.5,
        "transaction_lifetime_seconds": 5,
        "sync_on_commit": synced,
        "cache_size": "64M" if synced else "256M",
    }


def test_nobody_else_imports_the_package() -> None:
    importing = set()
    for folder in ("prodfix", "blueprints", "config", "benchmarks"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                if any(name.split(".")[0] == "secantus" for name in names):
                    importing.add(path.relative_to(REPOSITORY).as_posix())
    assert importing == {"config/database_server.py"}


def test_a_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "secantus", None)
    monkeypatch.setattr(database_server, "_stop_signals", lambda: None)
    assert database_server.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install -r requirements-run.txt" in line


def test_a_folder_that_cannot_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database_server, "_stop_signals", lambda: None)
    assert database_server.main(["--path", "/proc/no/such/folder"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "/proc/no/such/folder cannot be used" in line
