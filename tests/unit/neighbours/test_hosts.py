"""Three hosts of three styles adopt prodfix: 20 requests each, answered with it as without it."""

from __future__ import annotations

import importlib.util
import logging
import secrets
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from packaging.version import Version

from prodfix import ProdFix
from tests.support import REPOSITORY
from tests.unit.neighbours.comparing import ask_all, ask_recorded, neighbour

pytestmark = pytest.mark.filterwarnings("ignore")  # of theirs

Make = Callable[[Callable[[Flask], object]], Flask]


def loaded(name: str) -> Any:
    """A host's module, anew: its globals are one application's."""
    spec = importlib.util.spec_from_file_location(
        f"{name}_{secrets.token_hex(4)}", REPOSITORY / f"tests/hosts/{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["guestbook", "bookings", "catalogue"])
def host(
    request: pytest.FixtureRequest, database_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[dict[str, Any]], Make]]:
    """Its requests, and what makes it, with a database of its own each time."""
    if request.param == "catalogue":
        neighbour("flask_restx")
        neighbour("mongoengine")
    opened: list[Any] = []
    logging.getLogger("flask_restx").disabled = True

    def uri() -> str:
        return urlsplit(database_server)._replace(path=f"/host_{secrets.token_hex(6)}").geturl()

    def make(extend: Callable[[Flask], object]) -> Flask:
        monkeypatch.setenv("GUESTBOOK_URI", uri())
        if request.param == "catalogue":
            neighbour("mongoengine").disconnect_all()
        module = loaded(request.param)
        if request.param == "guestbook":
            extend(module.app)
            opened.append(module.mongo.cx)
            app: Flask = module.app
        else:
            app = module.create_app(uri(), extend)
            if request.param == "bookings":
                opened.append(app.extensions["bookings"].client)
        app.logger.disabled = True
        return app

    yield loaded_requests(request.param, monkeypatch, uri()), make
    for client in opened:
        client.close()
    if request.param == "catalogue":
        neighbour("mongoengine").disconnect_all()


def loaded_requests(name: str, monkeypatch: pytest.MonkeyPatch, uri: str) -> list[dict[str, Any]]:
    monkeypatch.setenv("GUESTBOOK_URI", uri)
    module = loaded(name)
    if name == "guestbook":
        module.mongo.cx.close()
    requests: list[dict[str, Any]] = module.REQUESTS
    assert len(requests) == 20
    return requests


@pytest.fixture
def extension(make_settings: Callable[..., Any]) -> Iterator[Callable[..., Callable[[Flask], object]]]:
    """``extension(answers="none")`` gives an application prodfix, as its factory would."""
    made: list[ProdFix] = []

    def extend(*, deadline: bool = False, **settings: Any) -> Callable[[Flask], object]:
        made.append(ProdFix(settings=make_settings(app_env="production", **settings), deadline=deadline))
        return made[-1].init_app

    yield extend
    for one in made:
        one.services.close()


@pytest.mark.parametrize("deadline", [False, True])
def test_a_host_that_keeps_all_its_answers_is_to_the_byte_what_it_was(
    host: tuple[list[dict[str, Any]], Make], extension: Callable[..., Any], deadline: bool
) -> None:
    requests, make = host
    before = ask_all(make(lambda app: None), requests)
    after, records = ask_recorded(make(extension(answers="none", deadline=deadline)), requests)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        assert new.plain == old.plain, requests[number]
    # Every 5xx is recorded, once, with what the client has got, and under its ID.
    failed = [(reply.request_id, reply.status) for reply in after if reply.status >= 500]
    recorded = [(one.request_id, one.status) for one in records if one.status >= 500]
    assert (sorted(recorded), len(failed) > 1) == (sorted(failed), True)  # type: ignore[type-var]
    assert {one.answered.by for one in records if one.answered is not None} == {"host"}
    assert all(reply.request_id for reply in after)


def test_by_default_only_what_a_host_leaves_open_is_another_answer(
    host: tuple[list[dict[str, Any]], Make], extension: Callable[..., Any]
) -> None:
    requests, make = host
    before, app = ask_all(make(lambda app: None), requests), make(extension())
    after, records = ask_recorded(app, requests)
    by_id = {one.request_id: one for one in records if one.status >= 500}
    changed = []
    for given, old, new in zip(requests, before, after, strict=True):
        if new.plain == old.plain:
            continue
        changed.append(given["path"])
        assert "application/json" in dict(new.headers)["Content-Type"]
        assert old.status >= 400, given
        assert new.status == old.status, given
        assert "text/html" in dict(old.headers)["Content-Type"]  # it was Flask's own page
        assert "text/html" not in given.get("headers", {}).get("Accept", "")
    name = app.import_name.rpartition("_")[0]
    assert sorted(changed) == sorted([*LEFT_OPEN[name], *(FAILS_BY_ITSELF if name == "guestbook" else ())])
    for reply in after:
        if reply.status >= 500:
            report = app.extensions["prodfix"].diagnostics.requests.find(reply.request_id)
            assert report is not None
            assert report.status == reply.status == by_id[reply.request_id].status  # type: ignore[index]


# Flask 3.0.0 unpacks a session by the application's JSON, which Flask-PyMongo has replaced: what was flashed is no pair then, and
# the guestbook's own page fails. From 3.0.1 on it unpacks it itself.
FAILS_BY_ITSELF = ["/"] if Version(version("Flask")) < Version("3.0.1") else []
# What Flask would have answered with a page to who is no browser.
LEFT_OPEN = {
    "guestbook": ["/entries/nobody", "/average", "/entries/ada"],
    "bookings": [],
    "catalogue": ["/api/nowhere"],  # RESTX answers for its own routes
}
