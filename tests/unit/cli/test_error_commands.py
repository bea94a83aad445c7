"""``prodfix errors table``: every row, for eyes and for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from prodfix import Classification, Classifier, ErrorCategory
from prodfix.classification.error_types import LABELS, TYPES
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.classification.table import entries
from prodfix.classification.web_errors import STATUSES
from prodfix.cli import read_only


class Own(Exception):
    """An application's own."""


OWN = Classification(ErrorCategory.CONFLICT, 409, "OUT_OF_STOCK", "Sold out")
MEMBERS = {
    *("kind", "key", "name", "own", "category", "status", "code", "severity", "transient", "retryable", "outcome"),
}


@pytest.fixture
def run(adopt: Callable[..., Flask]) -> Callable[..., Any]:
    def invoke(*arguments: str, columns: int = 140) -> Any:
        app = adopt(Flask("host"), classifications={Own: OWN, KeyError: lambda error: OWN})
        runner = app.test_cli_runner(env={"COLUMNS": str(columns)})
        return runner.invoke(args=["prodfix", "errors", "table", *arguments])

    return invoke


def test_for_scripts_it_is_one_array_with_every_row(run: Callable[..., Any]) -> None:
    result = run("--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("type", "code", "label", "status")}
    assert sum(map(len, kinds.values())) == len(rows)
    assert {row["key"] for row in kinds["code"]} == set(SERVER_CODES)
    assert {row["key"] for row in kinds["label"]} == set(LABELS)
    assert {row["key"] for row in kinds["status"]} == set(STATUSES)
    assert len(kinds["type"]) > len(TYPES)
    assert all(set(row) - {"note"} == MEMBERS for row in kinds["code"] + kinds["status"])
    conflict = next(row for row in kinds["code"] if row["key"] == 112)
    assert conflict == {
        "kind": "code",
        "key": 112,
        "name": "WriteConflict",
        "category": "database_query",
        "status": 503,
        "code": "DATABASE_BUSY",
        "severity": "error",
        "transient": True,
        "retryable": True,
        "outcome": "not_applied",
        "own": False,
    }


def test_the_applications_own_rows_are_in_it_and_marked(run: Callable[..., Any]) -> None:
    own = [row for row in json.loads(run("--json").stdout) if row["own"]]
    assert {(row["name"], row.get("code")) for row in own} == {(f"{__name__}.Own", "OUT_OF_STOCK"), ("KeyError", None)}
    assert "KeyError *" in run("--kind", "type").stdout
    assert [row for row in entries(Classifier()) if row["own"]] == []  # the control


@pytest.mark.parametrize("columns", [100, 140])
def test_for_eyes_no_row_is_missing_or_cut(run: Callable[..., Any], columns: int) -> None:
    result = run(columns=columns)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "\u2026" not in result.stdout
    first = [line.split()[:2] for line in run("--kind", "code", columns=columns).stdout.splitlines() if line.strip()]
    for code, (name, _) in SERVER_CODES.items():
        number, shown = next(words for words in first if words[0] == str(code) and words[1:] and words[1][0].isalpha())
        assert name.startswith(shown), (number, shown)
    text = " ".join(result.stdout.split())  # a note may go on in the next line
    assert all(name in text for name in (*LABELS, "bson.errors.BSONError", "taken for the client's"))


def test_at_80_columns_no_name_is_broken(run: Callable[..., Any]) -> None:
    result = run(columns=80)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    words = set(result.stdout.split())
    for name, _ in SERVER_CODES.values():
        assert name in words
    assert "\u2026" not in result.stdout
    assert "request's body is read: 400" in " ".join(result.stdout.split())


def test_one_of_the_four_tables_alone(run: Callable[..., Any]) -> None:
    shown = run("--kind", "label").stdout
    assert "NoWritesPerformed" in shown
    assert "WriteConflict" not in shown
    assert run("--kind", "colour").exit_code == 2


@pytest.fixture
def asked(adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    app = adopt(Flask("host"))
    monkeypatch.setattr(read_only, "Stderr", lambda descriptor: read_only._Nowhere("stderr"))
    return lambda *arguments: app.test_cli_runner(env={"COLUMNS": "80"}).invoke(args=["prodfix", *arguments])


def test_a_tail_of_nothing_says_why(asked: Callable[..., Any]) -> None:
    told = asked("errors", "tail")
    assert (told.exit_code, told.stdout) == (0, "")
    assert "no record is kept" in told.stderr
    assert "errors top" in told.stderr
    assert "no record is kept" not in asked("errors", "top").stderr, "the control"


def test_whose_errors_they_are_is_said_in_words(asked: Callable[..., Any]) -> None:
    assert "(this instance, since " in asked("errors", "top").stdout
