"""A journal and the children of its process, which have its descriptors and its memory."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from pathlib import Path

import pytest

from prodfix.errors import JournalTimeout
from prodfix.journal import journal as module
from prodfix.journal.file import dead_owner
from prodfix.journal.journal import Journal
from prodfix.journal.store import Store
from tests.support.processes import in_child


def test_a_child_that_uses_no_journal_keeps_nobody_from_adopting_its_parents(journal: Journal) -> None:
    lock = journal.folder / f"{journal.file_name}.lock"
    child = os.fork()
    if child == 0:
        signal.pause()  # as a task that knows nothing of us
    try:
        with dead_owner(lock) as dead:
            assert not dead  # the control
        journal.close()
        with dead_owner(lock) as dead:
            assert dead
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_parents_connection_is_not_closed_in_its_child(journal: Journal) -> None:
    parents = weakref.ref(journal._store)

    def child() -> bool:
        journal.open()
        gc.collect()
        return parents() is not None and parents() is not journal._store

    assert in_child(child) is True
    journal.close()
    journal.open()
    gc.collect()
    assert parents() is None  # the control


def test_who_is_copied_into_a_child_while_it_waits_does_not_touch_its_parents_file(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a greenlet is by gevent's fork."""
    assert journal.read_own("SELECT 1") == [(1,)]  # the control
    monkeypatch.setattr(module, "this_process", object)  # each time another one
    with pytest.raises(JournalTimeout):
        journal.read_own("SELECT 1")
    monkeypatch.undo()
    assert journal.read_own("SELECT 1") == [(1,)]


def test_a_disk_that_does_not_answer_holds_up_no_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, mend = threading.Event(), Store.mend

    def stalled(store: Store) -> None:
        answers.wait(10)
        mend(store)

    monkeypatch.setattr(module, "OPENING", 0.05)
    monkeypatch.setattr(Store, "mend", stalled)
    journal = Journal(tmp_path / "journal")
    begun = time.monotonic()
    journal.open()
    assert time.monotonic() - begun < 5
    assert journal.failure == "not opened"
    with pytest.raises(JournalTimeout):
        journal.read_own("SELECT 1", limit=0.05)
    answers.set()
    assert journal.read_own("SELECT 1") == [(1,)]
    assert journal.failure is None
    journal.close()
