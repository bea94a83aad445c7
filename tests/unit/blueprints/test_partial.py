"""While MongoDB is too slow to say what there was, no page says that there was nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from prodfix import make_token
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import COOKIE, PREFIX
from prodfix.checked_record import SecretStr
from prodfix.statistics.statistics import CountedWindow
from prodfix.web.application import Application

NOTHING = {
    "": ("No errors of the service in", "No kind of error", "No endpoint with errors"),
    "/page/groups?status=open": ("No open kind of error",),
    "/page/groups?status=open&q=price": ("fits.",),
    "/page/endpoints": ("No request was counted",),
}
SLOW = "MongoDB was too slow to say"


@pytest.fixture
def text_of(serve: Callable[..., Application], database_uri: str) -> Callable[[str], str]:
    app = serve([diagnostics], mongodb_uri=SecretStr(database_uri))
    token = make_token(app.extensions["prodfix"].settings, role="admin", lifetime=timedelta(minutes=5), subject="admin")
    client = app.test_client()
    client.set_cookie(COOKIE, token, path=PREFIX)
    return lambda path: client.get(PREFIX + path, headers={"Accept": "text/html"}).text


@pytest.mark.parametrize("path", NOTHING)
def test_what_is_not_known_is_not_nothing(
    text_of: Callable[[str], str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = text_of(path)
    assert SLOW not in control
    assert all(words in control for words in NOTHING[path]), "the control: there was nothing"
    read = CountedWindow.coverage
    monkeypatch.setattr(CountedWindow, "coverage", lambda self: replace(read(self), partial=True))
    text = text_of(path)
    assert SLOW in text
    assert [words for words in NOTHING[path] if words in text] == []
