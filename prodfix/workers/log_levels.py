"""Which loggers have another level for a while, in all workers of the instance and in those that are yet to start.

Each is a small file in ``STATE_DIR/journal/levels``, which ends by itself; a worker looks there when it starts, and when an admin
has changed something.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, Literal

import orjson

from prodfix.errors import FieldError, JournalUnavailable, ValidationFailed
from prodfix.journal.journal import Journal
from prodfix.logs.logger_levels import LEVELS, LoggerLevel, of_driver
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

FOLDER = "levels"
MOST = 50  # loggers
LONGEST = 240  # minutes
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}$"
UsualLevel = Literal["debug", "info", "warn", "error", "usual"]


@frozen
class LogLevel(Serializable):
    """The level of one logger, and until when."""

    logger: str
    level: LoggerLevel
    until: datetime
    by: str


@frozen
class LogLevelsReport(Serializable):
    """Those that are in force now."""

    levels: Annotated[
        list[LogLevel], Description("Loggers with another level than usual, for all workers of the instance")
    ]


class LogLevels:
    """Those of one instance. ``follow`` lets the loggers of this process have them; ``tell_all`` lets all workers look."""

    def __init__(
        self,
        journal: Journal,
        *,
        follow: Callable[[Mapping[str, str]], None],
        tell_all: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._follow, self._tell_all, self._clock = journal, follow, tell_all, clock
        self._folder = journal.folder / FOLDER
        self._followed: dict[str, str] = {}
        self._end: float | None = None

    def set(self, logger: str, level: UsualLevel, *, minutes: int, by: str) -> LogLevelsReport:
        """From now on, for so many minutes; ``usual`` takes it back. All workers follow within two seconds.

        Raises :class:`prodfix.errors.ValidationFailed` for what is no logger, for the driver's at ``debug``, and for one too
        many; :class:`prodfix.errors.JournalUnavailable` if the disk fails.
        """
        if re.fullmatch(NAME, logger) is None:
            raise _refused("logger", "pattern", "is no name of a logger, such as shop.orders or root")
        if level == "debug" and of_driver(logger):
            raise _refused("level", "values", "the driver's loggers print values of users at debug: info at least")
        if not 1 <= minutes <= LONGEST:
            raise _refused("minutes", "range", f"must be 1 to {LONGEST}")
        entry = {"logger": logger, "level": level, "until": self._clock() + minutes * 60, "by": by[:200]}
        try:
            self._journal.aside(self._put, entry)
        except (OSError, TimeoutError) as error:
            raise JournalUnavailable(type(error).__name__) from error
        return self.read()

    def read(self) -> LogLevelsReport:
        """Those in force. Raises :class:`prodfix.errors.JournalUnavailable` if the disk fails."""
        try:
            found = self._journal.aside(self._read)
        except (OSError, TimeoutError) as error:
            raise JournalUnavailable(type(error).__name__) from error
        return LogLevelsReport(
            [
                LogLevel(one["logger"], one["level"], datetime.fromtimestamp(one["until"], UTC), one["by"])
                for one in sorted(found, key=lambda one: str(one["logger"]))
            ]
        )

    def look(self) -> None:
        """Follow what is there. Raises ``TimeoutError`` and ``OSError`` if the disk fails."""
        found = self._journal.aside(self._read)
        self._end = min((one["until"] for one in found), default=None)
        levels = {one["logger"]: one["level"] for one in found}
        if levels != self._followed:
            self._follow(levels)
            self._followed = levels

    def tick(self) -> None:
        """What has ended is over. Costs nothing while nothing has."""
        if self._end is not None and self._clock() >= self._end:
            self.look()

    def _put(self, entry: Mapping[str, Any]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{blake2b(entry['logger'].encode(), digest_size=8).hexdigest()}.json"
        if entry["level"] == "usual":
            path.unlink(missing_ok=True)
        else:
            if not path.exists() and len(self._read()) >= MOST:
                raise _refused("logger", "most", f"{MOST} loggers have another level already")
            draft = self._folder / f"{secrets.token_hex(8)}.new"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(entry))
            os.rename(draft, path)
        self._tell_all()

    def _read(self) -> list[dict[str, Any]]:
        """Those that have not ended; what has ended, or is none, is removed."""
        found: list[dict[str, Any]] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(self._folder.iterdir())[: 2 * MOST]:
                with contextlib.suppress(OSError):
                    entry = _entry(path.read_bytes()[:4096]) if path.suffix == ".json" else None
                    if entry is not None and entry["until"] > self._clock():
                        found.append(entry)
                    elif path.suffix == ".json" or self._clock() - path.stat().st_mtime > 60:
                        path.unlink(missing_ok=True)
        return found


def _entry(content: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(orjson.JSONDecodeError):
        entry = orjson.loads(content)
        texts = isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in ("logger", "by"))
        if texts and entry.get("level") in LEVELS and isinstance(entry.get("until"), (int, float)):
            return entry  # type: ignore[no-any-return]
    return None


def _refused(field: str, code: str, message: str) -> ValidationFailed:
    return ValidationFailed("not a level of a logger", problems=(FieldError(field, code, message),))
