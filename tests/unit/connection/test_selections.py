"""What was found once is found again at once: until the driver describes the deployment anew."""

from __future__ import annotations

from typing import Any

from pymongo import ReadPreference
from pymongo.read_preferences import Primary
from pymongo.server_selectors import writable_server_selector

from prodfix.connection.selections import MOST, Selections

DESCRIPTION: Any = object()
SERVER: Any = object()


def test_only_what_was_found_in_the_same_description_is_known() -> None:
    selections, other = Selections(), object()
    assert selections.get(DESCRIPTION, writable_server_selector) is None
    selections.note(DESCRIPTION, writable_server_selector, SERVER)
    selections.note(DESCRIPTION, ReadPreference.PRIMARY)
    for selector, server in ((writable_server_selector, SERVER), (ReadPreference.PRIMARY, None)):
        found = selections.get(DESCRIPTION, selector)
        assert found is not None
        assert found.server is server
    assert selections.get(DESCRIPTION, ReadPreference.SECONDARY) is None
    assert selections.get(other, writable_server_selector) is None  # type: ignore[arg-type]
    selections.note(other, ReadPreference.PRIMARY)  # type: ignore[arg-type]
    assert selections.get(DESCRIPTION, ReadPreference.PRIMARY) is None
    assert selections.get(other, writable_server_selector) is None  # type: ignore[arg-type]


def test_an_address_is_never_known() -> None:
    selections = Selections()
    selections.note(DESCRIPTION, writable_server_selector)
    assert selections.get(DESCRIPTION, None) is None


def test_it_does_not_grow_with_selectors_that_come_once() -> None:
    selections, several = Selections(), [Primary() for _ in range(MOST + 5)]
    for selector in several:
        selections.note(DESCRIPTION, selector)
    known = [selections.get(DESCRIPTION, selector) is not None for selector in several]
    assert known == [True] * MOST + [False] * 5
