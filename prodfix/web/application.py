"""The served application's Flask: strict JSON, and each error logged once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import orjson
from flask import Flask
from flask.json.provider import DefaultJSONProvider

from prodfix.errors import Severity
from prodfix.request.context import current_context
from prodfix.web.bodies import parse
from prodfix.web.encoding import form, plain

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MOST_ENDPOINTS = 1000  # of which it is told that their answers had to be changed
_COMPACT = {"separators": (",", ":")}
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
# orjson has followed the value to its end: it holds no circle.
_NO_NAN = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":"), default=form)


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
        if (not kwargs or kwargs == _COMPACT) and not self.sort_keys and self.default is form:
            quick = _quick(obj, ascii_only=self.ensure_ascii)
            if quick is not None:
                return quick
        if "default" in kwargs or "cls" in kwargs:
            return super().dumps(obj, **{"allow_nan": False, **kwargs})
        return super().dumps(plain(obj, self._tell), allow_nan=False, **kwargs)

    def _tell(self) -> None:
        context = current_context()
        endpoint = context.endpoint if context is not None else "background"
        services = self._app.extensions.get("prodfix")
        if services is not None and endpoint not in self._told and len(self._told) < MOST_ENDPOINTS:
            self._told.add(endpoint)
            services.logs.event(
                Severity.WARN,
                "json",
                "an answer held what JSON cannot: NaN or Infinity (null in it), half a character, or one key twice",
                facts={"endpoint": endpoint},
            )


def _escaped(text: str) -> str:
    """JSON in ASCII. Python's encoder of one text does it for all of them at once, while quotes and backslashes wait behind
    characters that JSON never holds as they are."""
    waiting = text.replace("\\", "\x00").replace('"', "\x01")
    return encode_basestring_ascii(waiting)[1:-1].replace("\\u0001", '"').replace("\\u0000", "\\")


def _quick(value: Any, *, ascii_only: bool) -> str | None:
    """The JSON of ``value``, written in one go; ``None`` if its parts must be looked at one by one.

    orjson refuses keys that are no texts, half characters and numbers beyond 64 bits. It writes NaN as ``null`` without a
    word: where there is a ``null``, Python's own encoder says whether one was NaN, and what it has written is as good.
    """
    try:
        data = orjson.dumps(value, form, _OPTIONS)
        if b"null" in data:
            text = _NO_NAN.encode(value)
            if ascii_only and b'"$code"' not in data:  # which is a text for Python
                return text
    except (TypeError, ValueError, RecursionError):
        return None
    text = data.decode()
    return _escaped(text) if ascii_only and not data.isascii() else text


class Application(Flask):
    """Flask as gunicorn serves it."""

    json_provider_class = StrictJSON
    outermost: WSGIApplication | None = None
    """Around ``wsgi_app``, and whatever a plug-in or a tracer has put around that since."""
    on_rule: Callable[[], object] | None = None
    """Called when a route is there."""

    def add_url_rule(self, *given: Any, **named: Any) -> None:
        super().add_url_rule(*given, **named)
        if self.on_rule is not None:
            self.on_rule()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (self.outermost or self.wsgi_app)(environ, start_response)

    def log_exception(self, exc_info: Any) -> None:
        """Nothing: our handler logs the same exception, redacted. Flask's line has its raw text and source lines."""
        if not self.extensions["prodfix"].settings.enable_error_handler:
            super().log_exception(exc_info)

    def do_teardown_request(self, *error: Any) -> None:
        # The answer is made: what a teardown function raises is no reason to throw it away.
        try:
            super().do_teardown_request(*error)
        except Exception as raised:  # noqa: BLE001 - recorded
            self.extensions["prodfix"].errors.log.log_error(raised)

    def do_teardown_appcontext(self, *error: Any) -> None:
        try:
            super().do_teardown_appcontext(*error)
        except Exception as raised:  # noqa: BLE001 - recorded
            self.extensions["prodfix"].errors.log.log_error(raised)
