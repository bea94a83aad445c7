"""What an admin asks of all workers of the instance, and each of them answers for itself.

A question is a small file beside the admin's commands (:mod:`prodfix.deferral.admin`), where each worker looks within two
seconds; an answer is a file of ``STATE_DIR/journal/answers``, put there with one rename. Whoever asks waits for the workers
that live, and no longer than :data:`LIMIT`: one that computes, or is stopped, does not answer, and that is told of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import orjson

from prodfix.deferral.admin import COMMANDS_FOLDER
from prodfix.errors import JournalUnavailable
from prodfix.journal.journal import Journal

Question = Literal["stacks"]

ANSWERS = "answers"
LIMIT = 4.0  # seconds
LOOK = 0.05  # seconds between two looks for answers
LONGEST_LIFE = 60.0  # seconds after which what nobody has taken away is removed
MOST = 20  # questions that may be open
LARGEST = 1024 * 1024  # bytes of an answer
_NAME = re.compile(r"([0-9a-f]{24})-([a-z]{1,20})\.ask")


class Asks:
    """Questions and answers of one instance. ``answer`` makes this worker's, as JSON has it."""

    def __init__(
        self,
        journal: Journal,
        answer: Callable[[str], Any],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._answer, self._clock = journal, answer, clock
        self._folder, self._answers = journal.folder / COMMANDS_FOLDER, journal.folder / ANSWERS
        self._done: deque[str] = deque(maxlen=10 * MOST)

    # -- who asks -------------------------------------------------------------------------------------------------------------

    def gather(
        self, question: Question, workers: Callable[[], Collection[str]], limit: float = LIMIT
    ) -> dict[str, Any]:
        """What each worker answers, by its name; as many as answer within ``limit`` seconds.

        Raises :class:`prodfix.errors.JournalUnavailable` if the disk fails, or too many questions are open.
        """
        identity, own = secrets.token_hex(12), dict[str, Any]()
        if self._journal.boot in workers():
            self._done.append(identity)
            own[self._journal.boot] = self._answer(question)
        found, end = own, time.monotonic() + limit
        try:
            self._journal.aside(self._put, f"{identity}-{question}.ask")
            try:
                while not set(workers()) <= found.keys() and time.monotonic() < end:
                    time.sleep(LOOK)
                    found = own | self._journal.aside(self._read, identity)
            finally:
                self._journal.aside(self._forget, f"{identity}-{question}.ask", identity)
        except (OSError, TimeoutError) as error:
            raise JournalUnavailable(type(error).__name__) from error
        return found

    def tell_all(self) -> None:
        """Let all workers look at the folder. Raises ``OSError``: call it where the disk may be waited for."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{secrets.token_hex(12)}.look"
        path.touch(mode=0o600)
        path.unlink(missing_ok=True)

    def _put(self, name: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(_names(self._folder, ".ask")) >= MOST:
            raise JournalUnavailable("too many questions are open")
        (self._folder / name).touch(mode=0o600)

    def _read(self, identity: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in _names(self._answers, ".json"):
            begin, _, worker = name.removesuffix(".json").partition("-")
            if begin == identity:
                with contextlib.suppress(OSError, orjson.JSONDecodeError), (self._answers / name).open("rb") as file:
                    found[worker] = orjson.loads(file.read(LARGEST))
        return found

    def _forget(self, question: str, identity: str) -> None:
        (self._folder / question).unlink(missing_ok=True)
        for name in _names(self._answers):
            path = self._answers / name
            with contextlib.suppress(OSError):
                if name.startswith(identity) or self._clock() - path.stat().st_mtime > LONGEST_LIFE:
                    path.unlink(missing_ok=True)

    # -- each worker ----------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Answer what is asked. Raises ``TimeoutError`` and ``OSError`` if the disk fails."""
        for identity, question in self._journal.aside(self._asked):
            if identity not in self._done:
                self._done.append(identity)
                answer = orjson.dumps(self._answer(question), default=str)
                if len(answer) <= LARGEST:
                    self._journal.aside(self._tell, identity, answer)

    def _asked(self) -> list[tuple[str, str]]:
        found = [match.groups() for name in _names(self._folder, ".ask") if (match := _NAME.fullmatch(name))]
        return [(str(identity), str(question)) for identity, question in found[:MOST]]

    def _tell(self, identity: str, answer: bytes) -> None:
        self._answers.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._answers / f"{identity}-{self._journal.boot}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(answer)
        os.rename(draft, draft.with_suffix(".json"))


def _names(folder: Path, ending: str = "") -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(name for name in os.listdir(folder) if name.endswith(ending))
    return []
