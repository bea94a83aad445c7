"""The tables of the commands that read, on a terminal of 80 columns, with long data: no word in them is broken, no ID cut."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from prodfix.cli import alert_commands, health_command, incident_commands, query_commands, request_commands
from prodfix.cli import runtime_commands as runtime
from prodfix.cli.error_commands import _table_of
from prodfix.cli.fitted_table import LINES, FittedTable
from prodfix.cli.health_command import DatabaseHealth, HealthReport, PoolUse, WorkerHealth
from prodfix.cli.kind_table import kind_table
from prodfix.cli.read_only import brief_time
from tests.unit.cli.test_kind_table import KIND

NOW = datetime.now(UTC)
WORD = "x" * 130
SAID = f"The shelf {WORD} holds nothing that anybody could have ordered. " * 9
REQUEST = "0123456789abcdef0123456789abcdef"
INCIDENT = "0123456789abcdef0123456789abcdef:database_lost:1796000000000"
WORKER = "4711-3f2a9c1d5e6f7a8b"
NARROW, WIDE = 80, 400


def record(**changed: Any) -> Any:
    told = {
        "request_id": REQUEST,
        "timestamp": NOW,
        "status": 500,
        "endpoint": "/api/v1/warehouses/<warehouse_id>/shelves",
    }
    return SimpleNamespace(**{**told, "device_type": "unknown", "message": SAID, **changed})


def kinds() -> None:
    shown = replace(KIND, headline=f"KeyError: {SAID}", place="blueprints/warehouses.py:total_of_all_the_shelves")
    Console(highlight=False).print(kind_table([shown, KIND], NARROW))


def errors_show() -> None:
    Console(highlight=False).print(_table_of([record(), record(message="Sold out", endpoint=None)]))


def incidents() -> None:
    told = {"id": INCIDENT, "from_": NOW, "seconds": 123456.0, "cause": "database_lost", "status": "closed"}
    counts = dict.fromkeys(("failed", "retried", "deferred", "replayed"), 1_234_567)
    stored = {**told, **counts, "id": "6b04b5b15a6ac5fe35860f00"}
    incident_commands._draw([SimpleNamespace(**told, **counts), SimpleNamespace(**stored)])  # type: ignore[list-item]


def health() -> None:
    pool = PoolUse(100, 3, 97, 12, 100)
    one = WorkerHealth(WORKER, 4711, "connected", 3.0, "ServerSelectionTimeoutError", pool, "closed", None, 123.4, 12.3)
    lost = replace(one, state="disconnected", breaker="half_open", journal="DiskFull")
    health_command._draw(HealthReport(False, DatabaseHealth(False, None, "AutoReconnect"), (one, lost)))


def alarms() -> None:
    one = SimpleNamespace(since=NOW, severity="critical", title=SAID, told="by another instance", first=None, facts={})
    alert_commands._draw_alarms([one])  # type: ignore[list-item]


def alerts() -> None:
    channel = SimpleNamespace(channel="pagerduty #1", state="delivered", reason="not_started")
    alert_commands._draw_alerts([SimpleNamespace(at=NOW, title=SAID, channels=[channel] * 3)])  # type: ignore[list-item]


def queries() -> None:
    advice = SimpleNamespace(plan="COLLSCAN", index=(("warehouse", 1), ("shelf", -1)))
    told = {"operation": "aggregate", "collection": WORD, "fields": ["warehouse", "shelf"], "count": 1_234_567}
    figures = dict.fromkeys(("total_ms", "p50_ms", "p95_ms", "p99_ms"), 123_456.7)
    query_commands._draw([SimpleNamespace(**told, **figures, errors=123_456, advice=[advice])])  # type: ignore[list-item]


def request() -> None:
    one = SimpleNamespace(operation="findAndModify", collection=WORD, duration_ms=12345.6, failed=True)
    request_commands._draw_commands([one])  # type: ignore[list-item]


def log_levels() -> None:
    one = SimpleNamespace(logger="warehouses.shelves.stock", level="debug", until=NOW, by="command line (ann-marie)")
    runtime._tell(SimpleNamespace(levels=[one]))  # type: ignore[arg-type]


READ = [kinds, errors_show, incidents, health, alarms, alerts, queries, request, log_levels]
IDS: dict[Callable[[], None], tuple[str, ...]] = {
    kinds: (KIND.fingerprint,),
    errors_show: (REQUEST,),
    incidents: (INCIDENT, "6b04b5b15a6ac5fe35860f00"),
    health: (WORKER,),
    log_levels: ("warehouses.shelves.stock",),
}


@pytest.mark.parametrize("show", READ, ids=lambda show: show.__name__)
def test_at_80_columns_no_word_is_broken_and_each_id_is_whole(
    show: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells: set[str] = {"left", "out,", "as", "this", "terminal", "is", "narrow:", "(--json", "has", "all)"}
    added = FittedTable.add_row

    def add_row(self: FittedTable, *row: Text) -> None:
        cells.update(word for cell in (*map(Text, self.headers), *row) for word in cell.plain.split())
        added(self, *row)

    monkeypatch.setattr(FittedTable, "add_row", add_row)
    monkeypatch.setenv("COLUMNS", str(NARROW))
    show()
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if not line.startswith("database:")]
    assert max(map(len, table)) <= NARROW
    named = {word.rstrip(",") for word in cells} | cells
    for line in table:
        for word in line.split():
            known = word in named or word.rstrip(",") in named
            cut = word.endswith("…") and any(one.startswith(word[:-1]) for one in cells)
            assert known or cut, (word, line)
    for identity in IDS.get(show, ()):
        assert identity in "\n".join(table).split()


def drawn(width: int, **which: Any) -> list[str]:
    table = FittedTable(("id", "a", "b", "text"), ids=("id",), prose=("text",), **which)
    table.add_row(Text("0123456789"), Text("alpha"), Text("betabeta"), Text("some words that go on"))
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(table)
    return out.getvalue().splitlines()


def test_columns_go_in_their_order_and_it_is_said() -> None:
    spare = ("b", "a")
    assert drawn(60, spare=spare)[0].split() == ["id", "a", "b", "text"]
    assert drawn(27, spare=spare)[0].split() == ["id", "a", "text"]
    assert "left out" in " ".join(drawn(27, spare=spare))
    assert drawn(18, spare=spare)[0].split() == ["id", "text"]
    assert "left out" not in " ".join(drawn(60, spare=spare))


def test_where_nothing_more_can_go_the_id_has_a_line_of_its_own() -> None:
    lines = drawn(26)
    assert [line.split() for line in lines[:4]] == [
        ["id"],
        ["a", "b", "text"],
        ["0123456789"],
        ["alpha", "betabeta", "some"],
    ]


def test_a_long_text_ends_after_some_lines() -> None:
    table = FittedTable(("text",), prose=("text",))
    table.add_row(Text("word " * 200))
    out = io.StringIO()
    Console(file=out, width=30).print(table)
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + LINES
    assert lines[-1].endswith("…")


def test_an_error_that_is_over_does_not_stand_beside_a_healthy_worker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDE))
    health()
    healthy, lost = [line for line in capsys.readouterr().out.splitlines() if line.startswith(WORKER)]
    assert "ServerSelectionTimeoutError" not in healthy
    assert "ServerSelectionTimeoutError" in lost  # the control


def test_a_time_of_a_table_has_its_year_only_where_it_is_another() -> None:
    assert brief_time(NOW) == f"{NOW:%m-%d %H:%M:%S}"
    old = NOW - timedelta(days=400)
    assert brief_time(old) == f"{old:%Y-%m-%d %H:%M:%S}"
    assert brief_time(None) == ""
