"""SQLite's pages, read without SQLite: what a page that is whole holds, whatever became of the others.

Source: sqlite.org/fileformat2.html, sections 1.5 (pages of b-trees), 1.6 (overflow), 1.8 (pointer map) and 2.1 (records). Nothing
here trusts a byte: what makes no sense raises ``Nonsense``, or is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from prodfix.journal.tables import PAGE
from prodfix.slotted import frozen

TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER = 0x0D, 0x05, 0x0A, 0x02
HEADER = 100  # bytes at the beginning of page 1, before its part of the b-tree
LARGEST_RECORD = 64 * 1024 * 1024
FREE = 2  # in the pointer map

_KINDS = (TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER)
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_LEAST = (PAGE - 12) * 32 // 255 - 23
_MOST = {TABLE_LEAF: PAGE - 35, INDEX_LEAF: (PAGE - 12) * 64 // 255 - 23, INDEX_INNER: (PAGE - 12) * 64 // 255 - 23}

Read = Callable[[int], bytes]
"""The page of that number, ``PAGE`` bytes, or none where the file has been cut off."""


class Nonsense(ValueError):
    """Bytes that are no part of a b-tree."""


@frozen
class Cell:
    """One row of a table, or one entry of an index; ``number`` is the row's own (rowid), and 0 in an index."""

    number: int
    values: tuple[Any, ...]


def kind(number: int, page: bytes) -> int | None:
    """What sort of page of a b-tree it is, if it is one."""
    start = HEADER if number == 1 else 0
    return page[start] if len(page) == PAGE and page[start] in _KINDS else None


def cells(read: Read, number: int, page: bytes) -> Iterator[Cell | None]:
    """The rows of a leaf, or the entries of an index; None for each that cannot be read."""
    sort = kind(number, page)
    if sort not in _MOST:
        return
    for place in _places(number, page):
        try:
            yield _cell(read, page, place + (4 if sort == INDEX_INNER else 0), sort)
        except (Nonsense, IndexError, struct.error, UnicodeDecodeError):
            yield None


def children(number: int, page: bytes) -> list[int]:
    """The pages below an inner one."""
    if kind(number, page) not in (TABLE_INNER, INDEX_INNER):
        return []
    start = HEADER if number == 1 else 0
    places = [place for place in _places(number, page) if place <= PAGE - 4]
    return [*(_number(page, place) for place in places), _number(page, start + 8)]


def free_pages(read: Read, pages: int) -> set[int] | None:
    """The numbers on the list of free pages; None if the list contradicts itself (section 1.5)."""
    first = read(1)
    if len(first) < HEADER:
        return None
    trunk, count = _number(first, 32), _number(first, 36)
    found: set[int] = set()
    while trunk:
        page = read(trunk)
        if trunk in found or len(page) < PAGE or _number(page, 4) > PAGE // 4 - 2:
            return None
        leaves = struct.unpack_from(f">{_number(page, 4)}I", page, 8)
        found |= {trunk, *leaves}
        trunk = _number(page, 0)
    return found if len(found) == count and all(1 < number <= pages for number in found) else None


def mapped_free(read: Read, number: int) -> bool | None:
    """Whether the pointer map says that the page is free; None where it says nothing that makes sense (section 1.8)."""
    each = PAGE // 5 + 1
    at = (number - 2) // each * each + 2
    page = read(at)
    if number <= 2 or at == number or len(page) < PAGE:
        return None
    place = 5 * (number - at - 1)
    sort, parent = page[place], _number(page, place + 1)
    if sort == FREE:
        return True if parent == 0 else None
    return False if 1 <= sort <= 5 else None


def _places(number: int, page: bytes) -> Iterator[int]:
    start = HEADER if number == 1 else 0
    pointers = start + (12 if page[start] in (TABLE_INNER, INDEX_INNER) else 8)
    count = min(struct.unpack_from(">H", page, start + 3)[0], (PAGE - pointers) // 2)
    for place in struct.unpack_from(f">{count}H", page, pointers):
        if pointers + 2 * count <= place < PAGE:
            yield place


def _cell(read: Read, page: bytes, place: int, sort: int) -> Cell:
    length, place = _varint(page, place)
    number = 0
    if sort == TABLE_LEAF:
        number, place = _varint(page, place)
    return Cell(number, _values(_payload(read, page, place, length, _MOST[sort])))


def _payload(read: Read, page: bytes, place: int, length: int, most: int) -> bytes:
    if length > LARGEST_RECORD:
        raise Nonsense
    here = length
    if length > most:
        here = _LEAST + (length - _LEAST) % (PAGE - 4)
        here = here if here <= most else _LEAST
    parts, left = [page[place : place + here]], length - here
    following = _number(page, place + here) if left else 0
    while left > 0:
        beyond = read(following) if following > 1 else b""
        if len(beyond) < PAGE:
            raise Nonsense
        parts.append(beyond[4 : 4 + min(left, PAGE - 4)])
        left -= PAGE - 4
        following = _number(beyond, 0)
    return b"".join(parts)


def _values(record: bytes) -> tuple[Any, ...]:
    size, place = _varint(record, 0)
    at = size
    values = []
    while place < size:
        sort, place = _varint(record, place)
        value, at = _value(record, at, sort)
        values.append(value)
    if at != len(record):
        raise Nonsense
    return tuple(values)


def _value(record: bytes, at: int, sort: int) -> tuple[Any, int]:
    if sort >= 12:
        end = at + (sort - 12) // 2
        if end > len(record):
            raise Nonsense
        return (record[at:end].decode() if sort % 2 else record[at:end]), end
    if sort in _INTEGERS:
        end = at + _INTEGERS[sort]
        return int.from_bytes(record[at:end], "big", signed=True), end
    if sort == 7:
        return struct.unpack_from(">d", record, at)[0], at + 8
    if sort in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[sort], at
    raise Nonsense


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        byte = data[place + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + count + 1
    value = value << 8 | data[place + 8]
    return value - (1 << 64) if value >> 63 else value, place + 9


def _number(data: bytes, place: int) -> int:
    found: int = struct.unpack_from(">I", data, place)[0]
    return found
