"""Query statistics: the sum over all workers, each of them once."""

from __future__ import annotations

from collections.abc import Callable

from prodfix.fingerprints import CommandKey
from prodfix.journal.journal import Journal
from prodfix.profile import Profile
from prodfix.queries.queries import QueryStatistics


def test_a_worker_whose_file_was_made_anew_counts_with_its_newest_total_only(
    open_journal: Callable[[], Journal],
) -> None:
    before, after = open_journal(), open_journal()
    after.boot = before.boot  # the same process, whose first disk has failed
    profile = Profile()
    for journal in (before, after):
        profile.add(CommandKey("find", "notes", ()), 1000, failed=False)
        QueryStatistics(journal, profile).store()
    found = QueryStatistics(after, profile).read()
    assert (found["workers"], [row["count"] for row in found["queries"]]) == (1, [2])
