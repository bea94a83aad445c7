"""A logger says more for a while, and then what it said before; the driver's never the values of users."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import orjson
import pytest

from prodfix.logs.logger_levels import LoggerLevels
from prodfix.web.application import Application


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    names = (None, "shop", "shop.orders", "pymongo", "pymongo.command")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_a_level_is_what_it_was_before_when_it_ends() -> None:
    logger, levels = logging.getLogger("shop.orders"), LoggerLevels()
    logger.setLevel(logging.ERROR)
    levels.follow({"shop.orders": "debug"})
    levels.follow({"shop.orders": "info", "shop": "warn"})
    assert (logger.level, logging.getLogger("shop").level) == (logging.INFO, logging.WARNING)
    levels.follow({})
    assert (logger.level, logging.getLogger("shop").level) == (logging.ERROR, logging.NOTSET)


@pytest.mark.parametrize("levels", [{"root": "debug"}, {"pymongo": "debug"}, {"pymongo.command": "debug"}])
def test_the_driver_never_says_values(levels: dict[str, str]) -> None:
    logging.getLogger("pymongo").setLevel(logging.NOTSET)
    driver = logging.getLogger("pymongo.command")
    logging.getLogger().setLevel(logging.DEBUG)
    assert driver.isEnabledFor(logging.DEBUG)  # the control: what a root logger at DEBUG does by itself
    logging.getLogger().setLevel(logging.INFO)
    followed = LoggerLevels()
    followed.follow(levels)
    assert not driver.isEnabledFor(logging.DEBUG)
    followed.follow({})
    assert (logging.getLogger("pymongo").level, driver.level) == (logging.NOTSET, logging.NOTSET)


class Kept:
    name = "console"

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, data: bytes) -> None:
        self.lines += [str(orjson.loads(line)["message"]) for line in data.splitlines()]


def test_where_the_logging_is_ours_the_console_has_it(serve: Callable[..., Application]) -> None:
    from loguru import logger as loguru

    logs = serve([]).extensions["prodfix"].logs
    logs.sinks.replace(kept := Kept())

    def say(word: str) -> list[str]:
        kept.lines.clear()
        logging.getLogger("shop.orders.new").debug("child %s", word)
        logging.getLogger("shop.prices").debug("other %s", word)
        logging.getLogger("shop.prices").info("info %s", word)
        loguru.patch(lambda record: record.update(name="shop.orders")).debug("loguru {}", word)
        assert logs.sinks.flush(30)
        return sorted(kept.lines)

    assert say("before") == ["info before"]
    logs.levels.follow({"shop.orders": "debug"})
    assert say("now") == ["child now", "info now", "loguru now"]
    logs.levels.follow({"root": "error"})
    assert say("quiet") == []
    logs.levels.follow({})
    assert say("after") == ["info after"]
