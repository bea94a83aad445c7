"""How counts stand in a document: JSON, compressed, as one binary value.

The same words come again in each row, which compression takes away: it is a tenth of the room of the same rows as values of
BSON, on the way and in the server's cache, and no slower to decode. What is asked of the server (hours, revisions, times)
stands beside it as values of its own.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import orjson

LEVEL = 6  # of 9; more takes longer for a hundredth of the room


def packed(content: Any) -> bytes:
    return zlib.compress(json_of(content), LEVEL)


def json_of(content: Any) -> bytes:
    """Plain values as JSON. Half characters, which are text to Python and to nobody else, become question marks: one word that
    cannot be written, of a file or a route, would keep all other counts from being written."""
    try:
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def unpacked(value: bytes) -> Any:
    """Raises ``ValueError`` for what is not packed."""
    try:
        return orjson.loads(zlib.decompress(value))
    except zlib.error as error:
        raise ValueError("not packed") from error
