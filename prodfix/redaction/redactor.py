"""Nothing secret and nothing personal leaves through a log, an answer or a statistic.

Three kinds of things are redacted, each by its own rule:

* commands (:func:`prodfix.operations.shapes.redact_command`): deny by default; every leaf becomes its type, field names
  and operators stay. What comes of it is :class:`prodfix.redaction.redacted.Redacted`, and passes the next rule;
* documents that are not commands, such as headers and details (:func:`redact_document`): by key name and by value;
* text (:func:`redact_text`, :func:`redact_uri`): by the patterns of this room.

gunicorn's arbiter redacts with this module too: it imports neither the driver nor anything else that is not Python's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from prodfix.patterns import compiled_later
from prodfix.redaction.addresses import BOTS, PATHS, QUERIES, URLS, USERS
from prodfix.redaction.credentials import DASHED, EMAILS, HEADERS, NAMED
from prodfix.redaction.names import LONGEST, mask_key, secret_key
from prodfix.redaction.numbers import ANY_NUMBER, NUMBERS
from prodfix.redaction.quotations import HOSTS, QUOTATIONS, SERVERS
from prodfix.redaction.redacted import Redacted
from prodfix.redaction.rules import MASK, Rule
from prodfix.redaction.tokens import SHORTEST, TOKENS

# ---- documents --------------------------------------------------------------------------------------------------------

_NO_TEXT = frozenset({type(None), bool, int, float})  # of which most values are
_PLAIN = (type(None), int, float, date, timedelta, Decimal, UUID)  # hold no text
_PLAIN_BSON = frozenset(
    {("bson.objectid", "ObjectId"), ("bson.decimal128", "Decimal128")}
)  # told without importing them


def redact_document(value: Any, *, _level: int = 0) -> Any:
    """A copy of ``value`` without secrets, found by key name and by value. Benign documents come out equal; one that is
    :class:`Redacted` is returned as it is."""
    kind = type(value)
    if kind in _NO_TEXT or kind is Redacted:
        return value
    if isinstance(value, str):
        return redact_text(value)
    if _level > 32:
        return "?"
    if kind is dict or isinstance(value, Mapping):
        return dict([_redact_item(key, item, _level + 1) for key, item in value.items()])
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [redact_document(item, _level=_level + 1) for item in value]
        return tuple(items) if isinstance(value, tuple) else items if isinstance(value, list) else frozenset(items)
    return value if isinstance(value, _PLAIN) else _redact_other(value)


def _redact_item(key: Any, item: Any, level: int) -> tuple[Any, Any]:
    # Most keys are names in somebody's code, the same ones again and again.
    short = type(key) is str and len(key) <= LONGEST
    shown, secret = _name_of_code(key) if short else (redact_document(key), isinstance(key, str) and secret_key(key))
    return shown, MASK if secret and item is not None else redact_document(item, _level=level)


@lru_cache(4096)
def _name_of_code(key: str) -> tuple[str, bool]:
    """As it is shown, and whether it names a secret."""
    return redact_text(key), secret_key(key)


def _redact_other(value: Any) -> Any:
    """Whatever else there is (bytes, an exception, a Regex) is judged by the text that a log would show of it."""
    if (type(value).__module__, type(value).__name__) in _PLAIN_BSON:
        return value
    try:
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    except Exception:  # noqa: BLE001 - somebody's __str__
        return "?" + type(value).__name__.lower()[:40]
    shown = redact_text(text)
    if shown == text:
        return value
    return shown.encode("latin-1", "replace") if isinstance(value, bytes) else shown


# ---- text -------------------------------------------------------------------------------------------------------------

_ROOM = 5  # characters of a text in which there is room for a secret and for what tells that it is one
# Without one of these only what follows the word Bearer, or begins like a JWT, can be a secret.
_ANY_SIGN = re.compile(r"[\d@:=%_.'\"$/{~-]")
# What is in each text (in lower case) that one of the rules is for, and the rules.
_GROUPS: tuple[tuple[tuple[str, ...], tuple[Rule, ...]], ...] = (
    (("://",), URLS),
    (("/",), PATHS),
    (("=", "%3d", "%253d"), QUERIES),
    ((":", "%3a"), BOTS),
    (("@",), USERS),
    (("eyj", "bearer", "basic", "geniekey"), HEADERS),
    (("-",), DASHED),
    (("'", '"', "{", "remains:", "input_value="), QUOTATIONS),
    (("=", ":", "%"), NAMED),
    (("@", "%40"), EMAILS),
    ((":270", ".mongodb"), HOSTS),
    (("]:", "<server"), SERVERS),
)


# Something of it is in each of these marks. An ID, a version or a sentence has nothing of it.
_MARK_SIGN = re.compile(r"[:/=@%'\"{-]")
_MARK_WORDS = ("eyj", "bearer", "basic", "geniekey", ".mongodb", "<server")


def _marked(lowered: str) -> bool:
    if _MARK_SIGN.search(lowered) is not None:
        return True
    for word in _MARK_WORDS:  # noqa: SIM110 - as below
        if word in lowered:
            return True
    return False


def redact_text(text: str) -> str:
    """``text`` without connection strings, hosts, credentials, tokens, keys, cards, accounts, telephone numbers and e-mail
    addresses, and without the values that MongoDB's and Python's own messages quote."""
    if len(text) < _ROOM:
        return text
    lowered = text.lower()
    if _ANY_SIGN.search(lowered) is None and "eyj" not in lowered and "bearer" not in lowered:
        return text
    if _marked(lowered):
        for marks, rules in _GROUPS:
            for mark in marks:  # any() with a generator costs more than all that is looked for
                if mark in lowered:
                    text = _applied(rules, text, lowered)
                    break
    if _any_token(text):
        text = _applied(TOKENS, text, lowered)
    return _applied(NUMBERS, text, lowered) if ANY_NUMBER.search(text) is not None else text


def _any_token(text: str) -> bool:
    """Whether a word of the text may be one, so that short words, which most are, are not searched."""
    for word in text.split():
        if len(word) >= SHORTEST:
            lowered = word.lower()
            for hints, pattern, _ in TOKENS:
                if (not hints or hints[0] in lowered) and pattern.search(word) is not None:
                    return True
    return False


def _applied(rules: tuple[Rule, ...], text: str, lowered: str) -> str:
    for hints, pattern, instead in rules:
        if not hints:
            text = pattern.sub(instead, text)
        for hint in hints:
            if hint in lowered:
                text = pattern.sub(instead, text)
                break
    return text


def redact_uri(uri: str, *, hosts: bool = True) -> str:
    """A connection string without user, password and options that may hold secrets.

    ``hosts=False`` also takes the host names away, as a log wants it: they belong into an admin's answer only.
    """
    scheme, found, rest = uri.partition("://")
    if not found or not scheme.replace("+", "").isalnum():
        return MASK
    before_options, _, options = rest.partition("?")
    _, at, place = before_options.rpartition("@")
    servers, slash, database = place.partition("/")
    # A password may hold an unescaped '@', '/' or '?', which the specification forbids and people write; without its host
    # it even stands where a port belongs.
    if "@" in options or not all(_SERVER.fullmatch(server) for server in servers.split(",")):
        return f"{scheme}://{MASK}"
    shown = f"{scheme}://{MASK + '@' if at else ''}{servers if hosts else MASK}{slash}{database}"
    return shown + ("?" + "&".join(_option_names(re.split("[&;]", options))) if options else "")


_SERVER = compiled_later(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]*|[\w.%-]+\.sock)(?::\d{1,5})?")


def _option_names(options: Iterable[str]) -> tuple[str, ...]:
    known = {"replicaset", "ssl", "tls", "retrywrites", "retryreads", "w", "authsource", "readpreference", "appname"}
    shown = []
    for option in options:
        name, _, value = option.partition("=")
        shown.append(f"{name}={value}" if name.lower() in known and "@" not in value else f"{mask_key(name)}={MASK}")
    return tuple(shown)
