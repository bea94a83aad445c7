"""The served application's Flask: strict JSON, and each error logged once."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
from flask import Flask
from flask.json.provider import DefaultJSONProvider

from prodfix.context import current_context
from prodfix.errors import Severity
from prodfix.web.bodies import parse
from prodfix.web.encoding import form, plain

MOST_ENDPOINTS = 1000  # of which it is told that their answers had to be changed
_COMPACT = {"separators": (",", ":")}
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class StrictJSON(DefaultJSONProvider):
    """Bodies as :mod:`prodfix.web.bodies` reads them, answers as :mod:`prodfix.web.encoding` writes them.

    NaN and Infinity, which JSON has not, become ``null``: a phone can show an answer with a gap, and can do nothing with a
    500. That something is lost is told in the log, once for each endpoint and process.
    """

    sort_keys = False
    default = staticmethod(form)

    def __init__(self, app: Flask) -> None:
        super().__init__(app)
        self._told: set[str] = set()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return parse(s)

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        if (not kwargs or kwargs == _COMPACT) and not self.sort_keys:
            quick = _quick(obj, self.default)
            if quick is not None:
                text = quick.decode()
                return text if text.isascii() or not self.ensure_ascii else _NOT_ASCII.sub(_escaped, text)
        if "default" in kwargs or "cls" in kwargs:
            return super().dumps(obj, **{"allow_nan": False, **kwargs})
        return super().dumps(plain(obj, self._tell), allow_nan=False, **kwargs)

    def _tell(self) -> None:
        context = current_context()
        endpoint = context.endpoint if context is not None else "background"
        services = self._app.extensions.get("prodfix")
        if services is not None and endpoint not in self._told and len(self._told) < MOST_ENDPOINTS:
            self._told.add(endpoint)
            services.logs.note(
                Severity.WARN,
                "json",
                "an answer held what JSON cannot: NaN or Infinity (null in it), half a character, or one key twice",
                facts={"endpoint": endpoint},
            )


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def _quick(value: Any, default: Any) -> bytes | None:
    """The JSON of ``value``, written in one go; ``None`` if its parts must be looked at one by one.

    orjson refuses keys that are no texts, half characters and numbers beyond 64 bits. It writes NaN as ``null`` without a
    word: where there is a ``null``, Python's own encoder says whether one was NaN.
    """
    try:
        data = orjson.dumps(value, default, _OPTIONS)
        if b"null" in data:
            json.dumps(value, default=default, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return data


class Application(Flask):
    """Flask as gunicorn serves it."""

    json_provider_class = StrictJSON

    def log_exception(self, exc_info: Any) -> None:
        """Nothing: our handler logs the same exception, redacted. Flask's line has its raw text and source lines."""
        if not self.extensions["prodfix"].settings.enable_error_handler:
            super().log_exception(exc_info)

    def do_teardown_request(self, *arguments: Any, **options: Any) -> None:
        # The answer is made: what a teardown function raises is no reason to throw it away.
        try:
            super().do_teardown_request(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - recorded
            self.extensions["prodfix"].error_log.log_error(error)

    def do_teardown_appcontext(self, *arguments: Any, **options: Any) -> None:
        try:
            super().do_teardown_appcontext(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - recorded
            self.extensions["prodfix"].error_log.log_error(error)
