"""The served application's Flask: strict JSON, and each error logged once."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import bson
from flask import Flask
from flask.json.provider import DefaultJSONProvider
from pydantic import BaseModel

from prodfix.context import iso
from prodfix.web.bodies import parse


class StrictJSON(DefaultJSONProvider):
    """Bodies as :mod:`prodfix.web.bodies` reads them; ObjectIds as strings and times in ISO 8601 with ``Z`` on the way out."""

    sort_keys = False

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return parse(s)

    @staticmethod
    def default(value: Any) -> Any:
        if isinstance(value, bson.ObjectId):
            return str(value)
        if isinstance(value, datetime):
            return iso(value)
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        return DefaultJSONProvider.default(value)


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
