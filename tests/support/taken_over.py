"""The logging of this process, which a served application takes over: given back, and asked whether it was."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

from loguru import logger

_LOGGERS = ("gunicorn.error", "gunicorn.access", "werkzeug", "flask.app", "py.warnings", "pymongo")


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """What a served application has changed within is put back at the end; loguru has no sink then."""
    loggers = [logging.root, *map(logging.getLogger, _LOGGERS)]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    shown, hook = warnings.showwarning, threading.excepthook
    yield
    warnings.showwarning, threading.excepthook = shown, hook
    for each, handlers, level, propagate in before:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)
    logger.remove()


def is_taken_over() -> bool:
    """Whether a record of the standard library's goes to a handler of prodfix's."""
    return any(type(handler).__module__.startswith("prodfix.") for handler in logging.root.handlers)
