"""The deployment: where settings come from, how gunicorn runs, and what `make run` starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodfix import Settings

__all__ = ["load_settings"]

ENV_FILE = Path(".env")


def load_settings() -> Settings:
    """The settings of the served application: the environment, over ``.env`` in the working directory.

    Raises :class:`prodfix.SettingsError` that names every wrong variable.
    """
    # gunicorn's arbiter imports `config.access_log` before any worker has patched; pymongo loaded there, with its own ssl
    # context class, makes every TLS connection of a preloaded worker hang.
    from prodfix import Settings

    return Settings.from_env(ENV_FILE, served=True)
