"""What an exception came from: what it claims with ``raise ... from``, what it interrupted, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prodfix.loaded import loaded

MOST = 20  # links of one chain; a cycle ends sooner


def given_up(error: BaseException) -> BaseException | None:
    """What the last try of a ``tenacity.RetryError`` ended with; ``None`` for another error, or a try without one."""
    last: Any = getattr(error, "last_attempt", None) if isinstance(error, loaded("tenacity", "RetryError")) else None
    # Asking one that is not done would wait for it.
    return last.exception() if last is not None and last.done() and not last.cancelled() else None


def came_from(error: BaseException) -> BaseException | None:
    """The cause, or without one what was being handled, unless ``from None`` hides it."""
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def ancestry(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """What ``error`` came from, nearest first, each with whether all up to there was claimed with ``raise ... from``."""
    seen = {id(error)}
    claimed, current = True, error
    while len(seen) < MOST:
        claimed = claimed and current.__cause__ is not None
        found = came_from(current)
        if found is None or id(found) in seen:
            return
        seen.add(id(found))
        yield found, claimed
        current = found


def chain(error: BaseException) -> list[BaseException]:
    """The error, then all that it came from, nearest first: members of a group, what a RetryError gave up on, causes and
    contexts; at most ``MOST``."""
    if came_from(error) is None and not isinstance(
        error, (BaseExceptionGroup, loaded("tenacity", "RetryError"))
    ):  # as most
        return [error]
    found: list[BaseException] = []
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < MOST:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            found.append(current)
            members = current.exceptions[:MOST] if isinstance(current, BaseExceptionGroup) else ()
            origins = (*members, given_up(current), came_from(current))
            waiting += [origin for origin in reversed(origins) if origin is not None]
    return found
