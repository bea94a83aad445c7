"""Error trackers that make an event of every line of every logger: ours tell of errors that they know better already.

Sentry's SDK does so with what is logged as an error, under the text of the log call: all of our lines would be one issue, beside
the one that it makes of the exception. Whoever wants them there says ``unignore_logger("prodfix")``, once this has been done.
"""

from __future__ import annotations

import sys

_SENTRY = "sentry_sdk.integrations.logging"


class Trackers:
    """Asks each tracker that is there, once, to pass over the lines of ``name``: the logger that has ours, and nobody else's. It
    may be loaded at any time before it hears of one."""

    def __init__(self, name: str) -> None:
        self._name, self._asked = name, False

    def ask(self) -> None:
        """Raises what a tracker raises, which nobody should."""
        sentry = None if self._asked else sys.modules.get(_SENTRY)
        ignore = getattr(sentry, "ignore_logger", None)
        if ignore is not None:
            self._asked = True
            ignore(self._name)
