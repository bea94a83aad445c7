"""``flask prodfix deferred`` without workers: what it prints, and what it says when nobody can obey."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from pydantic import SecretStr

from prodfix import Write
from prodfix.commands import deferred as backlog_cli
from prodfix.journal.journal import Journal
from tests.unit.deferring import steps

CANARY = "ada.canary@example.org"


@pytest.fixture
def app(adopt: Callable[..., Flask], database_uri: str) -> Flask:
    app = adopt(mongodb_uri=SecretStr(database_uri))
    app.extensions["prodfix"].deferred.register("note", steps)
    return app


@pytest.fixture
def write(app: Flask) -> Write:
    """Waits in the file of a worker that is dead."""
    services = app.extensions["prodfix"]
    services.journal.open()
    kept = Write("note", {"text": CANARY})
    services.deferred.put(kept)
    services.journal.close()
    return kept


@pytest.fixture
def run(app: Flask) -> Callable[..., Result]:
    return lambda *arguments, **options: app.test_cli_runner().invoke(
        args=["prodfix", "deferred", *arguments], **options
    )


def test_what_waits_is_listed_and_shown_without_a_value(run: Callable[..., Result], write: Write) -> None:
    listed, shown = run("list"), run("show", write.id)
    assert listed.output.startswith("1 waiting, the oldest for 0 s; 0 failed; ")
    assert write.id in listed.output
    assert '{"text":"?str"}' in shown.output
    assert CANARY not in listed.output + shown.output
    assert orjson.loads(run("list", "--json").output)["entries"][0]["operationId"] == write.id
    assert orjson.loads(run("list", "--json", "--state", "failed").output)["entries"] == []
    assert "--offset" not in listed.output


def test_without_a_service_an_order_is_not_promised(
    run: Callable[..., Result], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_cli, "OBEYED", 0.01)
    answer = run("discard", write.id, "--yes")
    assert (answer.exit_code, "does the service run" in answer.output) == (1, True)


def test_a_discard_is_asked_about(run: Callable[..., Result], write: Write, app: Flask) -> None:
    assert run("discard", write.id, input="n\n").exit_code == 1
    assert app.extensions["prodfix"].orders.waiting() == 0


@pytest.mark.parametrize("command", ["show", "replay"])
def test_an_unknown_one_is_told(run: Callable[..., Result], command: str) -> None:
    answer = run(command, "0" * 24)
    assert (answer.exit_code, answer.output) == (1, "Error: no such write waits or was put aside on this instance\n")


def test_a_drain_applies_what_dead_workers_have_left(run: Callable[..., Result], write: Write, database: Any) -> None:
    answer = run("drain")
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines()[-1] == "1 done, 0 waiting, 0 failed in all"
    assert database.notes.find_one()["text"] == CANARY
    assert orjson.loads(run("drain", "--json").output) == {"before": 0, "waiting": 0, "dead": 0}


def test_a_drain_that_a_living_worker_does_not_end_is_given_up(
    run: Callable[..., Result], write: Write, app: Flask
) -> None:
    services = app.extensions["prodfix"]
    living = Journal(services.journal.folder)
    living.open()
    try:
        assert living.adopt() == 1
        answer = run("drain", "--timeout", "1")
    finally:
        living.close()
    assert answer.exit_code == 1
    assert answer.output.splitlines()[-1] == "0 done, 1 waiting, 0 failed in all"


def test_without_a_database_a_drain_says_so(adopt: Callable[..., Flask]) -> None:
    answer = adopt().test_cli_runner().invoke(args=["prodfix", "deferred", "drain"])
    assert (answer.exit_code, answer.output.splitlines()[-1]) == (1, "Error: MONGODB_URI is not set")


def test_help_names_the_commands() -> None:
    answer = CliRunner().invoke(backlog_cli.deferred, ["--help"])
    assert all(name in answer.output for name in ("list", "show", "replay", "discard", "drain"))
