"""What an admin may do, as JSON."""

from __future__ import annotations

from prodfix import NotFound, current_prodfix
from prodfix.blueprints.diagnostics import envelopes, parameters
from prodfix.blueprints.diagnostics.endpoints import blueprint_of, endpoint
from prodfix.blueprints.diagnostics.guard import admin, spend_trial
from prodfix.models import DeferredCommand, Ordered, Tested

blueprint = blueprint_of("changes")


@endpoint(blueprint, "POST", "/errors/groups/<fingerprint>/resolve", envelopes.Changed, body=parameters.Resolution)
def resolve(fingerprint: str, body: parameters.Resolution) -> envelopes.Changed:
    """Mark a kind of error as done: what comes back is a regression.

    With `inNextRelease` only in a release that it was not seen in yet.
    """
    window = current_prodfix.requests.statistics.read("7d").window
    done = current_prodfix.errors.groups.resolve(
        fingerprint[:64], window, by=admin(), in_next_release=body.in_next_release
    )
    return _changed(done)


@endpoint(blueprint, "POST", "/errors/groups/<fingerprint>/reopen", envelopes.Changed)
def reopen(fingerprint: str) -> envelopes.Changed:
    """Take that back."""
    return _changed(current_prodfix.errors.groups.reopen(fingerprint[:64]))


@endpoint(blueprint, "POST", "/deferred/<operation_id>/replay", Ordered, status=202)
def replay(operation_id: str) -> Ordered:
    """Try a write again that was put aside, or one that waits at once. The worker that has it does so within a second."""
    return _order("replay", operation_id)


@endpoint(blueprint, "POST", "/deferred/<operation_id>/discard", Ordered, status=202)
def discard(operation_id: str) -> Ordered:
    """Give a write up for good. Its owner is told that it failed."""
    return _order("discard", operation_id)


@endpoint(blueprint, "POST", "/test", Tested, body=parameters.Test)
def test(body: parameters.Test) -> Tested:
    """Try an operation on the database, in a collection of its own, and leave nothing behind.

    The answer is 200 also if the operation fails: then `success` is false, and `steps` says where.
    """
    spend_trial()
    return current_prodfix.diagnostics.selftest.run(body.operation)


def _order(command: DeferredCommand, operation_id: str) -> Ordered:
    return current_prodfix.deferral.backlog.order(command, operation_id, admin())


def _changed(found: bool) -> envelopes.Changed:
    if not found:
        raise NotFound("no such group")
    return envelopes.Changed()
