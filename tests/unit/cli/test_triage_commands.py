"""``prodfix errors resolve|reopen|ignore|note``: what is decided on the command line, and that it is written down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from prodfix.checked_record import SecretStr
from prodfix.journal.journal import Journal
from prodfix.statistics.groups import ERROR_GROUPS
from tests.support.counting_worker import Clock, Worker

FINGERPRINT = "0123456789abcdef"


@pytest.fixture
def group(database: Any) -> Callable[[], dict[str, Any]]:
    now = datetime.now(UTC)
    known = {"title": "KeyError in views.py:show", "category": "unknown", "firstSeen": now, "lastSeen": now}
    database[ERROR_GROUPS].insert_one({"_id": FINGERPRINT, "releases": [], **known})
    return lambda: dict(database[ERROR_GROUPS].find_one({"_id": FINGERPRINT}) or {})


@pytest.fixture
def run(adopt: Callable[..., Flask], database_uri: str, tmp_path: Path) -> Callable[..., Any]:
    def invoke(*arguments: str, uri: str | None = None) -> Any:
        app = adopt(mongodb_uri=SecretStr(uri or database_uri), log_dir=tmp_path / "log", state_dir=tmp_path / "state")
        return app.test_cli_runner().invoke(args=["prodfix", "errors", *arguments])

    return invoke


def audited(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log" / "auth.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == "audit"]


def test_each_of_them_changes_the_group_and_leaves_a_line_of_who_it_was(
    run: Callable[..., Any], group: Callable[[], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    assert run("ignore", FINGERPRINT, "--until", "7d").output == f"{FINGERPRINT} is ignored\n"
    until = group()["ignored"]["until"]
    assert abs(until - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)
    assert json.loads(run("note", FINGERPRINT, "the till", "--owner", "ben", "--json").output) == {"changed": True}
    assert (group()["note"]["text"], group()["note"]["by"], group()["owner"]) == (
        "the till",
        "command line (ann)",
        "ben",
    )
    assert run("resolve", FINGERPRINT, "--in-next-release").exit_code == 0
    assert (group()["ignored"], group()["resolvedBy"]) == (None, "command line (ann)")
    assert run("reopen", FINGERPRINT).exit_code == 0
    assert "resolvedBy" not in group()
    told = [(line["endpoint"], line["userId"], line["fingerprint"], line["result"]) for line in audited(tmp_path)]
    names = ("errors ignore", "errors note", "errors resolve", "errors reopen")
    assert told == [(name, "command line (ann)", FINGERPRINT, "changed") for name in names]


def test_the_line_of_an_audit_is_not_on_the_terminal(
    serve: Callable[..., Any], database_uri: str, group: Callable[[], dict[str, Any]], tmp_path: Path, capfd: Any
) -> None:
    app = serve(mongodb_uri=SecretStr(database_uri))
    found = app.test_cli_runner().invoke(args=["prodfix", "errors", "ignore", FINGERPRINT])
    assert found.output == f"{FINGERPRINT} is ignored\n"
    assert "audit" not in capfd.readouterr().err
    assert [line["result"] for line in audited(tmp_path)] == ["changed"]


def test_what_cannot_be_done_is_said_and_audited_too(
    run: Callable[..., Any], group: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    unknown = run("resolve", "f" * 16)
    assert (unknown.exit_code, "has this fingerprint" in unknown.output) == (1, True)
    assert run("ignore", FINGERPRINT, "--until", "2000-01-01").exit_code == 1
    assert run("note", FINGERPRINT).exit_code == 1
    away = run("resolve", FINGERPRINT, uri="mongodb://127.0.0.1:1/nothing?serverSelectionTimeoutMS=50")
    assert (away.exit_code, "nothing was changed" in away.output) == (1, True)
    assert [line["result"] for line in audited(tmp_path)] == ["not found", "failed", "failed", "failed"]
    assert group()["title"]
    assert not {"note", "ignored", "resolvedBy"} & set(group())


@pytest.mark.parametrize(
    "arguments",
    [
        ("resolve", "nonsense"),
        ("resolve", "../../etc"),
        ("ignore", FINGERPRINT, "--until", "soon"),
        ("ignore", FINGERPRINT, "--until", "0d"),
    ],
)
def test_nonsense_is_refused_before_anything_is_asked(
    run: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert run(*arguments).exit_code == 2
    assert not (tmp_path / "log" / "auth.log").exists()


def test_while_mongodb_is_away_it_is_kept_on_disk_and_said_so(
    run: Callable[..., Any], group: Callable[[], dict[str, Any]], tmp_path: Path, database: Any
) -> None:
    journal = Journal(tmp_path / "state" / "journal")
    journal.open()
    worker = Worker(journal, Clock(time.time()), None)
    worker.error(FINGERPRINT)
    nowhere = "mongodb://127.0.0.1:1/test?serverSelectionTimeoutMS=100"
    told = run("ignore", FINGERPRINT, "--more", "100", uri=nowhere)
    assert (told.exit_code, f"{FINGERPRINT} is ignored, as soon as MongoDB answers" in told.output) == (0, True)
    told = run("note", FINGERPRINT, "--link", "https://example.org/5", "--json", uri=nowhere)
    assert json.loads(told.stdout) == {"changed": True, "pending": True}
    assert [line["result"] for line in audited(tmp_path)] == ["pending", "pending"]
    assert "ignored" not in group()  # the control
    assert worker.triage.apply(database) == 2
    assert (group()["ignored"]["more"], group()["link"]) == (100, "https://example.org/5")
    shown = run("top", "--q", FINGERPRINT, "--sort", "newest", "--json")
    assert [one["fingerprint"] for one in json.loads(shown.stdout)["groups"]] == [FINGERPRINT]
    assert json.loads(run("top", "--q", "nothing", "--json").stdout)["groups"] == []
    journal.close()


def test_only_one_end_can_be_asked_for(run: Callable[..., Any], group: Callable[[], dict[str, Any]]) -> None:
    told = run("ignore", FINGERPRINT, "--more", "5", "--escalates")
    assert (told.exit_code, "only one of" in told.output) == (1, True)
    assert run("ignore", FINGERPRINT, "--escalates").exit_code == 0
    assert group()["ignored"]["escalates"] is True
    assert run("note", FINGERPRINT, "--link", "ftp://example.org").exit_code == 1
