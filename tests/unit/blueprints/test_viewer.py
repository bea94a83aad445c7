"""A viewer sees what an admin sees, and changes nothing, whatever there is to change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from prodfix import ProdFix, Settings, make_token
from prodfix.blueprints import diagnostics, health
from prodfix.blueprints.diagnostics.guard import COOKIE, PREFIX
from prodfix.web.application import Application

HTML = {"Accept": "text/html"}
SAFE = {"GET", "HEAD", "OPTIONS"}
ADMINS = {f"{PREFIX}/stacks"}
"""What is to be seen by admins only."""


def bearer(app: Flask, role: str) -> dict[str, str]:
    settings = app.extensions["prodfix"].settings
    return {"Authorization": f"Bearer {make_token(settings, role=role, lifetime=timedelta(minutes=5), subject='ann')}"}


def with_cookie(app: Flask, role: str) -> FlaskClient:
    client = app.test_client()
    client.set_cookie(COOKIE, bearer(app, role)["Authorization"].removeprefix("Bearer "), path=PREFIX)
    return client


def routes(*, changing: bool) -> list[tuple[str, str]]:
    """Each method and path below the diagnostics, of what is registered now: new ones are among them by themselves."""
    app = Flask("host")
    app.register_blueprint(diagnostics.blueprint)
    return [
        (method, re.sub("<[^>]+>", "0123456789abcdef", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(PREFIX) and not rule.endpoint.endswith(".sign_out")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if (method not in SAFE) is changing
    ]


@pytest.fixture
def app(serve: Callable[..., Application]) -> Application:
    return serve([diagnostics, health])


def test_there_is_something_to_change_by_the_api_and_on_the_page() -> None:
    paths = [path for _, path in routes(changing=True)]
    assert len(paths) >= 10
    assert {"/page/" in path for path in paths} == {True, False}


@pytest.mark.parametrize(("method", "path"), routes(changing=True))
def test_whatever_changes_something_is_forbidden(app: Application, method: str, path: str) -> None:
    refused = app.test_client().open(path, method=method, json={}, headers=bearer(app, "viewer"))
    assert (refused.status_code, refused.get_json()["code"]) == (403, "FORBIDDEN")
    assert {"type", "title", "status", "detail", "requestId", "timestamp"} <= refused.get_json().keys()
    # The control: an admin is told something else, whatever there is.
    assert app.test_client().open(path, method=method, json={}, headers=bearer(app, "admin")).status_code != 403


@pytest.mark.parametrize(("method", "path"), routes(changing=False))
def test_whatever_shows_something_is_shown(app: Application, method: str, path: str) -> None:
    seen, known = (
        app.test_client().open(path, method=method, headers=HTML | bearer(app, role)).status_code
        for role in ("viewer", "admin")
    )
    assert known != 403
    assert seen == (403 if path in ADMINS else known)


def test_a_form_of_the_page_is_refused_and_the_way_out_is_not(app: Application) -> None:
    client = with_cookie(app, "viewer")
    page = client.get(f"{PREFIX}/page/deferred", headers=HTML).text
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found is not None
    form = {"csrf": found[1], "operation": "find"}
    assert client.post(f"{PREFIX}/page/database", data=form).status_code == 403
    assert client.post(f"{PREFIX}/page/sign-out", data=form).status_code == 303


def test_an_unknown_path_is_no_way_round(app: Application) -> None:
    for path in ("/nothing", "/errors", "/page/errors"):
        assert app.test_client().delete(PREFIX + path, headers=bearer(app, "viewer")).status_code == 403


def test_a_viewer_signs_in_and_another_role_does_not(app: Application) -> None:
    for role, cookies in (("viewer", 1), ("editor", 0)):
        token = bearer(app, role)["Authorization"].removeprefix("Bearer ")
        answer = app.test_client().post("/diagnostics/sign-in", data={"token": token})
        assert len(answer.headers.getlist("Set-Cookie")) == cookies


def test_health_tells_a_viewer_more(app: Application) -> None:
    for role, status in (("viewer", 503), ("admin", 503), ("editor", 403)):
        assert app.test_client().get("/health/db?verbose", headers=bearer(app, role)).status_code == status


def test_what_a_viewer_tried_is_written_down(app: Application) -> None:
    app.test_client().post(f"{PREFIX}/test", json={"operation": "find"}, headers=bearer(app, "viewer"))
    services = app.extensions["prodfix"]
    assert services.logs.sinks.flush(30)
    lines = map(json.loads, (services.settings.log_dir / "auth.log").read_text().splitlines())
    (line,) = [line for line in lines if line["event"] == "audit" and line["status"] == 403]
    assert (line["userId"], line["endpoint"]) == ("ann", f"{PREFIX}/test")


def test_where_a_host_decides_which_tokens_are_valid_its_viewers_are_its_own(tmp_path: Any) -> None:
    import flask_jwt_extended as jwt

    app = Flask("host")
    app.config["JWT_SECRET_KEY"] = "the host's own key, of 32 bytes and more"
    jwt.JWTManager(app)
    prodfix = ProdFix(app, settings=Settings(state_dir=tmp_path, log_dir=tmp_path, jwt_roles_claim="roles"))
    app.register_blueprint(diagnostics.blueprint)
    try:
        with app.app_context():
            made = {
                role: jwt.create_access_token("ann", additional_claims={"roles": [role], "type": "access"})
                for role in ("viewer", "admin")
            }
        for role, status in (("viewer", 403), ("admin", 200)):
            answer = app.test_client().get(f"{PREFIX}/errors", headers={"Authorization": f"Bearer {made[role]}"})
            assert answer.status_code == status, answer.text
        asked = app.test_client().get("/diagnostics/sign-in").text
        assert '<label for="token">Token of an admin</label>' in asked
    finally:
        prodfix.services.close()


def test_the_sign_in_asks_for_a_token_of_either_role(app: Application) -> None:
    asked = app.test_client().get("/diagnostics/sign-in").text
    assert '<label for="token">Token of an admin or a viewer</label>' in asked


def test_the_page_of_the_workers_is_one_of_the_navigation(app: Application) -> None:
    page = with_cookie(app, "viewer").get(f"{PREFIX}/page/workers", headers=HTML).text
    navigation = page.partition('aria-label="Diagnostics"')[2].partition("</nav>")[0]
    assert f'<a href="{PREFIX}/page/workers" aria-current="page">Workers</a>' in navigation
    assert navigation.count("aria-current") == 1


def test_the_page_of_the_workers_has_forms_and_stacks_for_admins_only(app: Application) -> None:
    for role, known in (("admin", True), ("viewer", False)):
        page = with_cookie(app, role).get(f"{PREFIX}/page/workers", headers=HTML).text
        assert ("Set for all workers" in page) is known
        assert ('<input type="text" name="logger"' in page) is known, "the style sheet knows inputs by their types"
        assert ("stacks=true" in page) is known
        shown = with_cookie(app, role).get(f"{PREFIX}/page/workers?stacks=true", headers=HTML).text
        assert ("threads</h3>" in shown) is known


def test_a_level_is_set_on_the_page_and_taken_back(app: Application) -> None:
    client = with_cookie(app, "admin")

    def post(**form: str) -> int:
        page = client.get(f"{PREFIX}/page/workers", headers=HTML).text
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
        assert found is not None
        return client.post(f"{PREFIX}/page/workers", data={"csrf": found[1], **form}).status_code

    assert post(logger="shop.orders", level="debug", minutes="30") == 303
    assert "shop.orders" in client.get(f"{PREFIX}/page/workers", headers=HTML).text
    assert post(logger="shop.orders", level="usual") == 303
    assert "usual levels" in client.get(f"{PREFIX}/page/workers", headers=HTML).text
    assert post(logger="pymongo", level="debug", minutes="30") == 422


def test_each_form_of_a_template_that_changes_something_is_for_who_may() -> None:
    """What a viewer cannot send is not shown: all such templates ask, whatever is there to be changed at the moment."""
    folder = Path(diagnostics.__file__).parent / "templates" / "diagnostics"
    changing = {
        path.name: path.read_text()
        for path in folder.glob("*.html")
        if "hidden_csrf(csrf) }}" in path.read_text() and path.name not in ("sign_in.html", "_macros.html")
    }
    assert changing.keys() >= {"alerts.html", "database.html", "deferred.html", "group.html", "workers.html"}
    assert [name for name, text in changing.items() if "may_change" not in text] == []
