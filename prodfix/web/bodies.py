"""JSON bodies, read strictly: UTF-8, at most 64 levels, no NaN, no lone surrogates, no duplicate keys, no giant numbers."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from prodfix.errors import FieldError, MalformedRequest

DEEPEST = 64
_LONGEST_NUMBER = 400  # digits; far more than any double or 64-bit integer needs


def parse(data: bytes | str) -> Any:
    """The value that ``data`` holds (RFC 8259). Raises :class:`prodfix.errors.MalformedRequest` and says why."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
        # Only an escape can put half a character into a string that came as UTF-8; encoding it again tells.
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise _refused("encoding", "The body is not valid UTF-8 text") from error
    except RecursionError as error:
        raise _refused("depth", f"The body is nested more than {DEEPEST} levels deep") from error
    except json.JSONDecodeError as error:
        raise _refused("syntax", f"The body is not JSON (line {error.lineno}, column {error.colno})") from error
    _check_depth(value)
    return value


def _refused(code: str, message: str) -> MalformedRequest:
    return MalformedRequest(message, problems=(FieldError("body", code, message, ""),))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _refused("duplicate_key", "An object of the body names a key twice")
    return found


def _constant(name: str) -> NoReturn:
    raise _refused("number", "NaN and Infinity are not JSON")


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise _refused("number", "A number of the body is too long")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999, which no JSON text can give back
        raise _refused("number", "A number of the body is too large")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [inner for inner in item.values() if isinstance(inner, (dict, list))]
            elif isinstance(item, list):
                below += [inner for inner in item if isinstance(inner, (dict, list))]
        if not below:
            return
        level = below
    raise _refused("depth", f"The body is nested more than {DEEPEST} levels deep")
