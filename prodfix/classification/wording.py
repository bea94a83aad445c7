"""What may be told of an error's own words.

An application's words are its own, redacted. Those of the driver, of MongoDB and of libraries that validate hold values, hosts
and keys: of them type, code, rule and place are told, also where another error or a line of a log quotes them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from bson.errors import BSONError
from pymongo.errors import PyMongoError

from prodfix.causes import chain
from prodfix.classification import foreign
from prodfix.classification.by_name import names_of_class
from prodfix.classification.server_replies import details_of, mappings
from prodfix.redaction.names import mask_key
from prodfix.redaction.quotations import emptied
from prodfix.redaction.redactor import redact_text

LONGEST = 500  # characters of a text
_READ = 2000  # characters of it that are looked at
_SHORTEST = 6  # characters of a quotation; a shorter one stands in innocent words too
_BEGINNING = 24  # characters by which a quotation is known that somebody has cut

_SILENT = (PyMongoError, BSONError, OverflowError, UnicodeError)
# Package and class, also of a subclass: their texts hold the value that was refused, or the statement with its parameters.
_QUOTING = frozenset(
    {
        *foreign.KNOWN,
        *(("pydantic_core", "ValidationError"), ("pydantic_core", "PydanticCustomError")),
        *(
            ("jsonschema", "SchemaError"),
            ("jsonschema_rs", "ValidationError"),
            ("fastjsonschema", "JsonSchemaException"),
        ),
        *(
            ("cerberus", "DocumentError"),
            ("voluptuous", "Invalid"),
            ("wtforms", "ValidationError"),
            ("colander", "Invalid"),
        ),
        *(("cattrs", "BaseValidationError"), ("cattrs", "ForbiddenExtraKeysError"), ("msgspec", "ValidationError")),
        *(
            ("schema", "SchemaError"),
            ("trafaret", "DataError"),
            ("typeguard", "TypeCheckError"),
            ("dacite", "DaciteError"),
        ),
        *(("beartype", "BeartypeException"), ("django", "ValidationError"), ("rest_framework", "APIException")),
        *(("mongoengine", "NotUniqueError"), ("mongoengine", "OperationError"), ("odmantic", "DocumentParsingError")),
        *(("email_validator", "EmailNotValidError"), ("phonenumbers", "NumberParseException"), ("yaml", "YAMLError")),
        *(("sqlalchemy", "StatementError"), ("psycopg", "Error"), ("psycopg2", "Error"), ("asyncpg", "PostgresError")),
        *(("pymysql", "MySQLError"), ("elasticsearch", "ApiError"), ("opensearchpy", "OpenSearchException")),
    }
)
# They raise Python's own exceptions with the value in them.
_RAISING = frozenset(
    ["attr", "attrs", "cattr", "cattrs", "dateutil", "ipaddress", "fractions", "enum", "uuid", "_strptime", "wtforms",
     "cerberus", "voluptuous", "typeguard", "schema", "isodate", "pytz", "zoneinfo", "urllib", "shlex", "ast"]
)  # fmt: skip


def silent(error: BaseException) -> bool:
    """Whether the error's text is not the application's, and holds what must not be told."""
    kind: Any = type(error)
    return _silent(kind)


@lru_cache(1024)
def _silent(kind: Any) -> bool:
    if issubclass(kind, _SILENT) or kind.__module__.startswith("gunicorn."):  # pieces of a request's body
        return True
    return not _QUOTING.isdisjoint(names_of_class(kind))


def words(error: BaseException, links: Iterable[BaseException]) -> str:
    """The redacted text of one error. ``links`` are all of its chain, whose texts it may quote."""
    if silent(error):
        return _rules(error)
    text = _text(error)
    if isinstance(error, KeyError):  # its text is the key
        text = ", ".join(mask_key(str(key)) for key in error.args[:3])
    elif _raised_in(error) in _RAISING:
        text = emptied(text)
    return redact_text(_unquoted(text, links))[:LONGEST]


def in_safe_words(text: str, error: BaseException | None = None) -> str:
    """``text`` redacted, and without what it quotes of ``error`` (of the one that is being handled) and its chain."""
    error = error or sys.exc_info()[1]
    return redact_text(text if error is None else _unquoted(text, chain(error)))


def _rules(error: BaseException) -> str:
    """Which field of somebody's input failed which rule, as far as the error's class is known."""
    problems = foreign.problems(error) or []
    return redact_text(
        ", ".join(f"{'.'.join(map(mask_key, path)) or 'body'} {rule[:60]}" for path, rule, _ in problems[:10])
    )


def _unquoted(text: str, links: Iterable[BaseException]) -> str:
    for quotation, name in _quotations(links):
        if quotation in text and len(quotation) < _READ:
            text = text.replace(quotation, name)
        elif len(quotation) > _BEGINNING and (place := text.find(quotation[:_BEGINNING])) >= 0:
            text = text[:place] + name
    return text


def _quotations(links: Iterable[BaseException]) -> list[tuple[str, str]]:
    """What the chain's silent errors say, the longest first, and what is told instead."""
    found: dict[str, str] = {}
    for link in links:
        if silent(link):
            name = type(link).__name__[:100]
            for text in _texts(link):
                found |= {form: name for form in (text, repr(text)[1:-1]) if len(form) >= _SHORTEST}
    return sorted(found.items(), key=lambda item: -len(item[0]))


def _texts(error: BaseException) -> Iterator[str]:
    yield _text(error)
    yield from (part for part in error.args if isinstance(part, str))
    message = getattr(error, "__dict__", {}).get("message")
    if isinstance(message, str):
        yield message
    if isinstance(error, PyMongoError):
        details = details_of(error)
        for part in (details, *mappings(details, "writeErrors"), *mappings(details, "writeConcernErrors")):
            yield from _strings(part)


def _strings(reply: Mapping[str, Any]) -> Iterator[str]:
    errmsg = reply.get("errmsg")
    if isinstance(errmsg, str):
        yield errmsg


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_READ]
    except Exception:  # noqa: BLE001 - an exception of somebody else's whose text cannot be had
        return ""


def _raised_in(error: BaseException) -> str:
    """The package of the code that has raised it."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
