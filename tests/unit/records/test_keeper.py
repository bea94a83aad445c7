"""What is ours stays within its bounds, whatever is stored; and looking after it costs little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest

from prodfix.deferral.throttle import Throttle
from prodfix.journal.instance_lock import InstanceLock
from prodfix.journal.journal import Journal
from prodfix.records import keeper as module
from prodfix.records.keeper import ERROR_SAMPLING, Keeper
from prodfix.records.lookup import Lookup
from prodfix.records.record_indexes import ERROR_LOG, RecordIndexes, make
from prodfix.records.sampling import Sampling
from prodfix.records.storage_refusal import StorageStatus
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import storage_of
from tests.support.counting_worker import BEGIN, Clock
from tests.support.recorded_commands import Commands

NOW = datetime.now(UTC).replace(microsecond=0)
KEEP = 20


@pytest.fixture
def make_keeper(journal: Journal, clock: Clock) -> Callable[..., Keeper]:
    """Makes what keeps the bounds in one worker."""

    def made(name: str = "w1", **options: Any) -> Keeper:
        throttle = Throttle(lambda: False, InstanceLock(journal), largest=200)
        known = {"keep": KEEP, "max_mb": None, "collections": (ERROR_LOG, ERROR_SAMPLING, "error_groups")}
        sampling = options.pop("sampling", None) or Sampling(KEEP, clock=clock)

        def now() -> datetime:
            return NOW + timedelta(seconds=clock.now - BEGIN)

        return Keeper(lambda: name, sampling, throttle, clock=clock, now=now, **known | options)

    return made


def fill(database: Any, counts: dict[str, int], *, stack: int = 10) -> None:
    make(database, {ERROR_LOG: RecordIndexes(8, list).wanted()[ERROR_LOG]})
    documents = [
        {
            "_id": bson.ObjectId(),
            "timestamp": NOW - timedelta(seconds=count - number),
            "fingerprint": kind,
            "stack": "x" * stack,
        }
        for kind, count in counts.items()
        for number in range(count)
    ]
    database[ERROR_LOG].insert_many(documents)


def kinds(database: Any) -> Counter[str]:
    return Counter(one["fingerprint"] for one in database[ERROR_LOG].find({}, {"fingerprint": 1}))


def test_of_each_kind_no_more_are_kept_and_the_first_and_last_of_them(
    make_keeper: Callable[..., Keeper], database: Any
) -> None:
    fill(database, {"a" * 16: 500, "b" * 16: KEEP, "c" * 16: 21})
    ends = {
        kind: [
            database[ERROR_LOG].find_one({"fingerprint": kind}, sort=[("timestamp", way), ("_id", way)])["_id"]
            for way in (1, -1)
        ]
        for kind in ("a" * 16, "c" * 16)
    }
    keeper = make_keeper()
    keeper.work(database, stored=True)
    left = kinds(database)
    assert left["b" * 16] == KEEP
    assert 2 <= left["a" * 16] <= KEEP
    assert 2 <= left["c" * 16] <= KEEP
    for identities in ends.values():
        assert all(database[ERROR_LOG].find_one({"_id": identity}) for identity in identities)
    kept = keeper.kept
    assert kept is not None
    assert kept.records == sum(left.values())
    assert kept.max_bytes == module.DEFAULT_UNKNOWN * module.MEGABYTE


def test_what_was_thinned_is_not_sent_again_by_any_worker(
    make_keeper: Callable[..., Keeper], database: Any, clock: Clock
) -> None:
    fill(database, {"a" * 16: 1_000})
    make_keeper().work(database, stored=True)
    other = Sampling(KEEP, clock=clock)
    make_keeper("w2", sampling=other).work(database, stored=True)
    other.admits("a" * 16, bson.ObjectId())
    sent = sum(other.admits("a" * 16, bson.ObjectId()) for _ in range(1_000))
    assert sent < 100  # 1,000 / 64 or so


@pytest.mark.parametrize(
    "counts",
    [{f"{number:016x}": 300 for number in range(8)}, {f"{number:016x}": 1 for number in range(1_500)}],
    ids=["few kinds", "many kinds"],
)
def test_all_together_stays_within_the_bound(
    make_keeper: Callable[..., Keeper], database: Any, clock: Clock, counts: dict[str, int]
) -> None:
    fill(database, counts, stack=2_000)
    keeper = make_keeper(max_mb=1, keep=400)
    keeper.work(database, stored=True)
    assert keeper.kept is not None
    assert keeper.kept.bytes > 0
    size = database.command("collStats", ERROR_LOG)
    assert keeper.kept.bytes <= 0.85 * module.MEGABYTE
    assert size["size"] <= module.MEGABYTE
    assert size["count"] > 100, "and no more than that is removed"
    left = kinds(database)
    if len(counts) < 10:
        assert set(left) == set(counts), "something of each kind"
        assert database[ERROR_SAMPLING].find_one()["floor"] > 0


@pytest.mark.parametrize("max_mb", [None, 1])
def test_what_others_store_meanwhile_drives_out_what_is_there_only_if_the_bound_is_reached(
    make_keeper: Callable[..., Keeper], database: Any, monkeypatch: pytest.MonkeyPatch, max_mb: int | None
) -> None:
    full = max_mb is not None
    fill(database, {f"{number:016x}": 3 for number in range(400 if full else 5)}, stack=3_000 if full else 10)
    before, counted = set(kinds(database)), module._counts

    def counts(asked: Any) -> Any:
        fill(database, {f"{number:016x}": 1 for number in range(900, 915)})
        return counted(asked)

    monkeypatch.setattr(module, "_counts", counts)
    make_keeper(max_mb=max_mb).work(database, stored=True)
    gone = before - set(kinds(database))
    assert bool(gone) is full, "the control: of too many kinds the oldest records go"


def test_all_that_is_ours_counts(make_keeper: Callable[..., Keeper], database: Any) -> None:
    fill(database, {f"{number:016x}": 50 for number in range(10)}, stack=500)
    database.error_groups.insert_many({"x": "y" * 1_000} for _ in range(800))
    database.of_the_application.insert_many({"x": "y" * 1_000} for _ in range(800))
    keeper = make_keeper(max_mb=1, keep=400)
    keeper.work(database, stored=True)
    assert kinds(database).total() < 400
    assert database.error_groups.estimated_document_count() == 800
    without = make_keeper(max_mb=1, keep=400, collections=(ERROR_LOG,))
    assert without._measured(database)[2] == 0  # the control: nothing but what is named


def test_a_flood_of_a_kind_raises_no_floor_for_others(make_keeper: Callable[..., Keeper], database: Any) -> None:
    fill(database, {"a" * 16: 300, "b" * 16: 1})
    make_keeper().work(database, stored=True)
    document = database[ERROR_SAMPLING].find_one()
    assert document["floor"] == 0
    assert [one["kind"] for one in document["levels"]] == ["a" * 16]


def test_one_worker_keeps_the_bounds_and_another_one_when_it_is_gone(
    make_keeper: Callable[..., Keeper], database: Any, clock: Clock
) -> None:
    first, second = make_keeper("w1"), make_keeper("w2")
    first.work(database, stored=True)
    second.work(database, stored=True)
    assert database[ERROR_SAMPLING].find_one()["holder"] == "w1"
    fill(database, {"a" * 16: 100})
    for _ in range(4):
        clock.now += 70
        second.work(database, stored=True)
    assert kinds(database).total() == 100, "the lease is the first one's"
    clock.now += 300
    second.work(database, stored=True)
    assert database[ERROR_SAMPLING].find_one()["holder"] == "w2"
    assert kinds(database).total() <= KEEP


def test_a_lease_of_a_clock_that_is_far_ahead_holds_nobody_up(
    make_keeper: Callable[..., Keeper], database: Any
) -> None:
    database[ERROR_SAMPLING].insert_one({"_id": "keeper", "holder": "w1", "until": NOW + timedelta(days=3)})
    make_keeper("w2").work(database, stored=True)
    assert database[ERROR_SAMPLING].find_one()["holder"] == "w2"


@pytest.mark.parametrize("document", [{}, {"until": "soon", "holder": 1}, {"levels": 7, "bytes": "x"}])
def test_a_document_that_makes_no_sense_is_taken_over_or_told(
    make_keeper: Callable[..., Keeper], database: Any, document: dict[str, Any]
) -> None:
    database[ERROR_SAMPLING].insert_one({"_id": "keeper", **document})
    keeper = make_keeper("w2")
    keeper.work(database, stored=True)
    taken = database[ERROR_SAMPLING].find_one()["holder"] == "w2" if "levels" not in document else False
    assert taken is (keeper.failing is None)


def test_without_anything_stored_nothing_is_asked(
    make_keeper: Callable[..., Keeper], connect: Callable[..., Any], commands: Commands, clock: Clock
) -> None:
    database = connect(event_listeners=[commands]).get_default_database()
    keeper = make_keeper()
    keeper.work(database, stored=False)
    assert commands.sent == []
    keeper.work(database, stored=True)
    asked = len(commands.sent)
    assert asked > 0  # the control
    for _ in range(600):
        clock.now += 1
        keeper.work(database, stored=False)
    assert len(commands.sent) == asked


def test_a_busy_worker_asks_once_a_minute(
    make_keeper: Callable[..., Keeper], connect: Callable[..., Any], commands: Commands, clock: Clock, database: Any
) -> None:
    make_keeper("w1").work(database, stored=True)
    heard = connect(event_listeners=[commands]).get_default_database()
    other = make_keeper("w2")
    for _ in range(240):
        clock.now += 1
        other.work(heard, stored=True)
    assert len(commands.sent) <= 5


def test_what_it_may_not_measure_holds_up_nothing(make_keeper: Callable[..., Keeper], database: Any, fail: Any) -> None:
    keeper = make_keeper()
    fail("collStats", errorCode=13)
    keeper.work(database, stored=True)
    assert (keeper.failing, keeper.kept) == ("OperationFailure (code 13)", None)


@pytest.mark.parametrize(("used", "full"), [(979, False), (981, True), (1000, True)])
def test_a_disk_with_little_left_is_the_applications(make_keeper: Callable[..., Keeper], used: int, full: bool) -> None:
    class Disk:
        def command(self, name: str) -> dict[str, float]:
            return {"fsTotalSize": 1000.0 * 2**20, "fsUsedSize": used * 2.0**20}

    disk: Any = Disk()
    assert make_keeper()._bound(disk) == (50 * module.MEGABYTE, full)
    assert make_keeper(max_mb=7)._bound(disk) == (7 * module.MEGABYTE, full)


def test_by_default_the_bound_is_a_hundred_megabytes_at_most(make_keeper: Callable[..., Keeper]) -> None:
    class Disk:
        def command(self, name: str) -> dict[str, float]:
            return {"fsTotalSize": 2.0**40, "fsUsedSize": 0.0}

    disk: Any = Disk()
    assert make_keeper()._bound(disk)[0] == 100 * module.MEGABYTE


def test_all_say_the_same_of_what_is_kept_whichever_round_they_have_seen(
    make_keeper: Callable[..., Keeper], database: Any, clock: Clock, journal: Journal
) -> None:
    fill(database, {"a" * 16: 3})
    leader, other = make_keeper("w1"), make_keeper("w2")
    leader.work(database, stored=True)
    other.work(database, stored=True)
    fill(database, {"b" * 16: 4})
    clock.now += 2 * module.ROUND
    leader.work(database, stored=True)
    assert leader.kept is not None
    assert other.kept is not None
    assert (leader.kept.records, other.kept.records) == (7, 3), "the control: it has seen another round"
    found = Lookup(journal, lambda: database).bounds()
    assert found is not None
    assert (found.records, found.bytes) == (7, leader.kept.bytes)
    assert found.at == leader.kept.at
    assert Lookup(journal, lambda: None).bounds() is None


def test_of_an_instance_the_newest_figures_are_told() -> None:
    now = NOW
    states = [
        WorkerState.from_json(
            {"pid": kept, "storage": StorageStatus(kept=kept, bytes=kept, max_bytes=99, counted_at=at).to_json()}
        )
        for kept, at in ((9, now - timedelta(seconds=90)), (5, now), (7, None))
    ]
    told = storage_of(states)
    assert (told.kept, told.bytes, told.counted_at) == (5, 5, now)
