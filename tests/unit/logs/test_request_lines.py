"""The lines of one request in the log files of this instance."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from prodfix.errors import JournalTimeout
from prodfix.logs import request_lines as module
from prodfix.logs.request_lines import RequestLines, RequestLog
from prodfix.logs.translation import SCHEMAS

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
ID = "the-request-1"


def entry(second: int, request_id: str = ID, **fields: Any) -> dict[str, Any]:
    told = {"level": "error", "event": "error", "message": "it failed", **fields}
    return {"timestamp": f"2026-11-26T12:00:{second:02}.000Z", "requestId": request_id, **told}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    def made(name: str, *entries: Any, at: float = AT.timestamp()) -> None:
        lines = [one if isinstance(one, bytes) else orjson.dumps(one) + b"\n" for one in entries]
        path = tmp_path / name
        path.write_bytes(b"".join(lines))
        os.utime(path, (at, at))

    return made


@pytest.fixture
def lines(tmp_path: Path) -> RequestLines:
    return RequestLines(tmp_path, lambda work, *given, limit: work(*given))


def found(lines: RequestLines) -> RequestLog:
    log = lines.find(ID, AT)
    assert log is not None
    return log


def test_they_are_found_in_all_files_and_stand_in_the_order_of_time(
    lines: RequestLines, write: Callable[..., None]
) -> None:
    write("error.log", entry(3), entry(4, "another-request"), entry(5, message="again"))
    write("database.log", entry(1, event="query", level="warn", message="find on notes slow"))
    write("auth.log")
    log = found(lines)
    assert [(one.at.second if one.at else None, one.level, one.event, one.message, one.file) for one in log.lines] == [
        (1, "warn", "query", "find on notes slow", "database.log"),
        (3, "error", "error", "it failed", "error.log"),
        (5, "error", "error", "again", "error.log"),
    ]
    assert log.complete


def test_lines_of_one_millisecond_stand_as_in_the_file_that_has_them_all(
    lines: RequestLines, write: Callable[..., None]
) -> None:
    first, second = entry(3, level="warn", event="query", message="slow"), entry(3)
    write("error.log", second)
    write("database.log", first)
    assert [one.event for one in found(lines).lines] == ["error", "query"], "as it is without it"
    write("service.log", first, second)
    assert [(one.event, one.file) for one in found(lines).lines] == [
        ("query", "database.log"),
        ("error", "error.log"),
    ]


@pytest.mark.parametrize("schema", ["ecs", "otel"])
def test_they_are_found_in_whatever_names_they_are_written(
    lines: RequestLines, write: Callable[..., None], schema: str
) -> None:
    translate = SCHEMAS[schema]({"name": "notes", "instance": "i-1"})
    write("error.log", translate(entry(3)), translate(entry(4, "another-request")))
    (one,) = found(lines).lines
    assert (one.at, one.level, one.event, one.message) == (AT.replace(second=3), "error", "error", "it failed")


def test_one_that_only_speaks_of_the_id_or_is_no_whole_line_is_not_the_requests(
    lines: RequestLines, write: Callable[..., None]
) -> None:
    write(
        "error.log",
        entry(1, "other-one", message=f"as {ID} said"),
        b'{"requestId": "the-request-1", "mess\n',
        b"\xff\n",
    )
    assert found(lines).lines == []
    write("error.log", entry(1))  # the control
    assert len(found(lines).lines) == 1


def test_what_was_rotated_is_searched_and_what_was_written_before_is_not(
    lines: RequestLines, write: Callable[..., None]
) -> None:
    write("error.1700000000000000000.log", entry(1), at=AT.timestamp() + 60)
    write("error.1600000000000000000.log", entry(2), at=AT.timestamp() - 60)
    write("other.log", entry(3))
    assert [one.at.second for one in found(lines).lines if one.at] == [1]


def test_what_stands_in_several_files_is_one_line(lines: RequestLines, write: Callable[..., None]) -> None:
    write("error.log", entry(1), entry(2))
    write("database.log", entry(1))
    write("service.log", entry(1), entry(2), entry(3, event="note", level="info", message="on its way"))
    assert [one.at.second for one in found(lines).lines if one.at] == [1, 2, 3]


def test_it_ends_at_its_bounds_and_says_so(
    lines: RequestLines, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("error.log", *(entry(number % 60, message=f"line {number}") for number in range(80)))
    assert len(found(lines).lines) == module.MOST_LINES
    monkeypatch.setattr(module, "OF_ONE", 1000)
    log = found(lines)
    assert 0 < len(log.lines) < 20
    assert not log.complete
    late = iter(range(100))
    slow = RequestLines(lines._folder, lambda work, *given, limit: work(*given), clock=lambda: float(next(late)))
    assert found(slow) == RequestLog([], complete=False)


def test_a_disk_that_does_not_answer_is_told_as_that(tmp_path: Path) -> None:
    def slow(*given: Any, **named: Any) -> RequestLog:
        raise JournalTimeout("slow")

    assert RequestLines(tmp_path, slow).find(ID, AT) is None
    assert found(RequestLines(tmp_path / "nowhere", lambda work, *given, limit: work(*given))).lines == []
