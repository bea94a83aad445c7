"""What a server's reply to a failed command tells: its code, and which fields are wrong. Never a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prodfix.classification.broken_rules import problems
from prodfix.errors import FieldError


def details_of(error: BaseException) -> Mapping[str, Any]:
    """The reply that a driver's error carries; empty if it carries none."""
    details = getattr(error, "details", None)
    return details if isinstance(details, Mapping) else {}


def code_of(part: Mapping[str, Any]) -> int | None:
    """The error code of a reply, or of a part of it."""
    code = part.get("code")
    return code if isinstance(code, int) else None


def server_code(error: BaseException) -> int | None:
    """The server's error code. ``NotPrimaryError`` carries it only in its details (pymongo 4.20)."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else code_of(details_of(error))


def key_fields(part: Mapping[str, Any]) -> tuple[FieldError, ...]:
    """The names of the fields that clashed, never their values: an echoed value tells who has an account."""
    pattern = part.get("keyPattern")
    names = list(pattern) if isinstance(pattern, Mapping) else []
    return tuple(FieldError(str(name), "duplicate", "This value already exists") for name in names[:50])


def rule_fields(part: Mapping[str, Any]) -> tuple[FieldError, ...]:
    """Field errors from the server's own validator (``errInfo`` of error 121, MongoDB 5.0 and later)."""
    return problems(_mapping(part, "errInfo").get("details"))


def mappings(part: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The documents in the list at ``key``; what is none of it is left out."""
    values = part.get(key)
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


def _mapping(part: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = part.get(key)
    return value if isinstance(value, Mapping) else {}
