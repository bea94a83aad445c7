"""What each boot of a worker has counted, in the journals: read by all workers, kept when the worker is gone.

A part is some series of one table with their absolute totals, under the name of the boot; its revision grows with each writing,
so that of two copies (one moves while it is read, a disk that failed has an older one) the newer counts, once. What dead boots
have left moves into another worker's file with all else (:mod:`prodfix.journal.adoption`), and is summed up there: one set of
parts replaces many, in one transaction, so that their number does not grow. A set has a name of its own and never changes.

Summed up is only what is certain to be dead, has been in this file for :data:`SETTLED` seconds, and is in no other one: who reads
all files would find the old parts in one of them and their sum in another.
"""

from __future__ import annotations

import os
import secrets
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from prodfix.journal.journal import Journal, Statement
from prodfix.metrics.tallies import DIVIDER, WIDTHS, Key, Marks, Series, joined
from prodfix.statistics.counts import OTHER
from prodfix.statistics.packing import json_of

LAYOUT = 1  # of a part; another one is another release's, and left alone
TOGETHER = 32  # series of one part: of few that change few are written, and of many there are few rows
SETTLED = 60.0  # seconds; a reader gives up long before
MOST = 4_000  # series of one table over all boots; further ones are counted together
FOLDED = "folded-"

_UPSERT = (
    "INSERT INTO totals (boot, part, revision, entry) VALUES (?, ?, ?, ?) ON CONFLICT (boot, part)"
    " DO UPDATE SET revision = excluded.revision, entry = excluded.entry WHERE excluded.revision > revision"
)
ALL = "SELECT boot, part, revision, entry FROM totals"

Row = tuple[str, str, int, bytes]
Part = dict[str, Any]
"""Keys and series of one table, in the same order, and the marks of those that have some."""


class Sums:
    """Totals over many boots: by table and key, and the newest marks of each series.

    A series is kept as one integer, of 64 bits for each of its numbers: thousands of series are added up for a scrape, and one
    addition of that takes a tenth of adding up two lists.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}
        self.marks: dict[str, Marks] = {}

    @classmethod
    def of(cls, tables: Mapping[str, Mapping[str, Series]], marks: Mapping[str, Marks]) -> Sums:
        """Of one process alone."""
        made = cls()
        for name, table in tables.items():
            made._numbers[name] = {key: int.from_bytes(_packed(series), "little") for key, series in table.items()}
        made.marks = dict(marks)
        return made

    def tables(self) -> dict[str, dict[str, Series]]:
        """What it has come to."""
        return {
            name: {key: _unpacked(number, WIDTHS.get(name, 1)) for key, number in table.items()}
            for name, table in self._numbers.items()
        }

    def add_parts(self, rows: Iterable[Row]) -> None:
        """Add what :func:`parts` has made. Of a part that is there twice the newest counts."""
        newest: dict[tuple[str, str], tuple[int, bytes]] = {}
        for boot, part, revision, entry in rows:
            if (boot, part) not in newest or newest[boot, part][0] < revision:
                newest[boot, part] = revision, entry
        for (_, part), (_, entry) in newest.items():
            layout, _, name = part.partition(":")
            if layout == str(LAYOUT):
                self._add_part(name.partition(":")[0], entry)

    def _add_part(self, name: str, entry: bytes) -> None:
        text, _, numbers = entry.partition(b"\n")
        head, size = orjson.loads(text), 8 * WIDTHS.get(name, 1)
        if len(numbers) != size * len(head["keys"]):
            return  # of other buckets
        table, place = self._numbers.setdefault(name, {}), 0
        for key in head["keys"]:
            number = int.from_bytes(numbers[place : place + size], "little")
            place += size
            if key in table:  # as most
                table[key] += number
            else:
                self._meet(name, key, number)
        for key, marks in head.get("marks", {}).items():
            self._mark(key, {place: tuple(mark) for place, *mark in marks})

    def _meet(self, name: str, key: str, number: int) -> None:
        table = self._numbers[name]
        if len(table) >= MOST:
            key = DIVIDER.join(_others(name, key.split(DIVIDER)))
        table[key] = table.get(key, 0) + number

    def _mark(self, key: str, marks: Mapping[int, Any]) -> None:
        known = self.marks.setdefault(key, {})
        for place, mark in marks.items():
            if place not in known or known[place][2] < mark[2]:
                known[place] = mark


def _packed(series: Series) -> bytes:
    return struct.pack(f"<{len(series)}Q", *series)


def _unpacked(number: int, width: int) -> Series:
    return list(struct.unpack(f"<{width}Q", number.to_bytes(8 * width, "little")))


def _others(name: str, words: Sequence[str]) -> Iterator[str]:
    """What a series beyond the bound is counted under: its status or category stays."""
    kept = {"requests": 2, "errors": 0}.get(name)
    return (word if number == kept else OTHER for number, word in enumerate(words))


def by_text(tables: Mapping[str, Mapping[Key, Series]]) -> dict[str, dict[str, Series]]:
    """Copies of the tables of a process, under the keys that totals have."""
    return {name: {joined(key): series[:] for key, series in list(table.items())} for name, table in tables.items()}


def parts(tables: Mapping[str, Mapping[str, Series]], marks: Mapping[str, Marks]) -> Iterator[tuple[str, Part]]:
    """The tables in parts, by their names. A table only grows, so each series stays in its part."""
    for name, table in tables.items():
        keys = list(table)
        for number in range(0, len(keys), TOGETHER):
            mine = keys[number : number + TOGETHER]
            part: Part = {"keys": mine, "series": [table[key] for key in mine], "marks": {}}
            if name == "requests" and any(key in marks for key in mine):
                part["marks"] = {
                    key: [[place, *mark] for place, mark in marks[key].items()] for key in mine if key in marks
                }
            yield f"{LAYOUT}:{name}:{number // TOGETHER}", part


def encoded(part: Part) -> bytes:
    """Its keys and marks as a line of JSON, and behind that the numbers of all its series."""
    head = {name: part[name] for name in ("keys", "marks") if part[name]}
    return json_of(head) + b"\n" + b"".join(map(_packed, part["series"]))


class TotalsJournal:
    """This worker's totals on their way into its journal, and those of all boots on their way out.

    ``living`` tells the live workers' boots by their PIDs. ``clock`` is monotonic.
    """

    def __init__(
        self,
        journal: Journal,
        living: Callable[[], Mapping[int, str]] = dict,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal, self._living, self._clock = journal, living, clock
        self.forget()

    def forget(self) -> None:
        """Nothing is written yet: in a child process, or under another name."""
        self._boot = ""
        self._revision = 0
        self._place = ""
        self._written: dict[str, Part] = {}
        self._seen: dict[str, float] = {}

    def begins(self) -> bool:
        """Whether this process has counted under another name before: its journal was closed, and opened anew."""
        before, now = self._boot, self._journal.boot
        if before != now:
            self.forget()
            self._boot = now
        return bool(before) and before != now

    def write(self, tables: Mapping[str, Mapping[str, Series]], marks: Mapping[str, Marks]) -> None:
        """Make known what has changed since the last time; the tables are copies. Raises ``JournalUnavailable`` and
        ``TimeoutError``; it is written again then."""
        place = self._journal.file_name
        if place != self._place:
            self._place, self._written = place, {}  # what the old file had may be lost with it
        changed = {part: content for part, content in parts(tables, marks) if self._written.get(part) != content}
        if changed:
            # Never one twice: what was given up may be committed all the same.
            self._revision += 1
            boot, revision = self._journal.boot, self._revision
            self._journal.write(
                [(_UPSERT, (boot, part, revision, encoded(content))) for part, content in changed.items()]
            )
            self._written |= changed

    # -- dead boots -----------------------------------------------------------------------------------------------------------

    def _elsewhere(self) -> set[str]:
        """Boots of which more than one file has something: an adopter was killed before it could remove what it had taken, or a
        worker has had two files. Raises ``JournalUnavailable`` if a file cannot be read."""
        rows = self._journal.read("SELECT DISTINCT boot FROM totals", complete=True)
        return {boot for (boot,), files in Counter(rows).items() if files > 1}

    def fold(self) -> int:
        """Sum up what dead boots have left in this worker's file; how many of them there were. Raises as :meth:`write`."""
        if self._journal.failure is not None:
            return 0  # what is in memory and what is in the file would not be replaced together
        now, boot = self._clock(), self._journal.boot
        rows: list[Any] = self._journal.read_own(f"{ALL} WHERE boot != ?", (boot,))
        others = {row[0] for row in rows}
        self._seen = {other: self._seen.get(other, now) for other in others}
        living = self._living()
        dead = {other for other in others if now - self._seen[other] >= SETTLED and _is_dead(other, living)}
        if len(dead) > 1:
            dead -= self._elsewhere()
        if len(dead) < 2:
            return 0
        sums = Sums()
        sums.add_parts(row for row in rows if row[0] in dead)
        name = FOLDED + secrets.token_hex(6)
        statements: list[Statement] = [
            (_UPSERT, (name, part, 1, encoded(content))) for part, content in parts(sums.tables(), sums.marks)
        ]
        statements += [("DELETE FROM totals WHERE boot = ?", (other,)) for other in sorted(dead)]
        self._journal.write(statements, to_disk=True)
        return len(dead)


def _is_dead(boot: str, living: Mapping[int, str]) -> bool:
    """Whether nothing is counted under this name any more. A worker that lives may have left a file that failed, which others
    adopt: what it counted goes on elsewhere."""
    if boot.startswith(FOLDED):
        return True
    number = boot.partition("-")[0]
    if not number.isdigit():
        return True
    pid = int(number)
    if living.get(pid, boot) != boot:  # the process of that number is another one
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
