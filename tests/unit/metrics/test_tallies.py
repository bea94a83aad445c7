"""What a process counts: into which bucket, under which labels, and how many of these there may be."""

from __future__ import annotations

import bisect
import threading
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

from prodfix.metrics import tallies as module
from prodfix.metrics.families import DB_BOUNDS, HTTP_BOUNDS
from prodfix.metrics.measured import MeasuredInterceptor
from prodfix.metrics.tallies import Tallies
from prodfix.web.measured_layer import _kept


@given(st.lists(st.integers(0, 20_000_000), min_size=1, max_size=50))
def test_each_request_is_in_the_bucket_of_its_duration(durations: list[int]) -> None:
    tallies = Tallies()
    for micros in durations:
        tallies.request("GET", "/", 200, micros)
    (series,) = tallies.requests.values()
    wanted = [0] * (len(HTTP_BOUNDS) + 1)
    for micros in durations:
        wanted[bisect.bisect_left([bound * 1e6 for bound in HTTP_BOUNDS], micros)] += 1
    assert series == [*wanted, sum(durations)]


def test_a_bound_belongs_to_its_bucket() -> None:
    tallies = Tallies()
    tallies.command("find", "notes", 1_000)
    assert tallies.commands["find", "notes", ""][0] == 1
    tallies.command("find", "notes", 1_001)
    assert tallies.commands["find", "notes", ""][:2] == [1, 1]
    assert len(tallies.commands["find", "notes", ""]) == len(DB_BOUNDS) + 2


def test_methods_that_nobody_knows_are_one() -> None:
    tallies = Tallies()
    for method in ("GET", "PURGE", "X" * 20, "QUERY"):
        tallies.request(method, "/", 200, 1)
    assert {key[0] for key in tallies.requests} == {"GET", "_OTHER", "QUERY"}


def test_labels_are_bounded_and_nothing_is_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REQUESTS", 50)
    monkeypatch.setattr(module, "MOST_COMMANDS", 50)
    monkeypatch.setattr(module, "MOST_ERRORS", 50)
    tallies = Tallies()
    for number in range(1_000):
        tallies.request("GET", f"/{number}", 100 + number % 900, 1)
        tallies.command(f"command{number}", f"collection{number}", 1, f"{number}" if number % 2 else "")
        tallies.error(f"category{number % 7}", f"CODE_{number}")
    for table, most in ((tallies.requests, 70), (tallies.commands, 60), (tallies.errors, 60)):
        assert len(table) <= most
        assert sum(sum(series[:-1] if len(series) > 1 else series) for series in table.values()) == 1_000
    assert ("GET", "__other__", 500) in tallies.requests
    assert ("__other__", "__other__", "") in tallies.commands
    assert ("category3", "__other__") in tallies.errors


def test_threads_lose_no_count(switching: None) -> None:
    tallies = Tallies()

    def work() -> None:
        for _ in range(2_000):
            tallies.request("GET", "/", 200, 1)
            tallies.command("find", "notes", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tallies.requests["GET", "/", 200][0] == tallies.commands["find", "notes", ""][0] == 8_000


def test_a_sampled_trace_is_kept_for_its_bucket_and_no_other_is() -> None:
    tallies = Tallies()
    tallies.request("GET", "/", 200, 1, "a" * 32)
    tallies.request("GET", "/", 200, 1)
    tallies.request("GET", "/", 200, 2, "b" * 32)
    tallies.request("GET", "/", 200, 20_000_000, "c" * 32)
    marks = tallies.marks["GET", "/", 200]
    assert {place: mark[:2] for place, mark in marks.items()} == {0: ("b" * 32, 2), 14: ("c" * 32, 20_000_000)}


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("parent", "kept"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", True),
        (f"00-{TRACE}-00f067aa0ba902b7-03", True),
        (f"00-{TRACE}-00f067aa0ba902b7-00", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-00f067aa0ba902b7-0", False),
        (f"00-{TRACE}", False),
        ("", False),
    ],
)
def test_only_a_trace_that_was_brought_along_and_is_sampled_is_an_exemplar(parent: str, kept: bool) -> None:
    assert _kept(parent, TRACE) is kept


ADDRESS = ("127.0.0.1", 27017)


def ended(
    seen: MeasuredInterceptor,
    name: str,
    *,
    reply: Any = None,
    failure: Any = None,
    micros: int = 700,
    collection: str = "notes",
) -> None:
    command = {name: collection, "filter": {"email": "ada@example.org"}, "$db": "app"}
    took = timedelta(microseconds=micros)
    seen.started(CommandStartedEvent(command, "app", 1, ADDRESS, 1))
    if failure is not None:
        seen.failed(CommandFailedEvent(took, failure, name, 1, ADDRESS, 1))
    else:
        seen.succeeded(CommandSucceededEvent(took, reply or {"ok": 1.0}, name, 1, ADDRESS, 1))


def test_commands_are_counted_by_operation_collection_and_error() -> None:
    tallies = Tallies()
    seen = MeasuredInterceptor(lambda: tallies)
    ended(seen, "find")
    ended(seen, "find", micros=5_000_000)
    ended(seen, "insert", reply={"ok": 1.0, "writeErrors": [{"code": 11000, "errmsg": "dup key: ada@example.org"}]})
    ended(seen, "insert", reply={"ok": 1.0, "writeConcernError": {"code": 64}})
    ended(seen, "update", failure={"code": 112, "errmsg": "WriteConflict"})
    ended(seen, "update", failure={"errmsg": "connection closed", "errtype": "AutoReconnect"})
    ended(seen, "update", failure={"errmsg": "?", "errtype": "ada@example.org"})
    ended(seen, "ping")
    assert {key: sum(series[:-1]) for key, series in tallies.commands.items()} == {
        ("find", "notes", ""): 2,
        ("insert", "notes", "11000"): 1,
        ("insert", "notes", "64"): 1,
        ("update", "notes", "112"): 1,
        ("update", "notes", "AutoReconnect"): 1,
        ("update", "notes", "_OTHER"): 1,
    }
    assert seen.errors == 0
    assert seen.command_stats.commands == 7, "it counts for the statistics of queries as well"


def test_a_collection_that_is_named_by_a_users_address_is_no_label() -> None:
    tallies = Tallies()
    seen = MeasuredInterceptor(lambda: tallies)
    ended(seen, "find", collection="inbox ada@example.org")
    ended(seen, "find", collection="inbox eve@example.org", failure={"code": 112})
    assert {key: sum(series[:-1]) for key, series in tallies.commands.items()} == {
        ("find", "inbox ***", ""): 1,
        ("find", "inbox ***", "112"): 1,
    }


def test_a_command_of_an_application_that_is_gone_is_passed_over() -> None:
    seen = MeasuredInterceptor(lambda: None)
    ended(seen, "find")
    ended(seen, "find", failure={"code": 1})
    assert seen.errors == 0
