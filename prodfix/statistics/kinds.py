"""What kinds of errors are called: their words, kept in the journals, so that all workers know them while MongoDB is down.

Counts have a kind's title, which tells no message. The words are those of the first error of it that this instance has seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import orjson

from prodfix.journal.journal import Journal, Statement
from prodfix.patterns import compiled_later
from prodfix.process.per_process import in_each_process
from prodfix.statistics.group_summary import KindWords

KINDS = 2_000  # that a worker remembers to have written
REMEMBERED = 3600.0  # seconds for which it does
KEPT_FOR = 8 * 24 * 3600.0  # seconds since it was seen for which a kind's words stay: longer than any window
MOST = 5_000  # kinds that have words in a journal
LONGEST = 200  # characters

_INSERT = (
    "INSERT INTO kinds (fingerprint, at, seen, entry) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (fingerprint) DO UPDATE SET seen = excluded.seen"
)
_OLD = "DELETE FROM kinds WHERE seen < ?"
_MANY = "DELETE FROM kinds WHERE fingerprint IN (SELECT fingerprint FROM kinds ORDER BY seen DESC LIMIT -1 OFFSET ?)"
_READ = "SELECT fingerprint, at, entry FROM kinds"
_PLACE = compiled_later(r".+\.\w+:\S+")


class Kinds:
    """Of one process. Never raises: without words a kind is shown by its title."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.time) -> None:
        self._journal, self._clock = journal, clock
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._written: dict[str, float] = {}
        self._tidy_at = 0.0

    def see(self, fingerprint: str, words: Callable[[], KindWords]) -> None:
        """One error of a kind; ``words`` are asked for now and then."""
        now = self._clock()
        written = self._written.get(fingerprint)
        if written is not None and 0 <= now - written < REMEMBERED:
            return
        if len(self._written) >= KINDS:
            self._written.clear()  # writing again changes nothing
        self._written[fingerprint] = now
        entry = orjson.dumps([part.encode("utf-8", "replace").decode() for part in words()])
        statements: list[Statement] = [(_INSERT, (fingerprint, now, now, entry))]
        if now >= self._tidy_at:
            self._tidy_at = now + REMEMBERED
            statements += [(_OLD, (now - KEPT_FOR,)), (_MANY, (MOST,))]
        self._journal.gather(statements, counted=False)

    def words(self, fingerprints: Iterable[str]) -> dict[str, KindWords]:
        """Those that the workers of this instance have seen first, as far as the disk tells it in time."""
        wanted = list(fingerprints)
        if not wanted:
            return {}
        few = len(wanted) <= 50
        condition = f" WHERE fingerprint IN ({', '.join('?' * len(wanted))})" if few else ""
        try:
            rows = self._journal.read(_READ + condition, tuple(wanted) if few else ())
        except TimeoutError:
            return {}
        first: dict[str, tuple[float, bytes]] = {}
        for fingerprint, at, entry in rows:
            first[fingerprint] = min(first.get(fingerprint, (at, entry)), (at, entry))
        names = set(wanted)
        return {name: found for name, (_, entry) in first.items() if name in names and (found := _decoded(entry))}


def words_of(error_type: str, summary: str, code: str, place: str) -> KindWords:
    """Of an error, whose summary is redacted, and which happened at ``place``."""
    text = " ".join(summary.partition(" <- ")[0].split())
    name, colon, said = text.partition(": ")
    if name == "KeyError" and colon:
        text = f"KeyError: '{said}'"  # as Python tells it
    elif not text.startswith(error_type) and error_type != "Response":
        text = f"{error_type}: {text}"
    return KindWords(text[:LONGEST], place[:LONGEST] if _PLACE.fullmatch(place) else "", code[:LONGEST])


def _decoded(entry: bytes) -> KindWords | None:
    try:
        headline, place, code = orjson.loads(entry)
    except ValueError:
        return None
    return KindWords(str(headline), str(place), str(code))
