"""Which commands only look: those need the settings and the files of the workers, and not the application.

Known before anything is loaded, by the words that were typed: this imports nothing but Python.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

GROUP = "prodfix"
LOOKING = frozenset(
    {"alerts", "deferred", "errors", "health", "incidents", "log-level", "queries", "request", "stacks", "token"}
)
LOADING = frozenset(
    # What the application has declared: rows of its own, and the operations of its deferred writes.
    {
        ("errors", "table"),
        ("deferred", "drain"),
        ("deferred", "salvage"),
        ("deferred", "replay"),
        ("deferred", "discard"),
    }
    | {("alerts", "test")}  # whose text has the address of the diagnostics
)
"""Commands of those groups that need the application all the same."""


def only_looks(words: Sequence[str]) -> bool:
    """Whether ``flask`` was given a command of ours that needs no application. What is not known needs it."""
    if GROUP not in words:
        return False
    named = [word for word in words[words.index(GROUP) + 1 :] if not word.startswith("-")]
    return not named or (named[0] in LOOKING and tuple(named[:2]) not in LOADING)


def looking_process() -> bool:
    """Whether this process is ``flask`` with such a command, and neither a server nor somebody's script."""
    cli, click = sys.modules.get("flask.cli"), sys.modules.get("click")
    if cli is None or click is None or not only_looks(sys.argv[1:]):
        return False
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.find_root().command, cli.FlaskGroup)
