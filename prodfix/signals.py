"""Signals that an application may listen to (blinker). Receivers run where the event happened and must not block."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

connection_changed = _signals.signal("prodfix.connection-changed")
"""Sent with ``event`` (a :class:`prodfix.connection.status.ConnectionEvent`) after each change of state."""

error_recorded = _signals.signal("prodfix.error-recorded")
"""Sent with ``record`` (a :class:`prodfix.records.records.ErrorRecord`) after an error was logged."""

error_regressed = _signals.signal("prodfix.error-regressed")
"""Sent with ``group`` (fingerprint, message, code, category, releases, at) when a resolved kind of error is back, by one worker
only."""

error_kind_appeared = _signals.signal("prodfix.error-kind-appeared")
"""Sent with ``group`` (fingerprint, message, headline, place, code, category, releases, at) when a kind of error is seen that
nobody has seen before, by one worker only; not within the first hour of all, in which everything is new. What is a consequence of
an outage of the database has its ``incident``; so has a regression."""

error_escalated = _signals.signal("prodfix.error-escalated")
"""Sent with ``group`` (fingerprint, message, headline, place, code, category, releases, escalation) when a kind of error happens
more often than its last days predict, by one worker only."""

error_unignored = _signals.signal("prodfix.error-unignored")
"""Sent with ``group`` (fingerprint, message, headline, place, code, category, releases, ignoredUntil) when what a kind of error
was ignored until has come, by one worker only: so many more of it, or its first error after a time."""
