"""The deployment: where settings come from, how gunicorn runs, and what `make run` starts.

gunicorn's arbiter loads parts of it before anything is patched: those import nothing but Python and what makes the
library's lines. It may import ``prodfix``; neither the library nor a plug-in imports it. The embedded database is for
development and tests, in a process of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from prodfix.logs import lines

if TYPE_CHECKING:
    from prodfix import Settings, SettingsError

__all__ = ["load_settings", "refuse"]

ENV_FILE = Path(".env")
APP_LOAD_ERROR = 4  # of gunicorn.arbiter.Arbiter: it stops, instead of trying for ever


def load_settings() -> Settings:
    """The settings of the served application: the environment, over ``.env`` in the working directory.

    Raises :class:`prodfix.SettingsError` that names every wrong variable.
    """
    # gunicorn's arbiter imports `config.access_log` before any worker has patched; pymongo loaded there, with its own ssl
    # context class, makes every TLS connection of a preloaded worker hang.
    from prodfix import Settings

    return Settings.from_env(ENV_FILE, served=True)


def refuse(error: SettingsError) -> NoReturn:
    """End a process whose settings are not usable, and say why: to who typed a command, or in the server's log."""
    import click  # as above: the arbiter needs none of it

    if click.get_current_context(silent=True) is not None:
        from prodfix.cli.refusal import SettingsRefused

        raise SettingsRefused(error) from None
    lines.tell("critical", "The settings are not usable", problems=error.problems)
    sys.exit(APP_LOAD_ERROR)
