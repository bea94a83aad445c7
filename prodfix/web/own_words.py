"""The words that an application gives to ``abort(400, "the field lies in the past")``: its own, so they are told, redacted.

Werkzeug's and Flask's own descriptions are not: they say what the table says better, and some quote the request. But what
Flask says in ``DEBUG`` only (which key a form has not, where JSON breaks off) is for whoever is just writing the application.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from bson.errors import BSONError
from markupsafe import Markup
from pymongo.errors import PyMongoError
from werkzeug.exceptions import HTTPException

from prodfix.causes import chain
from prodfix.classification import foreign, outbound
from prodfix.classification.places import places
from prodfix.loaded import loaded
from prodfix.redaction.redactor import redact_text
from prodfix.redaction.rules import MASK

LONGEST = 200  # characters; they stand in an answer twice, which stays below 2 KB
_GIVEN = frozenset({"description", "_description"})  # the second: where the class has a property (BadRequestKeyError)
_TOKEN = re.compile(r"[\w-]{16,}+")
_ABORT = ("werkzeug.exceptions", "__call__")


def own_words(error: HTTPException, *, debug: bool = False) -> str | None:
    """What whoever raised ``error`` says of it, on one line, redacted and shortened; ``None`` if it is not an
    application's, no text, or the text of another library's error. With ``debug``, Flask's ``DEBUG``, also what that adds."""
    try:
        words = _words(error.description)
        stock = _stock(error, words) and not (debug and _added(error))
        if not words or stock or _quoted(error, words):
            return None
    except Exception:  # noqa: BLE001 - a text that is made when it is asked for, and cannot be
        return None
    text = _TOKEN.sub(_masked, redact_text(words))
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def _masked(match: re.Match[str]) -> str:
    """An ID, a token or a key is no word: letters and digits in one, and long."""
    mixed = any(map(str.isdigit, match[0])) and any(map(str.isalpha, match[0]))
    return MASK if mixed else match[0]


def _words(given: Any) -> str:
    if hasattr(given, "__html__"):
        given = Markup(given).striptags()  # noqa: S704 - the tags are taken away
    elif not isinstance(given, str):
        given = str(given) if _lazy(given) else ""
    # Half a surrogate pair is no text that an answer can hold.
    return " ".join(given[:2000].encode("utf-8", "replace").decode().split())


def _lazy(value: Any) -> bool:
    """Whether it is a text that is made when it is asked for (Flask-Babel's and speaklater's)."""
    return any(kind.__name__ in ("LazyString", "_LazyString", "LazyProxy") for kind in type(value).__mro__)


def _stock(error: HTTPException, words: str) -> bool:
    """Whether the words are werkzeug's or Flask's, and not those of an application or of one of its extensions."""
    kind: Any = type(error)
    kinds: tuple[type[Any], ...] = _describing(kind)
    if _GIVEN.isdisjoint(vars(error)):
        return _theirs(kinds[0].__module__)
    if any(vars(kind)["description"] == words for kind in kinds):
        return True
    frames = places(error)
    return bool(frames) and frames[-1] != _ABORT and _theirs(frames[-1][0])


def _added(error: HTTPException) -> bool:
    """Whether the description is not just that of its class."""
    kind: Any = type(error)
    kinds = (vars(parent)["description"] for parent in _describing(kind))
    shown = bool(getattr(error, "show_exception", False))  # BadRequestKeyError's
    return shown or ("description" in vars(error) and error.description not in list(kinds))


@lru_cache(1024)
def _describing(kind: type[HTTPException]) -> tuple[type[Any], ...]:
    return tuple(parent for parent in kind.__mro__ if "description" in vars(parent))


def _theirs(module: str) -> bool:
    return module.partition(".")[0] in ("werkzeug", "flask")


def _quoted(error: HTTPException, words: str) -> bool:
    """Whether the words are those of an error whose text may hold values, hosts or pieces of a body."""
    for origin in list(chain(error))[1:]:
        text = " ".join(str(origin)[:2000].split()) if _tells_values(origin) else ""
        if text and (text in words or words in text):
            return True
    return False


def _tells_values(error: BaseException) -> bool:
    known = isinstance(
        error, (PyMongoError, BSONError, OSError, UnicodeError, loaded("pydantic_core", "ValidationError"))
    )
    return known or foreign.problems(error) is not None or outbound.named(error) is not None
