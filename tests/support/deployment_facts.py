"""What the files of a deployment are held against: the routes of the served application, and how gunicorn is configured."""

from __future__ import annotations

import runpy
from functools import cache
from typing import Any

from blueprints import BLUEPRINTS
from prodfix import Settings, create_app
from tests.support import REPOSITORY
from tests.support.taken_over import given_back


@cache
def routes() -> frozenset[str]:
    """The paths that the served application has."""
    with given_back():
        app = create_app(Settings(app_env="development"), BLUEPRINTS)
        app.extensions["prodfix"].close()
    return frozenset(str(rule) for rule in app.url_map.iter_rules())


@cache
def gunicorn_configuration() -> dict[str, Any]:
    """What config/gunicorn.conf.py sets where no variable says otherwise."""
    return runpy.run_path(str(REPOSITORY / "config" / "gunicorn.conf.py"))


def unknown_settings(names: list[str]) -> list[str]:
    """Those that no setting of ours is."""
    return [name for name in names if name.removeprefix("PRODFIX_").lower() not in Settings.model_fields]


def seconds(text: str | int) -> float:
    """Of a duration as Docker, systemd and Kubernetes write it: ``35s``, ``2min``, ``35``."""
    units = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "": 1}
    number = str(text).rstrip("abcdefghijklmnopqrstuvwxyz")
    return float(number) * units[str(text)[len(number) :]]
