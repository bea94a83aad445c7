"""Pages of a list: ``limit`` entries at most, and a ``cursor`` that the page before has given as ``next``.

For clients a cursor has no meaning. It is the place in time that a page of records ends at, so that what happens meanwhile
moves nothing from one page to the next; or the number of entries before a page of what is sorted by its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from flask import request

PLACE = r"^[0-9]{1,15}-[0-9a-f]{24}$"
NUMBER = r"^[0-9]{1,6}$"


def after_number(number: int | None) -> str | None:
    """The cursor of the page that follows so many entries."""
    return None if number is None else str(number)


def number_of(cursor: str | None) -> int:
    """The number of a cursor that looks like :data:`NUMBER`."""
    return int(cursor or 0)


def next_address(cursor: str | None) -> str | None:
    """Where the next page of this list is."""
    return None if cursor is None else with_query(request.root_path + request.path, {**request.args, "cursor": cursor})


def link_to_next(cursor: str | None) -> dict[str, str]:
    """The header of RFC 8288 that leads there."""
    address = next_address(cursor)
    return {} if address is None else {"Link": f'<{address}>; rel="next"'}


def with_query(address: str, arguments: Mapping[str, str]) -> str:
    """Not by ``url_for``, which takes a filter that is named ``endpoint`` for its own argument."""
    return quote(address) + (f"?{urlencode(arguments)}" if arguments else "")
