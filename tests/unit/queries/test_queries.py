"""Query statistics: the sum over all workers, each of them once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prodfix.journal.journal import Journal
from prodfix.operations.command_stats import CommandStats
from prodfix.queries.query_statistics import QueryStatistics


def test_a_worker_whose_file_was_made_anew_counts_with_its_newest_total_only(
    open_journal: Callable[[], Journal],
) -> None:
    before, after = open_journal(), open_journal()
    after.boot = before.boot  # the same process, whose first disk has failed
    profile = CommandStats()
    for journal in (before, after):
        profile.count("find", {"find": "notes"}, 1000, False)
        QueryStatistics(journal, profile).store()
    found = QueryStatistics(after, profile).read().to_json()
    assert (found["workers"], [row["count"] for row in found["queries"]]) == (1, [2])


def test_kinds_are_found_by_operation_and_collection_and_in_pages(journal: Journal) -> None:
    profile = CommandStats()
    for number, (operation, collection) in enumerate([("find", "a"), ("find", "b"), ("insert", "a"), ("ping", None)]):
        profile.count(operation, {operation: collection}, (number + 1) * 1000, False)
    statistics = QueryStatistics(journal, profile)
    statistics.store()

    def kinds(**asked: Any) -> list[tuple[str, str | None]]:
        return [(row["operation"], row["collection"]) for row in statistics.read(**asked).to_json()["queries"]]

    everything = [("ping", None), ("insert", "a"), ("find", "b"), ("find", "a")]
    assert kinds() == everything
    assert kinds(operation="find") == [("find", "b"), ("find", "a")]
    assert kinds(collection="a") == [("insert", "a"), ("find", "a")]
    assert kinds(operation="insert", collection="b") == []
    assert kinds(limit=3) + kinds(limit=3, offset=3) == everything
    assert statistics.read(operation="find", limit=1).total == 2
