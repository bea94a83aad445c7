"""One application without prodfix and one with it, asked the same: what differs."""

from __future__ import annotations

import gzip
import importlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from prodfix.records.records import ErrorRecord
from prodfix.signals import error_recorded

_CHANGING = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+|[0-9a-f]{24,64}|session=[^;]+")


def neighbour(module: str) -> Any:
    """A package of somebody else's, which may warn while it is imported; the test is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(module)
        except ImportError as error:
            if error.name is not None and error.name.partition(".")[0] == module.partition(".")[0]:
                pytest.skip(f"{module} is not installed: make neighbours")
            raise


@dataclass(frozen=True)
class Reply:
    """What a client sees, without what is another each time, and without the one header that we add."""

    status: int
    headers: frozenset[tuple[str, str]]
    body: str
    request_id: str | None = None

    @property
    def plain(self) -> tuple[int, frozenset[tuple[str, str]], str]:
        return self.status, self.headers, self.body


def ask_all(app: Flask, requests: Sequence[dict[str, Any]]) -> list[Reply]:
    """The replies to all of them, one after the other by one client; ``token``: with the last token that an answer held."""
    client, replies, token = app.test_client(), [], ""
    for given in requests:
        options = {name: value for name, value in given.items() if name != "token"}
        if given.get("token"):
            options["headers"] = {"Authorization": f"Bearer {token}"}
        answer = client.open(**options)
        token = (
            (answer.get_json(silent=True) or {}).get("token", token)
            if answer.is_json and b"token" in answer.data
            else token
        )
        headers = frozenset(
            (name, _CHANGING.sub("*", value)) for name, value in answer.headers if name not in ("X-Request-ID", "Date")
        )
        data = answer.get_data()
        if answer.headers.get("Content-Encoding") == "gzip":  # which holds the time
            data = gzip.decompress(data) if data else data
        body = _CHANGING.sub("*", data.decode("utf-8", "replace"))
        replies.append(Reply(answer.status_code, headers, body, answer.headers.get("X-Request-ID")))
        answer.close()
    return replies


def ask_recorded(app: Flask, requests: Sequence[dict[str, Any]]) -> tuple[list[Reply], list[ErrorRecord]]:
    """The same of an application that has prodfix, and what was recorded meanwhile."""
    records: list[ErrorRecord] = []
    log = app.extensions["prodfix"].errors.log
    with error_recorded.connected_to(lambda sender, record: records.append(record), sender=log):
        return ask_all(app, requests), records
