"""The ledger of a request's writes."""

from __future__ import annotations

import contextvars

import pytest

from prodfix.errors import Outcome
from prodfix.request.context import current_effects, new_context, reset_context, set_context, watched_effects
from prodfix.request.effects import MOST, Effects, auxiliary_writes


@pytest.fixture
def effects() -> Effects:
    return Effects()


def tell(effects: Effects, *events: str) -> Outcome | None:
    """The verdict after events such as ``a+`` (sent and applied), ``a?`` (in doubt), ``a-`` (refused), ``a0`` (met nothing) and
    ``a`` (sent, and not answered)."""
    ends = {"+": effects.applied, "?": effects.doubtful, "-": effects.refused, "0": effects.met_nothing}
    for event in events:
        effects.sent(event[0])
        if event[1:]:
            ends[event[1:]](event[0])
    return effects.verdict


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([], None),
        (["a-"], None),
        (["a0"], None),
        (["a+"], Outcome.APPLIED),
        (["a?"], Outcome.UNKNOWN),
        (["a"], Outcome.UNKNOWN),
        (["a+", "b-"], Outcome.APPLIED),
        (["a+", "b?"], Outcome.UNKNOWN),
        (["a+", "b"], Outcome.UNKNOWN),
        (["a?", "b+"], Outcome.UNKNOWN),
        (["a?", "a+"], Outcome.APPLIED),  # the driver's second try
        (["a", "a+"], Outcome.APPLIED),
        (["a?", "a0"], None),
        (["a?", "a-"], Outcome.UNKNOWN),  # of the first try a refusal of the second says nothing
        (["a", "a-"], Outcome.UNKNOWN),
        (["a+", "a-"], Outcome.UNKNOWN),  # two commands of one bulk write
        (["a+", "a0"], Outcome.APPLIED),
        (["a0", "a-"], None),
    ],
)
def test_the_verdict_is_that_of_all_writes(effects: Effects, events: list[str], verdict: Outcome | None) -> None:
    assert tell(effects, *events) is verdict


def test_what_a_transaction_writes_is_nothing_before_its_commit(effects: Effects) -> None:
    effects.committing("reads only")
    effects.wrote_within("t")
    assert effects.verdict is None
    effects.committing("t")
    assert effects.verdict is Outcome.UNKNOWN
    effects.doubtful("t")
    effects.committing("t")
    effects.applied("t")
    assert effects.verdict is Outcome.APPLIED


def test_auxiliary_writes_are_no_part_of_it(effects: Effects) -> None:
    with auxiliary_writes():
        tell(effects, "a+", "b?", "c")
        effects.wrote_within("t")
    effects.committing("t")
    assert effects.verdict is None
    assert tell(effects, "a+") is Outcome.APPLIED, "the control"


def test_a_mark_tells_what_came_after_it(effects: Effects) -> None:
    tell(effects, "a+", "b?")
    mark = effects.mark()
    assert not effects.touched(mark)
    tell(effects, "c-", "d0")
    assert not effects.touched(mark)
    for event in ("e+", "f?", "g"):
        fresh = Effects()
        tell(fresh, event)
        assert fresh.touched(0), event


def test_a_success_in_the_end_settles_the_tries_before_it_and_no_earlier_write(effects: Effects) -> None:
    tell(effects, "a+")
    mark = effects.mark()
    tell(effects, "b?", "c")
    effects.settle(mark)
    assert effects.verdict is Outcome.APPLIED
    before = Effects()
    tell(before, "a?")
    before.settle(before.mark())
    assert before.verdict is Outcome.UNKNOWN


def test_what_was_accepted_for_later_is_in_doubt(effects: Effects) -> None:
    effects.in_doubt()
    assert effects.verdict is Outcome.UNKNOWN


def test_it_stays_small_and_forgets_no_doubt() -> None:
    many = Effects()
    for number in range(10 * MOST):
        many.sent(("cut", number))
        many.sent(("lost", number))
        many.doubtful(("lost", number))
        many.wrote_within(number)
    held = many._sent, many._doubtful, many._dirty
    assert max(map(len, held)) <= MOST + 1
    many.committing("one of those that were forgotten")
    assert many.verdict is Outcome.UNKNOWN
    few = Effects()
    for number in range(MOST + 2):
        few.wrote_within(number)
    few.committing("one of those that were forgotten")
    assert few.verdict is Outcome.UNKNOWN


def test_a_request_has_one_and_so_has_a_greenlet_that_asked_for_one() -> None:
    def work() -> None:
        assert watched_effects() is None
        assert current_effects() is current_effects() is watched_effects()
        context = new_context(endpoint="/", method="POST", ip="", headers={})
        token = set_context(context)
        assert current_effects() is context.notes.effects is watched_effects()
        reset_context(token)

    contextvars.Context().run(work)
