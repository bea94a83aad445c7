"""What one worker does for all: it is one, as long as it lives, and no child of its own keeps others from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prodfix.journal.journal import Journal
from prodfix.journal.leadership import Leadership
from tests.support.processes import in_child


def test_one_has_it_until_it_gives_it(open_journal: Callable[..., Journal]) -> None:
    first, second = Leadership(open_journal(), "counts"), Leadership(open_journal(), "counts")
    assert [first.taken(), second.taken(), first.taken()] == [True, False, True]
    assert Leadership(open_journal(), "others").taken()
    first.give()
    assert [second.taken(), first.taken()] == [True, False]


def test_a_child_has_nothing_of_it_and_takes_nothing_away(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    parent = Leadership(Journal(folder), "counts")
    assert parent.taken()

    def child() -> list[bool]:
        return [parent._descriptor is None, parent.taken()]

    assert in_child(child) == [True, False]
    assert not Leadership(Journal(folder), "counts").taken(), "the control: the parent has it still"

    def heir() -> list[bool]:
        parent.give()
        return [Leadership(Journal(folder), "counts").taken()]

    assert in_child(heir) == [False]
    parent.give()
    assert in_child(heir) == [True]


def test_a_disk_that_fails_has_no_lock_to_give(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not Leadership(Journal(tmp_path / "file"), "counts").taken()
