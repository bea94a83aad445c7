"""How often an admin may ask: a limit for all, and a smaller one for what writes into the database.

By ``limits``, the library below Flask-Limiter. The extension itself hooks into every request of the whole application (70 us
each, measured), and these few routes are no reason for that. Windows are counted by each worker for itself, unless
``RATE_LIMIT_STORAGE_URI`` names a store that all share; a store that fails is done without, and told.
"""

from __future__ import annotations

import time

import limits
from werkzeug.exceptions import TooManyRequests

from prodfix import Services, Settings, Severity

NAMESPACE = "prodfix-diagnostics"
TOLD = 60.0  # seconds between two lines of a store that fails


class RateLimits:
    """``general`` is for each request, ``trials`` for those that try something on the database."""

    def __init__(self, settings: Settings) -> None:
        self._general = limits.parse(settings.diagnostics_rate_limit)
        self._trials = limits.parse(settings.diagnostics_test_rate_limit)
        store = settings.rate_limit_storage_uri
        self._uri = store.get_secret_value() if store is not None else None
        self._own = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())
        self._shared: limits.strategies.RateLimiter | None = None
        self._told = -TOLD

    def spend(self, services: Services, subject: str, *, trial: bool = False) -> None:
        """Count one request of ``subject``. Raises :class:`werkzeug.exceptions.TooManyRequests` with ``Retry-After``."""
        item = self._trials if trial else self._general
        names = (NAMESPACE, "trials" if trial else "general", subject)
        try:
            limiter = self._shared or self._open()
            wait = _wait(limiter, item, names)
        except Exception as error:  # noqa: BLE001 - any client's of any store: diagnostics are for when things fail
            self._tell(services, error)
            wait = _wait(self._own, item, names)
        if wait is not None:
            raise TooManyRequests(retry_after=wait)

    def _open(self) -> limits.strategies.RateLimiter:
        # In the process that uses it: a connection that a fork has inherited would be everybody's.
        if self._uri is None:
            self._shared = self._own
        else:
            self._shared = limits.strategies.FixedWindowRateLimiter(limits.storage.storage_from_string(self._uri))
        return self._shared

    def _tell(self, services: Services, error: Exception) -> None:
        now = time.monotonic()
        if now - self._told >= TOLD:
            self._told = now
            facts = {"error": type(error).__name__}
            services.logs.event(Severity.WARN, "rate-limit", "the store of rate limits fails", facts=facts)


def _wait(limiter: limits.strategies.RateLimiter, item: limits.RateLimitItem, names: tuple[str, ...]) -> int | None:
    """None if it may go on, else the seconds until it may."""
    if limiter.hit(item, *names):
        return None
    wait = round(limiter.get_window_stats(item, *names).reset_time - time.time())
    return max(1, min(wait, item.get_expiry()))  # no window is longer, whatever the clock was set to
