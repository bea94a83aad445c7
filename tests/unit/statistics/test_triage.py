"""What admins decide of a kind of error: ignored for ever or for a time, noted, and whose it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from prodfix.errors import ValidationFailed
from prodfix.statistics.decisions import decision_of
from prodfix.statistics.group_list import GroupFilter
from prodfix.statistics.groups import ERROR_GROUPS, GroupSummary
from prodfix.statistics.triage import LONGEST_NOTE
from prodfix.statistics.windows import Window
from tests.support.counting_worker import Clock, Worker

NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW.timestamp() - 60)


@pytest.fixture
def stored(worker: Worker, database: Any) -> Worker:
    worker.database = database
    worker.error()
    worker.store()
    return worker


def group(worker: Worker, **filters: Any) -> GroupSummary | None:
    found, _ = worker.groups.page(worker.statistics.read("24h").window, GroupFilter(**filters))
    return next((one for one in found if one.fingerprint == "f1"), None)


def status(worker: Worker) -> str:
    found = group(worker)
    assert found is not None
    return found.status


def test_what_is_ignored_for_ever_stays_so_and_is_counted_all_the_same(stored: Worker) -> None:
    assert stored.triage.ignore("f1", Window(), by="ann")
    stored.error()
    stored.store()
    found = group(stored)
    assert found is not None
    assert found.ignored is not None
    assert (found.status, found.count, found.ignored.by, found.ignored.until) == ("ignored", 2, "ann", None)
    assert stored.told == []


def test_what_is_ignored_until_a_time_is_open_after_it(stored: Worker, database: Any) -> None:
    assert stored.triage.ignore("f1", Window(), by="ann", until=LATER)
    assert status(stored) == "ignored"
    (document,) = database[ERROR_GROUPS].find()
    moments = (LATER - timedelta(seconds=1), LATER, LATER + timedelta(days=9))
    assert [decision_of(document, moment).status for moment in moments] == ["ignored", "open", "open"]


def test_a_time_that_is_over_is_refused(stored: Worker) -> None:
    with pytest.raises(ValidationFailed) as refused:
        stored.triage.ignore("f1", Window(), by="ann", until=NOW - timedelta(seconds=1))
    assert [problem.field for problem in refused.value.problems] == ["until"]
    assert not stored.triage.ignore("nothing", Window(), by="ann", until=NOW - timedelta(seconds=1))
    assert not stored.triage.note("nothing", Window(), by="ann")
    assert status(stored) == "open"


def test_the_last_decision_counts(stored: Worker, clock: Clock) -> None:
    stored.triage.ignore("f1", Window(), by="ann")
    stored.triage.resolve("f1", Window(), by="ben")
    assert status(stored) == "resolved"
    stored.triage.ignore("f1", Window(), by="ann")
    assert status(stored) == "ignored"
    clock.now = NOW.timestamp() + 3600
    stored.error()
    stored.store()
    assert stored.told == []  # what is ignored is no regression
    assert stored.triage.reopen("f1")
    assert status(stored) == "open"


def test_the_control_what_was_only_resolved_is_a_regression(stored: Worker, clock: Clock) -> None:
    stored.triage.resolve("f1", Window(), by="ben")
    clock.now = NOW.timestamp() + 3600
    stored.error()
    stored.store()
    assert len(stored.told) == 1


def test_lists_are_filtered_by_it(stored: Worker) -> None:
    assert (group(stored, status="ignored"), group(stored, status="open") is not None) == (None, True)
    stored.triage.ignore("f1", Window(), by="ann")
    assert (group(stored, status="ignored") is not None, group(stored, status="open")) == (True, None)


def test_a_note_and_an_owner_are_kept_until_they_are_taken_away(stored: Worker, database: Any) -> None:
    assert stored.triage.note("f1", Window(), by="ann", text="  the till of shop 4 ", owner="team till")
    found = group(stored)
    assert found is not None
    assert found.note is not None
    assert (found.note.text, found.note.by, found.owner) == ("the till of shop 4", "ann", "team till")
    stored.triage.note("f1", Window(), by="ben", owner="")
    found = group(stored)
    assert found is not None
    assert (found.note is not None, found.owner) == (True, None)
    stored.triage.note("f1", Window(), by="ben", text="")
    (document,) = database[ERROR_GROUPS].find()
    assert not {"note", "owner"} & set(document)
    with pytest.raises(ValidationFailed):
        stored.triage.note("f1", Window(), by="ben")


def test_a_note_is_kept_without_secrets_and_no_longer_than_that(stored: Worker, database: Any) -> None:
    secret = "hunter2hunter2"
    given = f"log in with mongodb://root:{secret}@10.0.0.7/shop {'x' * 2_000}"
    assert secret in given
    stored.triage.note("f1", Window(), by="ann", text=given, owner=f"ann, password={secret}")
    (document,) = database[ERROR_GROUPS].find()
    assert secret not in str(document)
    assert document["note"]["text"].startswith("log in with")
    assert len(document["note"]["text"]) <= LONGEST_NOTE


@pytest.mark.parametrize("text", ["$title", "$$NOW", "{'$set': 1}", "half \ud800 a letter"])
def test_what_is_noted_is_no_expression(stored: Worker, text: str) -> None:
    stored.triage.note("f1", Window(), by="ann", text=text, owner=text)
    found = group(stored)
    assert found is not None
    assert found.note is not None
    assert found.note.text == found.owner == text.replace("\ud800", "?")


def test_a_kind_that_mongodb_has_not_heard_of_yet_is_decided_too(worker: Worker, database: Any) -> None:
    worker.database = database
    worker.error()
    window = worker.statistics.read("24h").window
    assert not worker.triage.ignore("nothing", window, by="ann")
    assert worker.triage.ignore("f1", window, by="ann")
    assert status(worker) == "ignored"


def test_while_mongodb_is_away_nothing_is_decided_of_what_nobody_knows(stored: Worker) -> None:
    stored.database = None
    with pytest.raises(ServerSelectionTimeoutError):
        stored.triage.ignore("f1", Window(), by="ann")
    with pytest.raises(ServerSelectionTimeoutError):
        stored.triage.note("f1", Window(), by="ann", text="x")


def test_what_another_release_has_written_is_no_reason_to_fail(stored: Worker, database: Any) -> None:
    database[ERROR_GROUPS].update_one({"_id": "f1"}, {"$set": {"ignored": {"count": 5}, "note": "text"}})
    found = group(stored)
    assert found is not None
    assert (found.status, found.note) == ("open", None)
