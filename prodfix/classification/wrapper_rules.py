"""Errors that are what another one is: a retry that gave up, Flask's 500, a wrapper, a group, one that came from the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pymongo import errors as mongo

from prodfix.causes import MOST, ancestry, given_up
from prodfix.classification import outbound, wrappers
from prodfix.classification.classifications import Classification, with_outcome
from prodfix.classification.web_errors import original
from prodfix.errors import ErrorCategory, Outcome, PartlyApplied, Severity
from prodfix.loaded import loaded

Within = Callable[[BaseException], Classification]
"""Classifies an error that another one holds, one level deeper."""

_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def passed_on(error: BaseException, within: Within) -> Classification | None:
    """What ``error`` only passes on; ``None`` if it is one of its own."""
    for inner in (given_up(error), original(error)):
        if inner is not None:
            return within(inner)
    return _wrapped(error, within) or _grouped(error, within) or _partly_applied(error, within)


def of_origin(error: BaseException, within: Within, *, known: Classification | None) -> Classification | None:
    """The error of the driver, or of a call to somebody else, that an application's came from. ``known``: what is known of
    ``error`` without it.

    ``raise Failed from error`` claims that it is that error. Without ``from`` it is one that happened while the other was
    handled: that may tell why the service fails, but never that the client did; and what the code in between has done
    to the database is not known.
    """
    unknown = known is None or known.category is ErrorCategory.UNKNOWN
    for origin, claimed in ancestry(error):
        if not claimed and known is not None:
            return None
        if _is_drivers(origin) or (unknown and outbound.failure(origin) is not None):
            found = within(origin)
            return found if claimed else _not_claimed(found)
    return None


def _not_claimed(found: Classification) -> Classification | None:
    if found.status < 500:
        return None
    return with_outcome(found, Outcome.UNKNOWN if found.outcome is not None else None)


def _wrapped(error: BaseException, within: Within) -> Classification | None:
    """What the error means that ``error`` wraps by its class; ``None`` if that is nothing that is known."""
    inner = wrappers.wrapped(error)
    if inner is None:
        return None
    found = wrappers.key_service_failed(inner) or within(inner)
    return wrappers.decided_after(error, found) if found.category is not ErrorCategory.UNKNOWN else None


def _grouped(error: BaseException, within: Within) -> Classification | None:
    """A group is what its worst member is, and may be tried again only if every one of them may."""
    if not isinstance(error, BaseExceptionGroup):
        return None
    members = [within(member) for member in error.exceptions]
    worst = max(members, key=lambda row: (_RANK[row.severity], row.status))
    outcomes = {row.outcome for row in members}
    row = with_outcome(worst, outcomes.pop() if len(outcomes) == 1 else Outcome.UNKNOWN)
    return replace(
        row,
        retryable=all(member.retryable for member in members),
        transient=all(member.transient for member in members),
        details=(),
    )


def _partly_applied(error: BaseException, within: Within) -> Classification | None:
    if not isinstance(error, PartlyApplied) or error.__cause__ is None:
        return None
    return with_outcome(within(error.__cause__), Outcome.UNKNOWN)


def _is_drivers(error: BaseException, depth: int = 0) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return depth < MOST and any(_is_drivers(member, depth + 1) for member in error.exceptions)
    return isinstance(error, (mongo.PyMongoError, loaded("tenacity", "RetryError")))
