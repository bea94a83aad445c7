"""What waits for a reporter: bounded, tried again, counted, and no business of a request's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from prodfix.records.records import ErrorRecord
from prodfix.reporters.report_queue import BATCH, LONGEST_PAUSE, MOST, TRIES, ReportQueue
from prodfix.reporters.reporter import ReporterFailed, ReporterStatus, StandsBack, over_workers
from tests.support.counting_worker import Clock

Make = Callable[..., ErrorRecord]


class Service:
    """A reporter, which fails as long as it is told to."""

    name = "service"

    def __init__(self) -> None:
        self.told: list[ErrorRecord] = []
        self.asked = 0
        self.failure: Exception | None = None
        self.closed: float | None = None

    def report(self, record: ErrorRecord) -> None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        self.told.append(record)

    def close(self, limit: float) -> None:
        self.closed = limit


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def queue(service: Service, clock: Clock) -> ReportQueue:
    return ReportQueue("service", lambda: service, clock)


def test_the_reporter_is_made_when_there_is_something_to_tell(make_record: Make, service: Service) -> None:
    made: list[str] = []
    queue = ReportQueue("service", lambda: made.append("made") or service)  # type: ignore[func-returns-value]
    queue.work()
    assert made == []
    queue.put(make_record())
    assert made == []  # not by the request
    queue.work()
    assert (made, len(service.told)) == (["made"], 1)


def test_records_are_told_in_their_order_a_few_in_each_turn(
    make_record: Make, queue: ReportQueue, service: Service
) -> None:
    records = [make_record() for _ in range(BATCH + 5)]
    for record in records:
        queue.put(record)
    queue.work()
    assert service.told == records[:BATCH]
    queue.work()
    assert service.told == records
    assert queue.status() == ReporterStatus("service", sent=BATCH + 5)


def test_what_finds_no_room_is_dropped_and_counted(make_record: Make, queue: ReportQueue) -> None:
    record = make_record()
    for _ in range(MOST + 7):
        queue.put(record)
    assert (queue.status().waiting, queue.status().dropped) == (MOST, 7)


def test_after_a_failure_it_pauses_longer_each_time_and_then_tells_it_all_the_same(
    make_record: Make, queue: ReportQueue, service: Service, clock: Clock
) -> None:
    queue.put(record := make_record())
    service.failure = OSError("http://10.0.0.7/secret")
    for pause in (2, 4):
        with pytest.raises(ReporterFailed, match=r"^OSError$"):
            queue.work()
        asked = service.asked
        clock.now += pause - 0.1
        with pytest.raises(ReporterFailed):
            queue.work()
        assert service.asked == asked  # it was not asked within the pause
        clock.now += 0.2
    service.failure = None
    assert queue.status().failing == "OSError"
    queue.work()
    assert service.told == [record]
    assert queue.status() == ReporterStatus("service", sent=1)


def test_what_fails_three_times_is_given_up_and_the_next_one_has_its_turn(
    make_record: Make, queue: ReportQueue, service: Service, clock: Clock
) -> None:
    first, second = make_record(), make_record()
    queue.put(first)
    queue.put(second)
    service.failure = ReporterFailed("status_500")
    for _ in range(TRIES):
        with pytest.raises(ReporterFailed, match="status_500"):
            queue.work()
        clock.now += LONGEST_PAUSE
    service.failure = None
    queue.work()
    assert service.told == [second]
    assert queue.status() == ReporterStatus("service", sent=1, failed=1)


def test_a_reporter_that_cannot_be_made_is_a_failure_like_any_other(make_record: Make, clock: Clock) -> None:
    def make() -> Service:
        raise LookupError("no entry point")

    queue = ReportQueue("service", make, clock)
    queue.put(make_record())
    with pytest.raises(ReporterFailed, match="LookupError"):
        queue.work()
    assert (queue.status().failing, queue.status().waiting) == ("LookupError", 1)


def test_one_that_stands_back_says_so_and_is_asked_no_more(
    make_record: Make, queue: ReportQueue, service: Service
) -> None:
    service.failure = StandsBack("the application does it itself")
    queue.put(make_record())
    queue.put(make_record())
    queue.work()
    queue.put(make_record())
    queue.work()
    assert service.asked == 1
    assert queue.status() == ReporterStatus("service", note="the application does it itself")


def test_at_the_end_the_rest_is_told_also_within_a_pause(
    make_record: Make, queue: ReportQueue, service: Service
) -> None:
    service.failure = OSError()
    queue.put(make_record())
    with pytest.raises(ReporterFailed):
        queue.work()
    service.failure = None
    queue.close(2.0)
    assert len(service.told) == 1
    assert service.closed is not None
    assert 0 < service.closed <= 2.0


def test_the_end_waits_for_no_reporter_longer_than_it_may(make_record: Make) -> None:
    released, begun = threading.Event(), threading.Event()

    class Hanging(Service):
        def report(self, record: ErrorRecord) -> None:
            begun.set()
            released.wait(20)

    queue = ReportQueue("service", Hanging)
    queue.put(make_record())
    at = time.monotonic()
    queue.close(0.2)
    took = time.monotonic() - at
    assert begun.is_set()
    assert 0.15 < took < 5
    released.set()


def test_without_anything_to_tell_the_end_makes_no_reporter() -> None:
    made: list[str] = []
    queue = ReportQueue("service", lambda: made.append("made") or Service())  # type: ignore[func-returns-value]
    queue.close(2.0)
    assert made == []


def test_a_fork_begins_anew(make_record: Make, queue: ReportQueue) -> None:
    queue.put(make_record())
    queue.work()
    queue.put(make_record())
    pid = os.fork()
    if pid == 0:
        os._exit(0 if queue.status() == ReporterStatus("service") and queue._reporter is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert queue.status() == ReporterStatus("service", sent=1, waiting=1)


def test_over_workers_each_reporter_is_one_line() -> None:
    parts = [
        ReporterStatus("a", sent=1, waiting=2),
        ReporterStatus("b", note="stands back"),
        ReporterStatus("a", "OSError", sent=3, failed=1, dropped=5),
    ]
    assert over_workers(parts) == [
        ReporterStatus("a", "OSError", sent=4, failed=1, dropped=5, waiting=2),
        ReporterStatus("b", note="stands back"),
    ]
