"""``flask prodfix deferred`` without workers: what it prints, and what it says when nobody can obey."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from pydantic import SecretStr

from prodfix import Write
from prodfix.cli import deferred_commands as backlog_cli
from prodfix.deferral.operation_status import OPERATIONS
from prodfix.journal.journal import Journal
from prodfix.serialization import to_json
from tests.support.deferred_notes import steps

CANARY = "ada.canary@example.org"


@pytest.fixture
def app(adopt: Callable[..., Flask], database_uri: str) -> Flask:
    app = adopt(mongodb_uri=SecretStr(database_uri))
    app.extensions["prodfix"].deferral.queue.register("note", steps)
    return app


@pytest.fixture
def write(app: Flask) -> Write:
    """Waits in the file of a worker that is dead."""
    services = app.extensions["prodfix"]
    services.runtime.journal.open()
    kept = Write("note", {"text": CANARY})
    services.deferral.queue.put(kept)
    services.runtime.journal.close()
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
    assert app.extensions["prodfix"].deferral.admin.waiting() == 0


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
    living = Journal(services.runtime.journal.folder)
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
    assert (answer.exit_code, answer.output.splitlines()[-1]) == (1, "Error: PRODFIX_MONGODB_URI is not set")


def test_help_names_the_commands() -> None:
    answer = CliRunner().invoke(backlog_cli.deferred, ["--help"])
    assert all(name in answer.output for name in ("list", "show", "replay", "discard", "drain"))


# -- salvage ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(app: Flask, write: Write) -> Path:
    """What a worker has put aside, of which nobody has taken anything."""
    folder = app.extensions["prodfix"].runtime.journal.folder
    (path,) = folder.glob("*.db")
    content = bytearray(path.read_bytes())
    content[:200] = bytes(200)
    path.write_bytes(content)
    path.with_suffix(".lock").unlink()
    aside: Path = path.rename(path.with_suffix(".corrupt-17"))
    return aside


def test_a_damaged_file_is_looked_into_and_nothing_is_changed(
    run: Callable[..., Result], damaged: Path, write: Write
) -> None:
    before = {path: path.stat().st_mtime_ns for path in damaged.parent.iterdir()}
    for name in (str(damaged), damaged.name):
        told = run("salvage", name)
        assert told.exit_code == 0, told.output
        assert told.output.splitlines() == [
            "whole rows: 1 writes",
            "gone: none",
            "nobody else has: 1 waiting, 0 failed",
            "--apply hands them over",
        ]
    assert {path: path.stat().st_mtime_ns for path in damaged.parent.iterdir()} == before
    told = orjson.loads(run("salvage", damaged.name, "--json").output)
    assert (told["found"], told["waiting"], told["handedOver"], told["askedDatabase"]) == ({"writes": 1}, 1, None, True)
    assert run("salvage", "no-such-file").output == "Error: there is no such file\n"


def test_what_is_whole_is_handed_over_to_a_worker_and_applied_once(
    run: Callable[..., Result], damaged: Path, database: Any, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_cli, "OBEYED", 0.01)
    told = run("salvage", damaged.name, "--apply")
    assert "no worker has taken them yet" in told.output, told.output
    assert run("list").output.startswith("1 waiting")
    assert "nobody else has: 0 waiting" in run("salvage", damaged.name).output, "they are on their way"
    assert run("drain").exit_code == 0
    assert [document["text"] for document in database.notes.find()] == [CANARY]
    again = run("salvage", damaged.name, "--apply")
    assert again.output.splitlines()[-1] == "nobody else has: 0 waiting, 0 failed"
    (order,) = to_json(app.extensions["prodfix"].deferral.backlog.orders(damaged.name))
    assert (order["command"], order["result"]) == ("salvage", "1 waiting and 0 failed handed over")
    assert order["by"].startswith("command line")
    assert damaged.exists()


def test_what_mongodb_knows_to_have_ended_is_not_handed_over(
    run: Callable[..., Result], damaged: Path, write: Write, app: Flask
) -> None:
    services = app.extensions["prodfix"]
    document = {"_id": write.id, "state": "applied"}
    services.database.clients.own_db[OPERATIONS].insert_one(document)
    assert "nobody else has: 0 waiting" in run("salvage", damaged.name).output
    services.database.clients.own_db[OPERATIONS].delete_one({"_id": write.id})
    assert "nobody else has: 1 waiting" in run("salvage", damaged.name).output, "the control"


def test_a_living_workers_file_is_not_touched(run: Callable[..., Result], app: Flask) -> None:
    living = Journal(app.extensions["prodfix"].runtime.journal.folder)
    living.open()
    try:
        (path,) = living.folder.glob("*.db")
        for options in ([], ["--apply"]):
            answer = run("salvage", path.name, *options)
            assert (answer.exit_code, "its worker lives" in answer.output) == (1, True)
    finally:
        living.close()


def test_journals_of_another_version_are_part_of_what_waits_with_a_sentence(
    run: Callable[..., Result], write: Write, app: Flask
) -> None:
    folder = app.extensions["prodfix"].runtime.journal.folder
    (path,) = folder.glob("*.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=9")
    listed = run("list").output.splitlines()
    assert listed[0].startswith("1 waiting")
    assert listed[1].startswith("1 of those that wait are in 1 journal of another version of prodfix")
    found = app.extensions["prodfix"].deferral.status.status(write.id)
    assert (found.state, found.reason, found.operation) == ("waiting", "OTHER_VERSION", "note")
    begun = time.monotonic()
    drained = run("drain")
    assert (drained.exit_code, time.monotonic() - begun < 30) == (0, True), "and no drain waits for them"


# -- all that are alike -----------------------------------------------------------------------------------------------------


@pytest.fixture
def letters(app: Flask) -> Iterator[Journal]:
    """Three that were put aside for one reason, and one for another, in the file of a worker that lives."""
    journal: Journal = app.extensions["prodfix"].runtime.journal
    journal.open()
    columns = "id, operation, key, entry, attempts, created, reason, facts, at"
    sql = f"INSERT INTO dead ({columns}) VALUES (?, 'note', '', x'0500000000', 1, 0, ?, '{{}}', 0)"
    reasons = ("EXPIRED", "EXPIRED", "REJECTED", "EXPIRED")
    journal.write([(sql, (f"{number:024x}", reason)) for number, reason in enumerate(reasons)])
    yield journal
    journal.close()


@pytest.fixture
def obeying(app: Flask, letters: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker looks whenever the command does."""
    orders = app.extensions["prodfix"].deferral.backlog._orders
    monkeypatch.setattr(time, "sleep", lambda seconds: orders.obey())


def _reasons(journal: Journal) -> list[str]:
    return sorted(reason for (reason,) in journal.read("SELECT reason FROM dead"))


def test_all_that_are_alike_are_discarded_after_a_question(
    run: Callable[..., Result], letters: Journal, obeying: None
) -> None:
    asked = run("discard", "--operation", "note", "--reason", "EXPIRED", input="n\n")
    assert asked.exit_code == 1
    assert "3 writes (note, EXPIRED, failed) were accepted from a client. Discard?" in asked.stderr
    assert len(_reasons(letters)) == 4
    done = run("discard", "--operation", "note", "--reason", "EXPIRED", "--yes")
    assert (done.exit_code, done.stdout) == (0, "3 ordered\n"), done.output
    assert _reasons(letters) == ["REJECTED"]


def test_all_that_are_alike_are_tried_again_call_by_call(
    run: Callable[..., Result], letters: Journal, obeying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prodfix.deferral.backlog_groups.MOST_AT_ONCE", 2)
    done = run("replay", "--operation", "note", "--json")
    assert (done.exit_code, orjson.loads(done.stdout)["ordered"], orjson.loads(done.stdout)["left"]) == (0, 4, 0)
    assert _reasons(letters) == []


def test_nobody_obeys_and_it_says_so(
    run: Callable[..., Result], letters: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prodfix.cli.deferred_alike.OBEYED", 0.05)
    monkeypatch.setattr("prodfix.cli.deferred_alike.LOOK", 0.01)
    done = run("replay", "--operation", "note")
    assert (done.exit_code, done.stdout) == (1, "4 ordered, 4 are not done yet\n")
    assert "does the service run" in done.stderr


@pytest.mark.parametrize(
    "wrong", [[], ["0" * 24, "--operation", "note"], ["0" * 24, "--reason", "EXPIRED"], ["--reason", "EXPIRED"]]
)
def test_one_or_all_that_are_alike_and_not_both(run: Callable[..., Result], letters: Journal, wrong: list[str]) -> None:
    for command in ("replay", "discard"):
        assert run(command, *wrong).exit_code == 2
    assert len(_reasons(letters)) == 4
