"""What is asked of all workers: each answers once, who does not is told of, and nothing is left behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from prodfix.deferral.admin import COMMANDS_FOLDER
from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal
from prodfix.workers.asks import ANSWERS, LONGEST_LIFE, MOST, Asks
from prodfix.workers.worker_stacks import StacksReport, gathered, stacks_here

OpenJournal = Callable[..., Journal]


def made(journal: Journal) -> Asks:
    return Asks(journal, lambda question: stacks_here(journal.boot).to_json())


def left(journal: Journal) -> list[str]:
    folders = (journal.folder / name for name in (COMMANDS_FOLDER, ANSWERS))
    return [name for folder in folders if folder.exists() for name in os.listdir(folder)]


def asked(own: Asks, other: Asks, names: list[str]) -> StacksReport:
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            other.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        return gathered(own, lambda: names)
    finally:
        ended.set()
        thread.join()


def test_each_worker_answers_for_itself(open_journal: OpenJournal) -> None:
    first, second = open_journal(), open_journal()
    found = asked(made(first), made(second), [first.boot, second.boot])
    assert [one.worker for one in found.workers] == sorted([first.boot, second.boot])
    assert found.silent == []
    assert left(first) == []


def test_one_that_does_not_is_told_of_within_the_limit(open_journal: OpenJournal) -> None:
    first, second = open_journal(), open_journal()
    begun = time.monotonic()
    found = gathered(made(first), lambda: [first.boot, second.boot], limit=0.3)
    assert ([one.worker for one in found.workers], found.silent) == ([first.boot], [second.boot])
    assert time.monotonic() - begun < 2
    assert left(first) == []


def test_a_question_is_answered_once(open_journal: OpenJournal) -> None:
    journal, answers = open_journal(), list[str]()
    asks = Asks(journal, answers.append)
    (journal.folder / COMMANDS_FOLDER).mkdir()
    (journal.folder / COMMANDS_FOLDER / f"{'0' * 24}-stacks.ask").touch()
    for name in ("x.ask", "..ask", f"{'0' * 24}-STACKS.ask", f"{'0' * 24}-stacks.new"):
        (journal.folder / COMMANDS_FOLDER / name).touch()
    asks.look()
    asks.look()
    assert answers == ["stacks"]


def test_what_nobody_has_taken_away_goes_with_the_next_question(open_journal: OpenJournal) -> None:
    journal = open_journal()
    old, new = journal.folder / ANSWERS / "a-b.json", journal.folder / ANSWERS / "c-d.json"
    old.parent.mkdir()
    for path in (old, new):
        path.write_bytes(b"{}")
    past = time.time() - LONGEST_LIFE - 1
    os.utime(old, (past, past))
    made(journal).gather("stacks", lambda: [journal.boot])
    assert (old.exists(), new.exists()) == (False, True)


def test_too_many_questions_are_refused(open_journal: OpenJournal) -> None:
    journal = open_journal()
    (journal.folder / COMMANDS_FOLDER).mkdir()
    for number in range(MOST):
        (journal.folder / COMMANDS_FOLDER / f"{number:024x}-stacks.ask").touch()
    with pytest.raises(JournalUnavailable):
        made(journal).gather("stacks", lambda: [journal.boot])


def test_an_answer_of_another_release_is_left_out(open_journal: OpenJournal) -> None:
    journal = open_journal()
    found = gathered(Asks(journal, lambda question: {"worker": 5}), lambda: [journal.boot])
    assert (found.workers, found.silent) == ([], [])


# -- stacks -------------------------------------------------------------------------------------------------------------------


def test_places_are_told_and_no_values(tmp_path: Path) -> None:
    canary = f"canary{os.getpid()}value"
    waiting, ended = threading.Event(), threading.Event()

    def stand_here(secret: str) -> None:
        waiting.set()
        ended.wait()
        assert secret

    threads = [threading.Thread(target=stand_here, args=(canary,), name=canary) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting.wait()
    try:
        found = stacks_here("w")
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    standing = [one for one in found.stacks if any(place.endswith("in stand_here") for place in one.places)]
    assert sum(one.count for one in standing) == 3
    assert any("tests/unit/workers/test_asks.py:" in place for place in standing[0].places)
    told = orjson.dumps(found.to_json()).decode()
    assert canary not in told
    assert str(tmp_path) not in told
    assert found.threads >= 4
