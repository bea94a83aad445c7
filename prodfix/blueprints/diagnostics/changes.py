"""What an admin may do, as JSON."""

from __future__ import annotations

from prodfix import NotFound, current_prodfix
from prodfix.blueprints.diagnostics import change_bodies, envelopes
from prodfix.blueprints.diagnostics.endpoints import blueprint_of, endpoint
from prodfix.blueprints.diagnostics.guard import admin, spend_trial
from prodfix.models import DeferredCommand, Ordered, OrderedAlike, Tested, TriageResult

blueprint = blueprint_of("changes")

_KIND = "/errors/groups/<fingerprint>"


@endpoint(blueprint, "POST", f"{_KIND}/resolve", envelopes.Changed, body=change_bodies.Resolution, kept=True)
def resolve(fingerprint: str, body: change_bodies.Resolution) -> envelopes.Changed:
    """Mark a kind of error as done: what comes back is a regression.

    With `inNextRelease` only in a release that it was not seen in yet.
    """
    window = current_prodfix.requests.statistics.read("7d").window
    done = current_prodfix.errors.triage.resolve(
        fingerprint[:64], window, by=admin(), in_next_release=body.in_next_release
    )
    return _changed(done)


@endpoint(blueprint, "POST", f"{_KIND}/reopen", envelopes.Changed, kept=True)
def reopen(fingerprint: str) -> envelopes.Changed:
    """Take that back, or that it is ignored."""
    window = current_prodfix.requests.statistics.read("7d").window
    return _changed(current_prodfix.errors.triage.reopen(fingerprint[:64], window, by=admin()))


@endpoint(blueprint, "POST", f"{_KIND}/ignore", envelopes.Changed, body=change_bodies.Ignoring, kept=True)
def ignore(fingerprint: str, body: change_bodies.Ignoring) -> envelopes.Changed:
    """Let nobody hear of a kind of error. It is counted all the same.

    For ever, or until a time, until so many more of it have happened, or until it escalates: one of these.
    """
    window, given = current_prodfix.requests.statistics.read("7d").window, body.model_dump()
    return _changed(current_prodfix.errors.triage.ignore(fingerprint[:64], window, by=admin(), **given))


@endpoint(blueprint, "POST", f"{_KIND}/note", envelopes.Changed, body=change_bodies.Noting, kept=True)
def note(fingerprint: str, body: change_bodies.Noting) -> envelopes.Changed:
    """Write a note of a kind of error, who looks after it, or the address of an issue. An empty text takes away what was there.

    What looks like a secret is kept masked.
    """
    window, given = current_prodfix.requests.statistics.read("7d").window, body.model_dump()
    return _changed(current_prodfix.errors.triage.note(fingerprint[:64], window, by=admin(), **given))


@endpoint(blueprint, "POST", "/alerts/mute", envelopes.Muted, body=change_bodies.Muting)
def mute(body: change_bodies.Muting) -> envelopes.Muted:
    """Let nobody hear of a rule of alerts, or of `all`, for a while.

    It holds for all instances: those that MongoDB reaches know it before they tell anything. What still is the case when it
    ends is told then; an event of a kind of error is not. Ends of what was told before are told.
    """
    return envelopes.Muted(current_prodfix.alerts.mute(body.rule, admin(), span=body.span, until=body.end()))


@endpoint(blueprint, "POST", "/alerts/unmute", envelopes.Muted, body=change_bodies.Unmuting)
def unmute(body: change_bodies.Unmuting) -> envelopes.Muted:
    """Take that back. While `all` is muted, a single rule stays so."""
    return envelopes.Muted(current_prodfix.alerts.unmute(body.rule, admin()))


@endpoint(blueprint, "POST", "/deferred/<operation_id>/replay", Ordered, status=202)
def replay(operation_id: str) -> Ordered:
    """Try a write again that was put aside, or one that waits at once. The worker that has it does so within a second."""
    return _order("replay", operation_id)


@endpoint(blueprint, "POST", "/deferred/<operation_id>/discard", Ordered, status=202)
def discard(operation_id: str) -> Ordered:
    """Give a write up for good. Its owner is told that it failed."""
    return _order("discard", operation_id)


@endpoint(
    blueprint,
    "POST",
    "/deferred/replay",
    OrderedAlike,
    body=change_bodies.Alike,
    status=202,
    operation="replayDeferredWrites",
)
def replay_alike(body: change_bodies.Alike) -> OrderedAlike:
    """Try all writes again that are alike: of one operation, and of one reason if it is given.

    One call orders 200 at most, the oldest first, and says how many are left. Of those that wait only such are tried at once as
    rest between two tries.
    """
    return _order_alike("replay", body)


@endpoint(
    blueprint,
    "POST",
    "/deferred/discard",
    OrderedAlike,
    body=change_bodies.Alike,
    status=202,
    operation="discardDeferredWrites",
)
def discard_alike(body: change_bodies.Alike) -> OrderedAlike:
    """Give up all writes that are alike, for good: of one operation, and of one reason if it is given.

    One call orders 200 at most, the oldest first, and says how many are left. Their owners are told that they failed.
    """
    return _order_alike("discard", body)


@endpoint(blueprint, "POST", "/test", Tested, body=change_bodies.Test, operation="testDatabase")
def test(body: change_bodies.Test) -> Tested:
    """Try an operation on the database, in a collection of its own, and leave nothing behind.

    The answer is 200 also if the operation fails: then `success` is false, and `steps` says where.
    """
    spend_trial()
    return current_prodfix.diagnostics.selftest.run(body.operation)


def _order(command: DeferredCommand, operation_id: str) -> Ordered:
    return current_prodfix.deferral.backlog.order(command, operation_id, admin())


def _order_alike(command: DeferredCommand, body: change_bodies.Alike) -> OrderedAlike:
    groups = current_prodfix.deferral.backlog.groups
    return groups.order(command, admin(), operation=body.operation, reason=body.reason, state=body.state)


def _changed(result: TriageResult) -> envelopes.Changed:
    if not result:
        raise NotFound("no such group")
    return envelopes.Changed(pending=True if result is TriageResult.PENDING else None)
