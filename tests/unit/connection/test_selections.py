"""What was found once is found again at once: until the driver describes the deployment anew."""

from __future__ import annotations

from typing import Any

from pymongo import ReadPreference
from pymongo.read_preferences import Primary
from pymongo.server_selectors import writable_server_selector

from prodfix.connection.selections import MOST, Selections

DESCRIPTION: Any = object()


def test_only_what_was_found_in_the_same_description_is_sure() -> None:
    selections, other = Selections(), object()
    assert not selections.sure(DESCRIPTION, writable_server_selector)
    selections.note(DESCRIPTION, writable_server_selector)
    selections.note(DESCRIPTION, ReadPreference.PRIMARY)
    assert selections.sure(DESCRIPTION, writable_server_selector)
    assert selections.sure(DESCRIPTION, ReadPreference.PRIMARY)
    assert not selections.sure(DESCRIPTION, ReadPreference.SECONDARY)
    assert not selections.sure(other, writable_server_selector)  # type: ignore[arg-type]
    selections.note(other, ReadPreference.PRIMARY)  # type: ignore[arg-type]
    assert not selections.sure(DESCRIPTION, ReadPreference.PRIMARY)
    assert not selections.sure(other, writable_server_selector)  # type: ignore[arg-type]


def test_an_address_is_never_sure() -> None:
    selections = Selections()
    selections.note(DESCRIPTION, writable_server_selector)
    assert not selections.sure(DESCRIPTION, None)


def test_it_does_not_grow_with_selectors_that_come_once() -> None:
    selections, several = Selections(), [Primary() for _ in range(MOST + 5)]
    for selector in several:
        selections.note(DESCRIPTION, selector)
    assert [selections.sure(DESCRIPTION, selector) for selector in several] == [True] * MOST + [False] * 5
