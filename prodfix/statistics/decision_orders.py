"""What admins have decided of kinds of errors while MongoDB was away: kept on disk until it can be stored, and shown meanwhile.

Each is a file in a folder beside the journals, which all workers of the instance read, the command line too. It is on the disk,
with its name (fsync of the file, and of the folder), before anybody is told that it is kept. Whichever worker finds MongoDB
first applies all of them in the order of their times, and removes them; doing so twice changes nothing, as each names the moment
from which it holds, and gives way to what was decided later (:mod:`prodfix.statistics.triage`).

| who dies | what is left | who goes on |
| --- | --- | --- |
| before the folder's fsync | nothing, or an order that nobody was told of | whoever asks again |
| after it | the order | any worker of the instance, also one that is started later |
| while it is applied | the order | the same; what is stored already is not changed |
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import orjson

from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal
from prodfix.serialization import Serializable
from prodfix.slotted import frozen

ORDERS_FOLDER = "decisions"  # beside the journals
MOST = 200  # orders that wait
LARGEST = 16 * 1024  # bytes of one
LOOKED_AT = 1_000  # files
DRAFT = 3600.0  # seconds after which a file that was never finished is removed

Action = Literal["resolve", "reopen", "ignore", "note"]
_ACTIONS = get_args(Action)


@frozen
class DecisionOrder(Serializable):
    """One decision of one kind. A part of a note that is None stays as it is; an empty one is taken away. ``had``: how many the
    minute of a decision to ignore it had already."""

    action: Action
    fingerprint: str
    by: str
    at: datetime
    in_next_release: bool = False
    until: datetime | None = None
    more: int | None = None
    escalates: bool = False
    had: int = 0
    text: str | None = None
    owner: str | None = None
    link: str | None = None


class DecisionOrders:
    """The folder. Of one process, with or without a journal of its own."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.time) -> None:
        self._journal, self._clock = journal, clock
        self.folder = journal.folder / ORDERS_FOLDER

    def keep(self, order: DecisionOrder) -> None:
        """Returns once it survives a loss of power. Raises :class:`prodfix.errors.JournalUnavailable` if the disk fails, or too
        many wait: then it may be kept all the same, if the disk was only slow."""
        try:
            self._journal.aside(self._put, order, limit=5.0)
        except (OSError, TimeoutError) as error:
            raise JournalUnavailable(type(error).__name__) from error

    def _put(self, order: DecisionOrder) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(self._read()) >= MOST:  # of what is none of ours there may be any number
            raise JournalUnavailable("too many decisions wait")
        name = f"{int(order.at.timestamp() * 1000):015}-{secrets.token_hex(6)}"
        draft = self.folder / f"{name}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(order.to_json()))
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, self.folder / f"{name}.json")
        for folder in (self.folder, self.folder.parent):  # the file's name, and the folder's own
            _sync(folder)

    def waiting(self) -> dict[str, DecisionOrder]:
        """Those that nobody has applied yet, by the names of their files, the oldest first. Never raises: what the disk does
        not tell in time is not there."""
        try:
            return self._journal.aside(self._read)
        except (OSError, TimeoutError):
            return {}

    def done(self, names: Iterable[str]) -> None:
        """They are stored. Raises ``TimeoutError``; they are applied again then, which changes nothing."""
        self._journal.aside(self._remove, list(names))

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.folder) if name.endswith(".json"))[:LOOKED_AT]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _read(self) -> dict[str, DecisionOrder]:
        found: dict[str, DecisionOrder] = {}
        for name in self._names():
            with contextlib.suppress(OSError):  # another worker has applied it
                order = _parsed(self.folder / name)
                if order is not None:
                    found[name] = order
        return found

    def _remove(self, names: list[str]) -> None:
        for name in names:
            _unlink(self.folder / name)
        with contextlib.suppress(OSError):
            for draft in self.folder.glob("*.new"):
                if self._clock() - draft.stat().st_mtime > DRAFT:
                    _unlink(draft)
        with contextlib.suppress(OSError):
            _sync(self.folder)


def pending_by_kind(orders: Iterable[DecisionOrder]) -> Mapping[str, list[DecisionOrder]]:
    """By fingerprint, the oldest first."""
    found: dict[str, list[DecisionOrder]] = {}
    for order in sorted(orders, key=lambda order: order.at):
        found.setdefault(order.fingerprint, []).append(order)
    return found


def _parsed(path: Path) -> DecisionOrder | None:
    """The order in the file, or None if it is none of ours. Raises ``OSError``."""
    with path.open("rb") as file:
        content = file.read(LARGEST)
    try:
        told = orjson.loads(content)
        for name in ("at", "until"):
            if isinstance(told.get(name), str):
                told[name] = datetime.fromisoformat(told[name]).astimezone(UTC)
        order = DecisionOrder.from_json(told)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    return order if _is_sound(order) else None


def _is_sound(order: DecisionOrder) -> bool:
    """Whether it can be one of ours: what MongoDB does not take would hold up all that waits."""
    texts = (order.text, order.owner, order.link)
    moments = isinstance(order.at, datetime) and (order.until is None or isinstance(order.until, datetime))
    number = order.more is None or (type(order.more) is int and 0 < order.more < 2**31)
    flags = type(order.escalates) is bool and type(order.in_next_release) is bool
    words = all(isinstance(text, str) for text in (order.fingerprint, order.by))
    notes = all(text is None or isinstance(text, str) for text in texts)
    return order.action in _ACTIONS and moments and number and flags and words and notes


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
