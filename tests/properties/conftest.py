"""The served application that most of the properties ask."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from tests.properties.site import Site

_TAKEN_OVER = ("gunicorn.error", "gunicorn.access", "werkzeug", "flask.app", "py.warnings", "pymongo")


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """The served application takes over the logging of its process: here it is given back."""
    loggers = [logging.root, *map(logging.getLogger, _TAKEN_OVER)]
    before = [(each, each.handlers, each.level, each.propagate) for each in loggers]
    shown, hook = warnings.showwarning, threading.excepthook
    yield
    warnings.showwarning, threading.excepthook = shown, hook
    for each, handlers, level, propagate in before:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)
    logger.remove()
    logger.add(lambda message: sys.stderr.write(message))  # noqa: PLW0108 - pytest has another stderr for each test


@pytest.fixture
def new_site(tmp_path: Path, logging_restored: None) -> Iterator[Callable[..., Site]]:
    """Makes served applications, with logs and journals of their own, and closes them."""
    made: list[Site] = []

    def make(uri: str, **settings: object) -> Site:
        made.append(Site(tmp_path / str(len(made)), uri, **settings))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(new_site: Callable[..., Site], database_uri: str) -> Site:
    """The served application, in production, on a real server."""
    return new_site(database_uri)
