"""What each value is in an answer's JSON: one form for every type that BSON, Python's standard library and pydantic have.

Plain where there is a plain form; what JSON has nothing for is relaxed Extended JSON (specification "Extended JSON", version 2).
What strict readers refuse is never written: NaN and Infinity are ``null``, keys are unique, text is whole.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import re
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import bson
from bson.binary import UUID_SUBTYPE
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from prodfix.loaded import loaded
from prodfix.serialization import Serializable, iso

DEEPEST = 300  # levels; MongoDB stores 100. What is deeper holds itself.
LONGEST_NUMBER = 400  # digits, as in a body

_OPTIONS = ((re.I, "i"), (re.L, "l"), (re.M, "m"), (re.S, "s"), (re.U, "u"), (re.X, "x"))


def form(value: Any) -> Any:
    """``value``, which JSON has no type for, as one that it has; its parts may need it again. Raises ``TypeError``."""
    made = _FORMS.get(type(value))
    if made is not None:
        return made(value)
    if isinstance(value, Enum):  # before the class that it may have besides
        return value.value
    for kind in type(value).__mro__:
        made = _FORMS.get(kind)
        if made is not None:
            return made(value)
    if isinstance(value, loaded("pydantic.main", "BaseModel")):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "__html__"):
        return str(value.__html__())
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):  # also its numbers
        return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _moment(value: datetime) -> str:
    """Without a time zone it is in UTC, as the driver means it."""
    try:
        return iso(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    except OverflowError:  # in the first or the last hours of Python's calendar
        return value.isoformat(timespec="milliseconds")


def _milliseconds(value: DatetimeMS) -> Any:
    try:
        return _moment(value.as_datetime())
    except (BSONError, OverflowError, ValueError):  # before the year 1, or after 9999
        return {"$date": {"$numberLong": str(int(value))}}


def _binary(value: bson.Binary) -> str:
    if value.subtype == UUID_SUBTYPE and len(value) == 16:
        return str(UUID(bytes=bytes(value)))
    return _base64(value)


def _base64(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode()


def _expression(value: bson.Regex[Any] | re.Pattern[Any]) -> dict[str, Any]:
    pattern = value.pattern if isinstance(value.pattern, str) else value.pattern.decode("utf-8", "replace")
    options = "".join(letter for flag, letter in _OPTIONS if value.flags & flag)
    return {"$regularExpression": {"pattern": pattern, "options": options}}


def _reference(value: bson.DBRef) -> dict[str, Any]:
    return {str(name): item for name, item in value.as_doc().items()}


def _code(value: bson.Code) -> dict[str, Any]:
    return {"$code": str(value)} if value.scope is None else {"$code": str(value), "$scope": dict(value.scope)}


_ANY_MOMENT: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
# The most derived class decides.
_FORMS: dict[type, Callable[[Any], Any]] = {
    bson.ObjectId: str,
    datetime: _moment,
    DatetimeMS: _milliseconds,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    Decimal: lambda value: str(value) if value.is_finite() else math.nan,
    bson.Decimal128: lambda value: value.to_decimal(),
    UUID: str,
    bson.Binary: _binary,
    bytes: _base64,
    bytearray: _base64,
    memoryview: _base64,
    bson.Timestamp: lambda value: {"$timestamp": {"t": value.time, "i": value.inc}},
    bson.Regex: _expression,
    re.Pattern: _expression,
    bson.DBRef: _reference,
    bson.Code: _code,
    RawBSONDocument: lambda value: bson.decode(value.raw, _ANY_MOMENT),
    bson.MinKey: lambda value: {"$minKey": 1},
    bson.MaxKey: lambda value: {"$maxKey": 1},
    Serializable: lambda value: value.to_json(),
    set: list,
    frozenset: list,
    deque: list,
    tuple: list,
    # Subclasses of JSON's own, such as Int64, SON and numpy's.
    int: int,
    float: float,
    str: str,
    list: list,
    dict: dict,
}


def plain(value: Any, on_odd: Callable[[], None], level: int = 0) -> Any:
    """A copy of ``value`` of JSON's own types alone, which any reader takes. ``on_odd`` is called for each value of which not
    everything is left: NaN, Infinity, a number of more than 400 digits, half a character, a key that is there already.

    Raises ``TypeError`` for what has no form, and ``ValueError`` for what holds itself.
    """
    if level > DEEPEST:
        raise ValueError("Circular reference detected, or nested too deeply")
    if isinstance(value, (Enum, bson.Code, RawBSONDocument)):  # they are texts or mappings besides
        return plain(form(value), on_odd, level + 1)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, on_odd)
    if isinstance(value, (int, float)):
        return _number(value, on_odd)
    if isinstance(value, Mapping):
        return _object(value, on_odd, level)
    if isinstance(value, (list, tuple)):
        return [plain(item, on_odd, level + 1) for item in value]
    return plain(form(value), on_odd, level + 1)


def _text(value: str, on_odd: Callable[[], None]) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        on_odd()
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(value)


def _number(value: float, on_odd: Callable[[], None]) -> float | None:
    if math.isfinite(value) if isinstance(value, float) else value.bit_length() < LONGEST_NUMBER * 3.3:
        return float(value) if isinstance(value, float) else int(value)
    on_odd()
    return None


def _object(value: Mapping[Any, Any], on_odd: Callable[[], None], level: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, item in value.items():
        name = _text(_name(key), on_odd)
        if name in made:
            on_odd()
        made[name] = plain(item, on_odd, level + 1)
    return made


def _name(key: Any) -> str:
    """A key as :mod:`json` writes it, and as the value would be, where that is a text."""
    if isinstance(key, str) and not isinstance(key, Enum):
        return key
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, (int, float)):
        return str(float(key)) if isinstance(key, float) else str(int(key))
    name = form(key)
    if isinstance(name, (str, int, float)):
        return _name(name)
    raise TypeError(f"keys must be texts, numbers or such, not {type(key).__name__}")
