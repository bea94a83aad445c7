from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from config import ports
from config.embedded import EmbeddedDatabase


def test_the_port_is_chosen_once_and_remembered(tmp_path: Path) -> None:
    first = EmbeddedDatabase(tmp_path / "database")
    second = EmbeddedDatabase(tmp_path / "database")
    assert first.uri == second.uri == f"mongodb://127.0.0.1:{first.port}/prodfix"
    assert (tmp_path / "database" / "port").read_text() == f"{first.port}\n"


@pytest.mark.parametrize("text", ["", "abc", "0", "70000", "-1"])
def test_a_port_file_that_makes_no_sense_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "port").write_text(text)
    port = EmbeddedDatabase(tmp_path).port
    assert (tmp_path / "port").read_text() == f"{port}\n"


def test_nobody_answers_where_nobody_listens(tmp_path: Path) -> None:
    database = EmbeddedDatabase(tmp_path)
    assert not database.running()
    assert not database.answers(patience=5)


def test_it_moves_when_somebody_else_sits_on_its_port(tmp_path: Path) -> None:
    before = EmbeddedDatabase(tmp_path).port
    with socket.create_server((ports.LOOPBACK, before)):
        database = EmbeddedDatabase(tmp_path)
        assert not database.running()
    assert database.port != before
    assert EmbeddedDatabase(tmp_path).port == database.port


def test_the_command_names_data_and_port(tmp_path: Path) -> None:
    database = EmbeddedDatabase(tmp_path)
    command = database.command()
    assert command[1:3] == ["-m", "config.database_server"]
    assert command[command.index("--path") + 1] == str(tmp_path / "data")
    assert command[command.index("--port") + 1] == str(database.port)


@pytest.mark.parametrize("written", [None, "", "no number", "999999999\n"])
def test_a_process_that_holds_no_data_has_no_id(tmp_path: Path, written: str | None) -> None:
    database = EmbeddedDatabase(tmp_path)
    if written is not None:
        (tmp_path / "data.lock").write_text(written)
    assert database.pid is None


def test_the_id_of_the_process_that_holds_the_data_is_what_its_lock_says(tmp_path: Path) -> None:
    (tmp_path / "data.lock").write_text(f"{os.getpid()}\n")
    assert EmbeddedDatabase(tmp_path).pid == os.getpid()
