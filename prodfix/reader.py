"""The services of the served application for a process that only looks, without the application.

Its blueprints, its hooks, gevent and loguru take more than half of the time that a command takes, and none of them knows
what the settings, the journals and MongoDB do not.
"""

from __future__ import annotations

import logging

from flask import Flask

from prodfix.cli import group as cli
from prodfix.composition import Composition
from prodfix.links import links_of
from prodfix.services import EXTENSION
from prodfix.settings import Settings


def create_reader(settings: Settings) -> Flask:
    """An application with nothing but the services and ``flask prodfix``: for commands of :mod:`prodfix.cli.early_words`.

    It answers no request. Only of the served application all settings are in the environment: a host's are known to nobody
    but its code.
    """
    app = Flask("prodfix", static_folder=None, template_folder=None)
    logging.getLogger().addHandler(logging.NullHandler())  # else Python prints what libraries warn of, as it is
    app.extensions[EXTENSION] = Composition(
        settings,
        uri=settings.mongodb_uri.get_secret_value() if settings.mongodb_uri else None,
        classifications=None,
        settings_key=None,
        links=links_of(app.extensions),
        testing=lambda: False,
        served=True,
    ).services
    cli.attach(app)
    return app
