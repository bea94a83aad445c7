"""Groups: what is known of one kind of error, resolved, and back again."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from prodfix.statistics import groups as module
from prodfix.statistics import known_groups
from prodfix.statistics.counts import OTHER, RELEASES, Seen
from prodfix.statistics.group_list import GroupFilter
from prodfix.statistics.groups import ERROR_GROUPS, Group, Groups
from prodfix.statistics.windows import Counted, Window
from tests.support.counting_worker import Clock, Worker, kind

NOW = datetime.now(UTC).replace(microsecond=0).timestamp()


@pytest.fixture
def clock() -> Clock:
    # The time that it is: whoever resolves a group does so by the real clock.
    return Clock(NOW - 3600)


@pytest.fixture
def stored(worker: Worker, database: Any) -> Worker:
    worker.database = database
    return worker


def seen_at(at: float, *releases: str, fingerprint: str = "f1", count: int = 1) -> Counted:
    row = [*kind(fingerprint), count, at, at, list(releases)]
    return Counted("w", int(at // 60), 1, 0, [row], {})


def group(worker: Worker, fingerprint: str = "f1", time_range: Any = "24h") -> Group:
    answer = worker.statistics.read(time_range)
    (found,) = [one for one in worker.groups.page(answer.window)[0] if one.fingerprint == fingerprint]
    return found


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_group_is_what_has_one_fingerprint(stored: Worker, clock: Clock) -> None:
    begun = clock.now
    stored.error(times=2)
    clock.now += 90
    stored.error(device="desktop", endpoint="/notes")
    stored.error("f2", category="timeout")
    stored.store()
    found = group(stored).to_json()
    assert found == {
        "fingerprint": "f1",
        "message": "title of f1",
        "headline": "title of f1",
        "place": "",
        "code": "",
        "category": "unknown",
        "count": 3,
        "trend": found["trend"],
        "users": None,
        "usersExact": False,
        "firstSeen": iso(begun),
        "lastSeen": iso(begun + 90),
        "releases": ["v1"],
        "devices": {"mobile": 2, "desktop": 1},
        "endpoints": {"/": 2, "/notes": 1},
        "badges": ["new"],
        "status": "open",
        "resolvedBy": None,
        "resolvedAt": None,
        "ignored": None,
        "note": None,
        "owner": None,
        "link": None,
        "escalation": None,
        "pending": False,
    }
    assert (sum(found["trend"]), len(found["trend"])) == (3, 24)
    assert [one.fingerprint for one in stored.groups.page(stored.statistics.read("24h").window)[0]] == ["f1", "f2"]


def test_it_was_first_seen_before_the_window_and_counts_what_is_in_it(stored: Worker, clock: Clock) -> None:
    clock.now -= 6 * 3600
    begun = clock.now
    stored.error(times=5)
    stored.store()
    clock.now += 6 * 3600
    stored.error(times=2)
    stored.store()
    found = group(stored, time_range="1h").to_json()
    assert (found["count"], found["firstSeen"], found["lastSeen"]) == (2, iso(begun), iso(clock.now))
    assert group(stored).count == 7


def test_releases_are_bounded_and_the_latest_stay(stored: Worker, database: Any) -> None:
    for number in range(RELEASES + 5):
        stored.groups.store(database, [seen_at(NOW + number, f"v{number:02}")])
    (document,) = database[ERROR_GROUPS].find()
    assert document["releases"] == [f"v{number:02}" for number in range(5, RELEASES + 5)]


def test_storing_again_in_any_order_changes_nothing(database: Any) -> None:
    parts = [seen_at(NOW + number, f"v{number % 3}") for number in range(6)]
    whole: list[Any] = []
    for seed in range(4):
        for one in random.Random(seed).choices(parts, k=20) + parts:
            Groups(lambda: database).store(database, [one])  # a worker that remembers nothing
        (document,) = database[ERROR_GROUPS].find()
        whole.append(document | {"releases": sorted(document["releases"])})
    assert whole == whole[:1] * 4
    assert (whole[0]["firstSeen"].timestamp(), whole[0]["lastSeen"].timestamp()) == (NOW, NOW + 5)
    assert whole[0]["releases"] == ["v0", "v1", "v2"]


def test_what_is_known_is_not_written_again(connect: Callable[..., Any], commands: Any) -> None:
    database = connect(event_listeners=[commands]).get_default_database()
    groups = Groups(lambda: database)
    counts = []
    for minute in (seen_at(NOW, "v1"), seen_at(NOW, "v1"), seen_at(NOW + 1, "v1"), seen_at(NOW - 9, "v1")):
        commands.names.clear()
        groups.store(database, [minute])
        counts.append(bool(commands.names))
    assert counts == [True, False, True, True]
    (document,) = database[ERROR_GROUPS].find()
    assert document["firstSeen"].timestamp() == NOW - 9  # a dead worker had seen it before us


def test_a_worker_asks_once_for_all_kinds_and_not_for_each(connect: Callable[..., Any], commands: Any) -> None:
    database = connect(event_listeners=[commands]).get_default_database()
    groups = Groups(lambda: database)
    groups.store(database, [seen_at(NOW, "v1", fingerprint=f"f{number}") for number in range(50)])
    assert commands.names == ["update", "findAndModify", "find"]  # when there was a first one is asked once
    assert database[ERROR_GROUPS].count_documents({}) == 50


def test_what_a_worker_remembers_is_bounded(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN", 3)
    groups = Groups(lambda: database)
    for number in range(8):
        groups.store(database, [seen_at(NOW, fingerprint=f"f{number}")])
        assert len(groups._known) <= 3
    assert database[ERROR_GROUPS].count_documents({}) == 8


# -- resolved, and back -----------------------------------------------------------------------------------------------


def test_a_resolved_group_that_comes_back_is_a_regression_told_once(stored: Worker, clock: Clock) -> None:
    stored.error()
    stored.store()
    assert stored.triage.resolve("f1", Window(), by="admin")
    assert group(stored).status == "resolved"
    stored.store()
    assert stored.told == []
    clock.now = NOW + 3600
    for _ in range(3):
        stored.error()
        stored.store()
        clock.now += 60
    at = datetime.fromtimestamp(NOW + 3600, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts = {"code": "", "category": "unknown", "releases": ["v1"], "at": at}
    assert stored.told == [{"fingerprint": "f1", "message": "title of f1", **facts}]
    assert group(stored).status == "regressed"


def test_it_is_told_again_when_it_was_resolved_again(stored: Worker, clock: Clock) -> None:
    clock.now = NOW + 3600
    for times in (0, 1, 2):
        stored.error()
        stored.store()
        assert len(stored.told) == times
        stored.triage.resolve("f1", Window(), by="admin")
        clock.now += 60


def test_errors_before_it_was_resolved_are_no_regression(stored: Worker, clock: Clock, database: Any) -> None:
    stored.error()
    stored.store()
    stored.triage.resolve("f1", Window(), by="admin")
    stored.error()  # an hour ago, and heard of only now
    stored.store()
    Groups(lambda: database, on_regression=stored.told.append).store(database, [seen_at(NOW - 60, "v1")])
    assert (stored.told, group(stored).status) == ([], "resolved")


def test_of_many_workers_that_see_it_one_tells(make_worker: Callable[..., Worker], database: Any) -> None:
    workers = [make_worker(database, release=f"v{number}") for number in range(8)]
    workers[0].error()
    workers[0].store()
    for _ in range(3):
        for worker in workers:
            worker.told.clear()
        workers[0].triage.resolve("f1", Window(), by="admin")
        workers[0].clock.now = datetime.now(UTC).timestamp() + 60
        for worker in workers:
            worker.error()
        with ThreadPoolExecutor(8) as pool:
            for task in [pool.submit(worker.store) for worker in workers]:
                task.result(30)
        assert [len(worker.told) for worker in workers].count(1) == 1
        assert sum(len(worker.told) for worker in workers) == 1


def test_resolved_in_the_next_release_ignores_the_old_ones(stored: Worker, database: Any) -> None:
    for release in ("v1", "v2"):
        stored.groups.store(database, [seen_at(NOW - 60, release)])
    assert stored.triage.resolve("f1", Window(), by="admin", in_next_release=True)
    for release in ("v1", "v2"):
        stored.groups.store(database, [seen_at(NOW + 3600, release)])
    assert stored.told == []
    stored.groups.store(database, [seen_at(NOW + 3601, "v3")])
    assert [one["releases"] for one in stored.told] == [["v3"]]


def test_resolved_at_once_does_not(stored: Worker, database: Any) -> None:
    # The control of the test above.
    stored.groups.store(database, [seen_at(NOW - 60, "v1")])
    stored.triage.resolve("f1", Window(), by="admin")
    stored.groups.store(database, [seen_at(NOW + 3600, "v1")])
    assert [one["releases"] for one in stored.told] == [["v1"]]


def test_a_group_can_be_opened_again(stored: Worker, clock: Clock, database: Any) -> None:
    stored.error()
    stored.store()
    stored.triage.resolve("f1", Window(), by="admin")
    assert stored.triage.reopen("f1")
    assert group(stored).status == "open"
    clock.now = NOW + 3600
    stored.error()
    stored.store()
    assert stored.told == []
    (document,) = database[ERROR_GROUPS].find()
    assert not {"resolvedAt", "resolvedBy", "regressedAt", "resolvedReleases"} & set(document)


def test_there_is_nothing_to_resolve_or_reopen_in_what_is_not_there(stored: Worker, database: Any) -> None:
    assert not stored.triage.resolve("f1", Window(), by="admin")
    assert not stored.triage.reopen("f1")
    assert database[ERROR_GROUPS].count_documents({}) == 0


@pytest.mark.parametrize("by", ["$title", "$$NOW", "admin@example.org"])
def test_whoever_resolves_it_is_named_as_he_is(stored: Worker, database: Any, by: str) -> None:
    stored.error()
    stored.store()
    stored.triage.resolve("f1", Window(), by=by)
    assert database[ERROR_GROUPS].distinct("resolvedBy") == [by]


# -- what MongoDB cannot tell -----------------------------------------------------------------------------------------


def test_while_mongodb_is_away_the_status_is_unknown_and_the_rest_is_told(
    stored: Worker, database: Any, nowhere: Any
) -> None:
    stored.error(times=2)
    for answering, status in ((None, "unknown"), (nowhere.get_default_database(), "unknown"), (database, "open")):
        stored.database = answering
        found = group(stored)
        assert (found.count, found.status) == (2, status)
    for answering in (None, nowhere.get_default_database()):
        stored.database = answering
        with pytest.raises(ServerSelectionTimeoutError):
            stored.triage.resolve("f1", Window(), by="admin")  # of which this instance knows nothing


def test_what_the_server_refuses_is_raised_and_comes_again(stored: Worker, database: Any, fail: Any) -> None:
    stored.error()
    fail("update", errorCode=8000)
    with pytest.raises(PyMongoError):
        stored.groups.store(database, [seen_at(NOW, "v1")])
    fail.off()
    stored.groups.store(database, [seen_at(NOW, "v1")])
    assert database[ERROR_GROUPS].count_documents({}) == 1


def test_a_regression_that_could_not_be_seen_is_seen_with_the_next_try(
    stored: Worker, clock: Clock, database: Any, fail: Any
) -> None:
    stored.error()
    stored.store()
    stored.triage.resolve("f1", Window(), by="admin")
    clock.now = NOW + 3600
    stored.error()
    fail("findAndModify", errorCode=8000)
    with pytest.raises(PyMongoError):
        stored.store()
    fail.off()
    stored.store()
    assert len(stored.told) == 1


def test_errors_beyond_the_bound_are_no_kind(stored: Worker, database: Any) -> None:
    stored.error(OTHER)
    stored.store()
    assert database[ERROR_GROUPS].count_documents({}) == 0
    window = stored.statistics.read("1h").window
    assert (stored.groups.page(window), stored.groups.find(OTHER, window)) == (([], 0), None)
    stored.error("f1")
    window = stored.statistics.read("1h").window
    assert [one.fingerprint for one in stored.groups.page(window)[0]] == ["f1"], "the control"


def test_an_answer_has_the_most_frequent_groups_and_no_more(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_groups, "MOST", 20)
    for number in range(30):
        worker.counters.error(kind(f"{number:03}"))
    worker.error("often", times=2)
    found, total = worker.groups.page(worker.statistics.read("24h").window)
    assert (len(found), total, found[0].fingerprint, found[0].count) == (20, 20, "often", 2)


def test_pages_of_groups_have_each_group_once(stored: Worker) -> None:
    for number in range(5):
        stored.error(f"g{number}", times=number + 1, category="timeout" if number % 2 else "unknown")
    window = stored.statistics.read("24h").window
    pages = [stored.groups.page(window, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [one.fingerprint for found, _ in pages for one in found] == ["g4", "g3", "g2", "g1", "g0"]
    assert {total for _, total in pages} == {5}
    found, total = stored.groups.page(window, GroupFilter(category="timeout"))
    assert ([one.fingerprint for one in found], total) == (["g3", "g1"], 2)


def test_groups_are_found_by_their_state(stored: Worker) -> None:
    for name in ("done", "new"):
        stored.error(name)
    stored.store()
    window = stored.statistics.read("24h").window
    stored.triage.resolve("done", window, by="admin")

    def names(status: Any) -> list[str]:
        return [one.fingerprint for one in stored.groups.page(window, GroupFilter(status=status))[0]]

    assert (names("resolved"), names("open"), names("regressed")) == (["done"], ["new"], [])
    stored.database = None
    assert (names("resolved"), sorted(names("unknown"))) == ([], ["done", "new"])
    # Nothing is known to be done: an empty list of what is open would be an all-clear.
    found, total = stored.groups.page(window, GroupFilter(status="open"))
    assert (sorted(one.fingerprint for one in found), {one.status for one in found}, total) == (
        ["done", "new"],
        {"unknown"},
        2,
    )
    assert (names("regressed"), names("ignored")) == ([], [])


def test_one_group_is_found_in_the_window_or_in_mongodb(stored: Worker, clock: Clock) -> None:
    stored.error("f1", times=3)
    stored.store()
    stored.triage.resolve("f1", stored.statistics.read("24h").window, by="somebody")
    found = stored.groups.find("f1", stored.statistics.read("24h").window)
    assert found is not None
    shown = found.to_json()
    assert (shown["count"], shown["status"], shown["resolvedBy"]) == (3, "resolved", "somebody")
    assert shown["resolvedAt"]
    clock.now += 3 * 3600
    later = stored.groups.find("f1", stored.statistics.read("1h").window)
    assert later is not None
    assert (later.count, later.status, later.message) == (0, "resolved", "title of f1")
    assert stored.groups.find("nobody's", stored.statistics.read("1h").window) is None


def test_a_group_that_is_not_seen_any_more_goes_after_90_days(
    stored: Worker, sweeping: Any, until: Callable[..., Any]
) -> None:
    for days, fingerprint in ((91, "old"), (89, "young")):
        at = NOW - timedelta(days=days).total_seconds()
        stored.groups.store(sweeping, [seen_at(at, fingerprint=fingerprint)])
    sweeping[ERROR_GROUPS].create_indexes(stored.groups.indexes())
    until(lambda: sweeping[ERROR_GROUPS].distinct("_id") == ["young"])


def test_a_group_of_a_window_without_a_document_has_the_windows_moments() -> None:
    one = Group("f", "t", "c", Seen(0, NOW, NOW, frozenset()))
    one.add(kind(), Seen(2, NOW - 5, NOW + 5, frozenset(["v2", "v1"])))
    shown = one.summary().to_json()
    assert (shown["firstSeen"], shown["lastSeen"], shown["releases"]) == (iso(NOW - 5), iso(NOW + 5), ["v1", "v2"])


def test_a_kind_that_was_never_stored_can_be_resolved_if_the_window_has_it(worker: Worker, database: Any) -> None:
    worker.database = database
    worker.error("f1", 3)
    window = worker.statistics.read("1h").window
    assert not worker.triage.resolve("f2", window, by="admin")
    assert worker.triage.resolve("f1", window, by="admin")
    worker.store()
    (group,) = worker.groups.page(worker.statistics.read("1h").window)[0]
    assert (group.status, group.count, worker.told) == ("resolved", 3, [])
