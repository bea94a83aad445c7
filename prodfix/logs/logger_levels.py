"""Levels of loggers for a while: more of one of them, without a restart and without more of all the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Literal, get_args

LoggerLevel = Literal["debug", "info", "warn", "error"]
LEVELS: tuple[LoggerLevel, ...] = get_args(LoggerLevel)
ROOT = "root"
DRIVER = "pymongo"

_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def of_driver(name: str) -> bool:
    """Whether it is one of the driver's loggers: at DEBUG they print whole commands, with the values of users in them."""
    return name == DRIVER or name.startswith(f"{DRIVER}.")


class LoggerLevels:
    """Those of this process. ``console`` is told the numbers, where the logging is ours, which has a level of its own."""

    def __init__(self, console: Callable[[Mapping[str, int]], None] | None = None) -> None:
        self._console = console
        self._before: dict[str, int] = {}

    def follow(self, levels: Mapping[str, str]) -> None:
        """From now on these, and what they were before for those that are not in it any more."""
        wanted = {name: _NUMBERS[level] for name, level in levels.items() if level in _NUMBERS}
        wanted = {name: max(number, logging.INFO) if of_driver(name) else number for name, number in wanted.items()}
        if wanted.get(ROOT, logging.INFO) < logging.INFO:
            wanted.setdefault(DRIVER, max(logging.INFO, logging.getLogger(DRIVER).level))
        for name in self._before.keys() - wanted.keys():
            _logger(name).setLevel(self._before.pop(name))
        for name, number in wanted.items():
            logger = _logger(name)
            self._before.setdefault(name, logger.level)
            logger.setLevel(number)
        if self._console is not None:
            self._console(wanted)


def _logger(name: str) -> logging.Logger:
    return logging.getLogger(None if name == ROOT else name)
