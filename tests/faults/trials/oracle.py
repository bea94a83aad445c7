"""The judgement: which promises were broken, from what the clients were told and what MongoDB holds. A pure function.

``lost``: acknowledged (2xx), and not in MongoDB in the end; also what was told ``failed`` after a 202, and what still waits.
``doubled``: more often there than once. ``half``: some of its steps, and not the others. ``status``: what
``/api/v1/operations`` said of an accepted write was not so. ``outcome``: an error's ``outcome`` or ``retryable`` was not so.
``unread``: a note that was acknowledged with 201 was answered 404.

What stood on a page that a fault has damaged may be gone (nothing else may): it is counted as ``exposed``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.faults.trials.history import CREATING, ENDED, History, Poll, Request
from tests.faults.trials.state import State

Promise = Literal["lost", "doubled", "half", "status", "outcome", "unread"]
PROMISES: tuple[Promise, ...] = get_args(Promise)

PATCHED = "Another title"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, to ``request`` if it can be said to which; at ``at``, in the trial's seconds."""

    promise: Promise
    text: str
    at: float
    request: Request | None = None

    def lines(self) -> list[str]:
        return [f"{self.promise.upper()}: {self.text}", *(self.request.lines() if self.request else [])]


@dataclass(slots=True)
class Verdict:
    violations: list[Violation] = field(default_factory=list)
    exposed: int = 0
    """Acknowledged writes that stood on a damaged page and are gone."""

    def of(self, promise: Promise) -> list[Violation]:
        return [violation for violation in self.violations if violation.promise == promise]


def judge(history: History, state: State) -> Verdict:
    verdict = Verdict()
    effects = [_Effect(request, state) for request in history.requests if request.action in CREATING]
    deleted = {request.subject for request in history.requests if request.action == "delete"}
    exposed = history.exposed
    for effect in effects:
        if effect.request.subject in deleted:
            continue  # the judgement of the request that deletes it says what became of it
        if effect.missing and _operations(effect.request) & exposed:
            verdict.exposed += 1
            continue
        verdict.violations += _of_creation(effect)
    verdict.violations += _of_notebooks(history, state, exposed)
    for request in history.requests:
        verdict.violations += _of_change(request, state)
    verdict.violations += _of_statuses(history, effects, exposed)
    return verdict


class _Effect:
    """How often each step of a creation is in MongoDB. A note's counter cannot be told apart from that of other notes."""

    def __init__(self, request: Request, state: State) -> None:
        self.request = request
        if request.action == "note":
            self.steps = [int(request.subject in state.notes)]
        else:
            self.steps = [state.entries[request.subject], state.counted[request.subject]]

    @property
    def complete(self) -> bool:
        return all(self.steps)

    @property
    def begun(self) -> bool:
        return any(self.steps)

    @property
    def missing(self) -> bool:
        return self.request.acknowledged and not self.complete


def _operations(request: Request) -> set[str]:
    return {attempt.operation for attempt in request.attempts if attempt.operation is not None}


# ---- what became of each


def _of_creation(effect: _Effect) -> Iterator[Violation]:
    request = effect.request
    if effect.missing:
        promise: Promise = "half" if effect.begun else "lost"
        yield Violation(promise, f"acknowledged, and its steps are there {effect.steps} times", request.ended, request)
    if any(count > 1 for count in effect.steps):
        yield Violation("doubled", f"its steps are there {effect.steps} times", request.ended, request)
    yield from _of_outcomes(request, begun=effect.begun, complete=effect.complete)


def _of_change(request: Request, state: State) -> Iterator[Violation]:
    """Of a note that is patched or deleted, which only this request does; and of one that is read."""
    note = state.notes.get(request.subject)
    if request.action == "read":
        if any(attempt.status == 404 for attempt in request.attempts):
            yield Violation("unread", "a note that was acknowledged with 201 was not found", request.ended, request)
        return
    if request.action == "delete":
        done = note is None
    elif request.action == "patch":
        done = note is not None and note.get("title") == PATCHED
        if note is not None and note.get("version") != 1 + done:
            yield Violation("doubled", f"its version is {note.get('version')}", request.ended, request)
    else:
        return
    if request.acknowledged and not done:
        yield Violation("lost", f"a {request.action} was acknowledged and is not applied", request.ended, request)
    yield from _of_outcomes(request, begun=done, complete=done)


def _of_outcomes(request: Request, *, begun: bool, complete: bool) -> Iterator[Violation]:
    """``not_applied`` is untrue where something is there that no other attempt may have applied."""
    if any(attempt.outcome == "applied" for attempt in request.attempts) and not complete:
        yield Violation("outcome", "told `applied`, and it is not there", request.ended, request)
    if not begun or request.acknowledged or not request.attempts:
        return
    if all(attempt.certainly_not_applied for attempt in request.attempts):
        yield Violation("outcome", "told `not_applied`, and it is there", request.ended, request)
    elif request.key is None and any(attempt.retryable for attempt in request.attempts):
        # Without a key the same request, sent again, is another write.
        yield Violation("outcome", "told `retryable`, and it is there", request.ended, request)


def _of_notebooks(history: History, state: State, exposed: frozenset[str]) -> Iterator[Violation]:
    """A notebook counts the notes that are in it: too few of them, or too many, are notes that are half applied."""
    notes = Counter(note["notebook"] for note in state.notes.values())
    for book in sorted(notes.keys() | state.counters.keys()):
        counted, there = state.counters.get(book, 0), notes[book]
        difference = counted - there
        theirs = [request for request in history.requests if request.notebook == book and request.action != "read"]
        forgiven = sum(bool(_operations(request) & exposed) for request in theirs)
        for _ in range(abs(difference) - forgiven):
            text = f"notebook {book} counts {counted} notes, and {there} are there"
            yield Violation("half", text, theirs[-1].ended if theirs else 0.0)


# ---- what was told of them meanwhile


def _of_statuses(history: History, effects: Iterable[_Effect], exposed: frozenset[str]) -> Iterator[Violation]:
    polls: dict[str, list[Poll]] = {}
    for poll in history.polls:
        polls.setdefault(poll.operation, []).append(poll)
    for effect in effects:
        attempt = effect.request.accepted
        if attempt is None or attempt.operation is None or attempt.operation in exposed:
            continue
        told = sorted(polls.get(attempt.operation, ()), key=lambda poll: poll.at)
        for text, at in _untrue(told, attempt.instance, effect):
            yield Violation("status", text, at, effect.request)
        yield from _without_end(told, attempt.instance, effect)


def _without_end(told: list[Poll], instance: int, effect: _Effect) -> Iterator[Violation]:
    last = next((poll for poll in reversed(told) if poll.final and poll.instance == instance), None)
    if last is not None and last.state != "applied" and not effect.missing:
        text = f"in the end its status is {_said(last)}, and it is there"
        yield Violation("status", text, last.at, effect.request)


def _untrue(told: list[Poll], instance: int, effect: _Effect) -> Iterator[tuple[str, float]]:
    """What was said, and when; once for each kind of untruth."""
    for texts in (
        (_at_once(poll) for poll in told),
        (_denied(poll, instance) for poll in told),
        (_against_the_end(poll, effect) for poll in told if not poll.final),
        _against_another(told),
    ):
        first = next((found for found in texts if found is not None), None)
        if first is not None:
            yield first


def _at_once(poll: Poll) -> tuple[str, float] | None:
    """At that moment MongoDB said otherwise."""
    if poll.there is not None and poll.state in ENDED and poll.there != (poll.state == "applied"):
        there = "it was there" if poll.there else "it was not there"
        return f"told {_said(poll)}, and {there}", poll.at
    return None


def _denied(poll: Poll, instance: int) -> tuple[str, float] | None:
    """404 from the instance that accepted it; from the others only when all is over."""
    if poll.http == 404 and (poll.instance == instance or poll.final):
        return f"instance {poll.instance} said 404 of what instance {instance} had accepted", poll.at
    return None


def _against_the_end(poll: Poll, effect: _Effect) -> tuple[str, float] | None:
    if poll.state == "failed" and effect.begun:
        return f"told {_said(poll)}, and in the end its steps are there {effect.steps} times", poll.at
    if poll.state == "applied" and not effect.complete:
        return f"told {_said(poll)}, and in the end its steps are there {effect.steps} times", poll.at
    return None


def _against_another(told: list[Poll]) -> Iterator[tuple[str, float] | None]:
    """What has ended does not wait again, nor end otherwise."""
    ended: Poll | None = None
    for poll in told:
        if ended is not None and poll.state is not None and poll.state != ended.state and poll.at > ended.at:
            yield f"told {_said(ended)}, and then {_said(poll)}", poll.at
        if poll.state in ENDED:
            ended = ended or poll


def _said(poll: Poll) -> str:
    reason = f" ({poll.reason})" if poll.reason else ""
    return f"`{poll.state}`{reason}" if poll.state else str(poll.http)
