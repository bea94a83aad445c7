"""Each kind of line is what its schema says: in prodfix's own names, in those of ECS, and in those of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from config.log_schema import kinds
from tests.support.log_kinds import DOCUMENT, every_line, kinds_in_code, problems


def test_the_schema_is_one_and_names_every_kind_that_the_code_has() -> None:
    Draft202012Validator.check_schema(DOCUMENT)
    assert kinds_in_code() == kinds()


def test_every_kind_of_line_is_as_the_schema_says(serve: Callable[..., Any], database_uri: str, tmp_path: Path) -> None:
    found = every_line(serve, database_uri, tmp_path)
    assert {line.get("event") for line in found} == {*kinds(), None}
    assert [problem for line in found for problem in problems(line)] == []
    whole = Draft202012Validator(DOCUMENT)
    assert all(map(whole.is_valid, found))  # by one kind, and one only


@pytest.mark.parametrize(
    "broken",
    [
        {"level": "loud"},
        {"timestamp": "yesterday"},
        {"requestId": 5},
        {"attempt": "first"},
        {"unknown": 1},
        {"event": "unheard-of"},
        {"spanId": "7"},
    ],
)
def test_the_control_a_line_that_is_not_is_refused(broken: dict[str, Any]) -> None:
    good = {
        "timestamp": "2026-11-29T18:00:00.000Z",
        "level": "warn",
        "severity": "warn",
        "event": "retry",
        "message": "trying again",
        "requestId": "a" * 32,
        "attempt": 1,
        "delaySeconds": 0.1,
        "error": "AutoReconnect",
    }
    assert problems(good) == []
    assert problems(good | broken)
