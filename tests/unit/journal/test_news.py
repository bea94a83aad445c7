"""Who waits for rows asks for a number: it is another one after each change, and the same while there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal
from prodfix.journal.news import Changes, News

RECORD = "INSERT OR IGNORE INTO records (id, collection, at, entry) VALUES (?, 'error_log', 1, '')"


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("INSERT INTO writes (id) VALUES (?)", "writes"),
        ("INSERT OR REPLACE INTO status VALUES (?, ?, ?)", "status"),
        ("INSERT OR IGNORE INTO writes (id) SELECT id FROM dead WHERE id = ?1", "writes"),
        ("DELETE FROM records WHERE id IN (SELECT id FROM writes)", "records"),
        ("UPDATE ended SET published = 1 WHERE id = ?", "ended"),
    ],
)
def test_a_statement_counts_for_the_table_that_it_changes(statement: str, table: str) -> None:
    changes = Changes()
    changes.note([(statement, ())])
    assert changes.of(table) == changes.of() == 1
    assert changes.of("minutes") == 0


def test_a_commit_changes_the_version_of_its_tables_and_of_no_other(journal: Journal) -> None:
    before = journal.version("records"), journal.version("writes"), journal.version()
    journal.write([(RECORD, ("a",))])
    after = journal.version("records"), journal.version("writes"), journal.version()
    assert [one != other for one, other in zip(before, after, strict=True)] == [True, False, True]
    journal.read("SELECT id FROM records")
    journal.read_own("SELECT id FROM records")
    assert journal.version() == after[2], "reading changes nothing"


def test_what_is_refused_changes_nothing(journal: Journal) -> None:
    before = journal.version()
    with pytest.raises(JournalUnavailable):
        journal.write([("INSERT INTO writes (nothing) VALUES (1)", ())], to_disk=True)
    assert journal.version() == before


def test_what_was_gathered_counts_once_it_is_committed(journal: Journal, until: Callable[..., object]) -> None:
    before = journal.version("records")
    journal.gather([(RECORD, ("a",))])
    until(lambda: journal.version("records") != before)


def test_what_a_dead_worker_has_left_is_news_for_who_adopts_it(
    journal: Journal, open_journal: Callable[[], Journal]
) -> None:
    other = open_journal()
    other.write([(RECORD, ("a",))])
    before = journal.version("records")
    assert journal.adopt() == 0
    assert journal.version("records") == before, "the control: it lives"
    other.close()
    assert journal.adopt() == 1
    assert journal.version("records") != before


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_news_is_what_has_changed_or_was_not_looked_at_for_long() -> None:
    clock, version = Clock(), ["a"]
    news = News(lambda: version[0], rest=10.0, clock=clock)
    found = news.begin()
    assert found is not None
    assert news.begin() is not None, "who raises instead of being done finds it again"
    version[0] = "b"
    news.done(found)
    found = news.begin()
    assert found is not None, "it has changed since the work began"
    news.done(found)
    assert news.begin() is None
    clock.now += 10.0
    assert news.begin() is not None
    news.done(found)
    news.forget()
    assert news.begin() is not None


def test_while_nobody_can_say_everything_is_news() -> None:
    news = News(lambda: None, rest=10.0)
    for _ in range(3):
        found = news.begin()
        assert found is not None
        news.done(found)
