"""Who may have the metrics: whoever has the token, and not too often. What is refused is counted, and soon told no more.

There is no name of a stranger to count by, and a table of addresses could be filled: all who are refused have one limit, which
those with the right token do not share.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Literal

from prodfix.process.native import allocate_lock
from prodfix.process.per_process import in_each_process
from prodfix.slotted import mutable

Verdict = Literal["admitted", "refused", "limited"]

SCRAPES = 60  # at once, in one worker, and then so many a minute
REFUSALS = 10  # that are told one by one; further ones are answered in the fewest words
MINUTE = 60.0


@mutable
class Allowance:
    """So many at once, and so many a minute."""

    most: int
    left: float
    at: float

    def take(self, now: float) -> bool:
        self.left = min(self.most, self.left + (now - self.at) * self.most / MINUTE)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Admission:
    """Of one worker. ``token`` is None where whoever reaches the port may have them. ``clock`` is monotonic."""

    def __init__(self, token: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._expected = None if token is None else f"bearer {token}".encode()
        self._clock = clock
        in_each_process(self._renew)
        now = clock()
        self._scrapes, self._refusals = Allowance(SCRAPES, SCRAPES, now), Allowance(REFUSALS, REFUSALS, now)

    def _renew(self) -> None:
        self._lock = allocate_lock()

    def judge(self, authorization: str | None) -> Verdict:
        """What becomes of a request with this ``Authorization``. The token is compared in constant time."""
        known = self._expected is None or self._is_ours(authorization or "")
        with self._lock:
            if (self._scrapes if known else self._refusals).take(self._clock()):
                return "admitted" if known else "refused"
        return "limited"

    def _is_ours(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        given = f"{scheme.lower()} {token.strip()}".encode("utf-8", "replace")
        return hmac.compare_digest(given, self._expected or b"")
