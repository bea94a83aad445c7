"""The one policy of trying again: exponential backoff with bounded jitter, a limit of tries, and never past the deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prodfix.deferral.writes import Write
from prodfix.request.deadlines import backoff, database_remaining
from prodfix.slotted import frozen

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying


@frozen
class RetryDetails:
    """What recovery tells of one operation, to each of its hooks.

    ``attempt``: how many tries there were; ``error``: what the last one has ended with that failed; ``delay``: seconds until the
    next one, 0 if there is none; ``write``: what waits now, where something does.
    """

    attempt: int
    error: BaseException
    delay: float = 0.0
    write: Write | None = None


Hook = Callable[[RetryDetails], None]


def fits(attempt: int, base: float, left: float | None, jitter: float = 0.1) -> bool:
    """Whether ``left`` seconds are more than the longest that the delay after this attempt can be."""
    return left is None or left > backoff(attempt, base, jitter=0) * (1 + jitter)


def retrying(
    *,
    retries: int,
    base: float,
    transient: Callable[[BaseException], bool],
    jitter: float = 0.1,
    on_retry: Hook = lambda details: None,
    allowed: Callable[[], bool] = lambda: True,
    sleep: Callable[[float], None] = time.sleep,
) -> Retrying:
    """A tenacity controller: ``1 + retries`` tries at most, delays of ``base`` seconds, 2x, 4x ... up to 16 s, each spread by
    ``jitter`` (a share of it).

    A delay that the database's part of the request's deadline does not leave is not begun. ``allowed`` is asked last, for
    each retry that would be made. ``on_retry`` is told of each delay before it; the error at the end is the operation's
    own, never tenacity's.
    """
    from tenacity import Retrying, retry_if_exception

    def stop(state: RetryCallState) -> bool:
        return (
            state.attempt_number > retries
            or not fits(state.attempt_number, base, database_remaining(), jitter)
            or not allowed()
        )

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            on_retry(RetryDetails(state.attempt_number, error, state.next_action.sleep if state.next_action else 0.0))

    return Retrying(
        stop=stop,
        wait=lambda state: backoff(state.attempt_number, base, jitter=jitter),
        retry=retry_if_exception(transient),
        before_sleep=before_sleep,
        sleep=sleep,
        reraise=True,
    )
