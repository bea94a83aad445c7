"""What admins command: to try a dead letter again, or to discard a write.

Only its owner writes a worker's file. So a command is a small file in ``STATE_DIR/journal/commands``, put there with one
rename; each worker looks there once a second, and does what concerns its own file. What nobody could do is removed after a
minute; what was done stands in the table ``orders``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from prodfix.deferral.writes import all_tries, owner_of, tried_again
from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal, Statement

Command = Literal["replay", "discard"]
COMMANDS: tuple[Command, ...] = get_args(Command)
COMMANDS_FOLDER = "commands"
LARGEST = 4096  # bytes of one command
MOST = 1000  # commands that may wait
LONGEST_LIFE = 60.0  # seconds

_WHERE = (
    "SELECT 'dead', entry, attempts FROM dead WHERE id = ?1"
    " UNION ALL SELECT 'writes', entry, attempts FROM writes WHERE id = ?1"
)
# To the end of the queue, as if it came now. Who commands it has looked: that a document may have forgotten it is forgiven.
_REPLAY = (
    "INSERT OR IGNORE INTO writes (id, operation, key, entry, created, tried)"
    " SELECT id, operation, key, ?3, ?2, CASE reason WHEN 'UNCERTAIN' THEN NULL ELSE tried END FROM dead WHERE id = ?1"
)
_AT_ONCE = "UPDATE writes SET not_before = 0 WHERE id = ?"
_DISCARD = (
    "INSERT OR REPLACE INTO ended (id, operation, owner, state, attempts, created, at)"
    " SELECT id, operation, ?, 'discarded', ?, created, ? FROM {table} WHERE id = ?"
)
_FORGET = "DELETE FROM {table} WHERE id = ?"


class AdminCommands:
    """The folder of admins' commands. ``done`` is told of each that this worker has carried out."""

    def __init__(
        self,
        journal: Journal,
        *,
        done: Callable[[dict[str, Any]], None] = lambda order: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._done, self._clock = journal, done, clock
        self.folder = journal.folder / COMMANDS_FOLDER
        self.left = True
        """Whether there was anything in the folder at the last look."""

    def give(self, command: Command, identity: str, by: str | None) -> None:
        """Put a command there for whichever worker has the write.

        Raises :class:`prodfix.errors.JournalUnavailable` if the disk fails, or too many commands wait.
        """
        if not self.give_all(command, [identity], by):
            raise JournalUnavailable("too many commands wait")

    def give_all(self, command: Command, identities: Sequence[str], by: str | None) -> int:
        """The same of many: of how many, as there may be room for a part only. Raises ``JournalUnavailable`` if the disk
        fails."""
        order = {"command": command, "by": by, "at": self._clock()}
        try:
            return self._journal.aside(self._put, [orjson.dumps({**order, "operationId": one}) for one in identities])
        except (OSError, TimeoutError) as error:
            raise JournalUnavailable(type(error).__name__) from error

    def _put(self, contents: Sequence[bytes]) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room = max(0, MOST - len(self._names()))
        for content in contents[:room]:
            name = secrets.token_hex(12)
            draft = self.folder / f"{name}.new"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.rename(draft, self.folder / f"{name}.json")
        return min(room, len(contents))

    def identities(self) -> set[str]:
        """The writes for which there is a command in the folder. Raises :class:`prodfix.errors.JournalTimeout`."""
        return {order["operationId"] for _, order, _ in self._journal.aside(self._read) if order is not None}

    def waiting(self) -> int:
        """How many commands nobody has carried out yet."""
        with contextlib.suppress(TimeoutError):
            # The command to discard stays in the folder for a while, for all workers.
            done = {name for (name,) in self._journal.read("SELECT id FROM orders")}
            return sum(name.removesuffix(".json") not in done for name in self._journal.aside(self._names))
        return 0

    def _names(self) -> list[str]:
        with contextlib.suppress(OSError):
            return [name for name in os.listdir(self.folder) if name.endswith(".json")]
        return []

    def obey(self) -> int:
        """Carry out what concerns this worker's file; the number of commands. Removes what is old, or none.

        Raises ``TimeoutError`` and :class:`prodfix.errors.JournalUnavailable` if the disk fails; the command stays then.
        """
        obeyed = 0
        found = self._journal.aside(self._read)
        self.left = bool(found)
        for path, order, age in found:
            done = order is not None and self._carry_out(path.stem, order)
            obeyed += done
            # A copy of the request may have left the same write with another worker, who is to discard it too.
            last = done and order is not None and order["command"] != "discard"
            if last or age > LONGEST_LIFE or (order is None and path.suffix == ".json"):
                self._journal.aside(_remove, path)
        return obeyed

    def _read(self) -> list[tuple[Path, dict[str, Any] | None, float]]:
        """What is in the folder: each command, or None for what is none, and its age in seconds."""
        found: list[tuple[Path, dict[str, Any] | None, float]] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(self.folder.iterdir())[: 2 * MOST]:
                with contextlib.suppress(OSError):  # another worker was faster
                    order = _parsed(path) if path.suffix == ".json" else None
                    found.append((path, order, self._clock() - path.stat().st_mtime))
        return found

    def _carry_out(self, name: str, order: dict[str, Any]) -> bool:
        identity, command = order["operationId"], order["command"]
        rows = self._journal.read_own(_WHERE, (identity,))
        if not rows:
            return False
        table, entry, attempts = rows[0]
        result, statements = _statements(command, table, identity, entry, attempts, self._clock())
        note = "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?)"
        statements.append((note, (name, command, identity, order.get("by"), self._clock(), result)))
        self._journal.write(statements, durable=True, reserve=True)
        self._done({"operationId": identity, "command": command, "by": order.get("by"), "result": result})
        return True


def _statements(
    command: str, table: str, identity: str, entry: bytes, attempts: int, now: float
) -> tuple[str, list[Statement]]:
    """What became of the command, and the statements that carry it out."""
    forget = (_FORGET.format(table=table), (identity,))
    if command == "discard":
        return "discarded", [
            (_DISCARD.format(table=table), (owner_of(entry), all_tries(entry, attempts), now, identity)),
            forget,
        ]
    if table == "dead":
        return "replayed", [(_REPLAY, (identity, now, tried_again(entry, attempts))), forget]
    return "tried at once", [(_AT_ONCE, (identity,))]


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _parsed(path: Path) -> dict[str, Any] | None:
    """The command in the file, or None if it is none of ours. Raises ``OSError``."""
    with path.open("rb") as file:
        content = file.read(LARGEST)
    try:
        order = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    known = isinstance(order, dict) and order.get("command") in COMMANDS and isinstance(order.get("operationId"), str)
    return order if known else None
