"""The one policy of trying again: exponential backoff with bounded jitter, a limit of tries, and never past the deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception

from prodfix.deadlines import backoff, remaining

Note = Callable[[int, float, BaseException], None]


def retrying(
    *,
    retries: int,
    base: float,
    transient: Callable[[BaseException], bool],
    jitter: float = 0.1,
    on_retry: Note = lambda attempt, delay, error: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Retrying:
    """A tenacity controller: ``1 + retries`` tries at most, delays of ``base`` seconds, 2x, 4x ... up to 16 s, each spread by
    ``jitter`` (a share of it).

    A delay that the request's deadline does not leave is not begun. ``on_retry`` is told of each delay before it; the
    error at the end is the operation's own, never tenacity's.
    """

    def stop(state: RetryCallState) -> bool:
        left = remaining()
        # upcoming_sleep is not computed yet when tenacity asks whether to stop, so the longest it can be is compared.
        return state.attempt_number > retries or (
            left is not None and left <= backoff(state.attempt_number, base, jitter=0) * (1 + jitter)
        )

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            on_retry(state.attempt_number, state.upcoming_sleep, error)

    return Retrying(
        stop=stop,
        wait=lambda state: backoff(state.attempt_number, base, jitter=jitter),
        retry=retry_if_exception(transient),
        before_sleep=before_sleep,
        sleep=sleep,
        reraise=True,
    )
