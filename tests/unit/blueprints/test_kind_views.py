"""What a kind's page makes of its records, of whatever release they are: nothing in them is taken for granted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.pages.kind_views import (
    SHARES,
    crumbs_of,
    exact_shares,
    first_records,
    newest_stack,
    releases_of,
    sampled_shares,
)
from prodfix.blueprints.diagnostics.source_lines import Sources
from prodfix.logs.request_lines import RequestLine
from prodfix.models import RequestLog
from tests.support.kind_summaries import kind_summary

AT = datetime(2026, 11, 26, 10, 0, 5, tzinfo=UTC)
STACK = "builtins.KeyError\n  shop/views.py:3 in show"


def record(**fields: Any) -> dict[str, Any]:
    return {"timestamp": AT, "stack": STACK, "release": "b", "requestId": "r1", **fields}


def found(*records: dict[str, Any], running: str = "b") -> Any:
    return newest_stack(records, Sources([]), running, with_source=True)


def test_the_newest_record_with_a_stack_is_shown() -> None:
    stack = found(record(stack="", requestId="newer"), record(), record(requestId="older"))
    assert (stack.request_id, stack.release, stack.elsewhere) == ("r1", "b", None)
    assert found(record(stack=None), record(stack=7), record(stack="left out: too large")) is None


def test_a_record_of_another_release_than_the_one_that_runs_is_told() -> None:
    assert found(record(release="a")).elsewhere == "a"
    assert found(record(release="a"), running="").elsewhere is None
    assert found(record(release=None)).elsewhere is None


@pytest.mark.parametrize(
    "odd", [{"trail": "x"}, {"trail": [3, None]}, {"context": []}, {"context": {"timestamp": 3}}, {"release": 7}]
)
def test_what_another_release_has_written_is_no_error(odd: dict[str, Any]) -> None:
    stack = found(record(**odd))
    assert stack.commands == []
    assert stack.came == AT
    assert crumbs_of(stack, None) == []


def test_commands_and_lines_stand_in_the_order_of_time() -> None:
    trail = [
        {"operation": "find", "collection": "orders", "durationMs": 2.0, "offsetMs": 100.0},
        {"operation": "update", "collection": "orders", "durationMs": 2.0, "offsetMs": 900.0, "failed": True},
    ]
    stack = found(record(trail=trail, context={"timestamp": "2026-11-26T10:00:04.000Z"}))
    assert stack.came == AT - timedelta(seconds=1)

    def line(millis: int, level: str, message: str, event: str = "") -> RequestLine:
        return RequestLine(stack.came + timedelta(milliseconds=millis), level, event, message, "app.log")

    log = RequestLog(
        [
            line(50, "info", "came"),
            line(500, "error", "odd"),
            line(500, "error", "odd"),
            line(999, "error", "x", "error"),
        ],
        True,
    )
    crumbs = crumbs_of(stack, log)
    assert [(one.kind, one.title, one.text, one.failed) for one in crumbs] == [
        ("log", "info", "came", False),
        ("command", "find", "orders", False),
        ("log", "error", "odd", True),
        ("command", "update", "orders", True),
    ]


def test_shares_are_of_all_and_few() -> None:
    app = Flask("host")
    app.register_blueprint(diagnostics.blueprint)
    with app.test_request_context("/api/v1/diagnostics/page/groups"):
        shares = exact_shares({f"/{n}": n for n in range(1, 10)} | {"__other__": 55}, "f" * 16, "endpoint", AT)
    assert len(shares) == SHARES
    assert (shares[0].name, shares[0].part, shares[0].href) == ("__other__", 0.55, None)
    assert shares[1].href is not None
    assert "endpoint=%2F9" in shares[1].href
    assert sum(one.count for one in shares) == 100
    assert shares[-1].name == "5 others"
    with app.test_request_context("/api/v1/diagnostics/page/groups"):
        assert exact_shares({}, "f" * 16, "device", AT) == []


def test_of_kept_records_those_count_that_have_it() -> None:
    records = [record(context={"appVersion": "2.1"})] * 3 + [
        record(context={"appVersion": "2.0"}),
        record(),
        record(context=3),
    ]
    assert [(one.name, one.count, one.part) for one in sampled_shares(records, "context.appVersion")] == [
        ("2.1", 3, 0.75),
        ("2.0", 1, 0.25),
    ]
    assert sampled_shares([], "release") == []


def test_the_newest_release_comes_first() -> None:
    records = [record(release="c"), record(release="a", timestamp=AT - timedelta(hours=2)), record(release=None)]
    assert first_records(records) == {"c": AT, "a": AT - timedelta(hours=2)}
    assert releases_of(kind_summary(releases=["a", "z"]), records) == ["c", "a", "z"]
