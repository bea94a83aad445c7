"""The door of the diagnostics: who comes in by what, how often, and what is written down of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import TooManyRequests

from prodfix import make_token
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics import html, sign_in
from prodfix.blueprints.diagnostics.endpoints import ENDPOINTS
from prodfix.blueprints.diagnostics.guard import COOKIE, PREFIX
from prodfix.blueprints.diagnostics.rate_limits import RateLimits
from prodfix.web.application import Application

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ("", "/page/overview", "/page/errors", "/page/deferred", "/page/database", "/page/requests/some-id-1")

Serve = Callable[..., Application]


def token(app: Flask, role: str = "admin", subject: str = "admin") -> str:
    settings = app.extensions["prodfix"].settings
    return make_token(settings, role=role, lifetime=timedelta(minutes=5), subject=subject)


def bearer(app: Flask, **who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(app, **who)}"}


def with_cookie(app: Flask, value: str | None = None) -> FlaskClient:
    client = app.test_client()
    client.set_cookie(COOKIE, value or token(app), path=PREFIX)
    return client


def csrf(client: FlaskClient) -> str:
    page = client.get(f"{PREFIX}/page/database", headers=HTML).text
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("set_back", [0.0, 3600.0, 86_400.0])
def test_nobody_is_sent_away_for_longer_than_the_limits_window(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, set_back: float
) -> None:
    services = serve([diagnostics], diagnostics_rate_limit="1/minute").extensions["prodfix"]
    limits, now = RateLimits(services.settings), time.time()
    limits.spend(services, "somebody")
    monkeypatch.setattr(time, "time", lambda: now - set_back)
    with pytest.raises(TooManyRequests) as refused:
        limits.spend(services, "somebody")
    assert 1 <= int(refused.value.retry_after) <= 60  # type: ignore[call-overload]


@pytest.fixture
def app(serve: Serve) -> Application:
    return serve([diagnostics])


# -- cookies and headers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_the_page_opens_by_cookie_or_header_and_to_nobody_else(app: Application, path: str) -> None:
    assert with_cookie(app).get(PREFIX + path, headers=HTML).status_code == 200
    assert app.test_client().get(PREFIX + path, headers=HTML | bearer(app)).status_code == 200
    for client in (app.test_client(), with_cookie(app, "canary"), with_cookie(app, token(app, role="user"))):
        answer = client.get(PREFIX + path, headers=HTML)
        assert answer.status_code in (401, 403)
        assert answer.mimetype == "text/html"
        assert any(f">{code}<" in answer.text for code in ("AUTHENTICATION_REQUIRED", "FORBIDDEN"))
        assert "<nav" not in answer.text, "nothing of the service"
    # A header that is wrong is not made good by a cookie.
    assert with_cookie(app).get(PREFIX + path, headers={"Authorization": "Bearer canary"}).status_code == 401


def test_the_api_takes_no_cookie(app: Application) -> None:
    client = with_cookie(app)
    assert len(ENDPOINTS) >= 16
    for one in ENDPOINTS:
        path = PREFIX + re.sub("<[^>]+>", "some-id-1", one.rule)
        assert client.open(path, method=one.method).status_code == 401, path
        known = app.test_client().open(path, method=one.method, headers=bearer(app)).status_code
        assert known not in (401, 403), "the control"
    assert client.get(f"{PREFIX}/openapi.json").status_code == 401
    assert client.get(f"{PREFIX}/nothing").status_code == 401


def test_a_browser_is_led_to_the_sign_in_and_others_are_not(app: Application) -> None:
    client = app.test_client()
    path = f"{PREFIX}/page/errors?category=unknown"
    led = client.get(path, headers=HTML)
    target = "/diagnostics/sign-in?next=/api/v1/diagnostics/page/errors?category%3Dunknown"
    assert (led.status_code, led.headers["Refresh"]) == (401, f"0; url={target}")
    assert client.get(target).text.count('value="/api/v1/diagnostics/page/errors?category=unknown"') == 1
    elsewhere = client.get(path, headers=HTML | {"Sec-Fetch-Site": "cross-site"})
    assert elsewhere.headers["Refresh"] == f"0; url={path}", "once more, from here: then a Strict cookie comes along"
    for other in ({}, {"Accept": "application/json"}):
        assert "Refresh" not in client.get(path, headers=other).headers
    assert "Refresh" not in client.get(f"{PREFIX}/errors", headers=HTML).headers


def test_what_likes_json_better_gets_what_there_is_to_ask(app: Application) -> None:
    answer = app.test_client().get(PREFIX, headers=bearer(app) | {"Accept": "application/json"})
    assert f"GET {PREFIX}/errors" in answer.get_json()["endpoints"]
    assert answer.get_json()["document"] == f"{PREFIX}/openapi.json"
    assert app.test_client().get(PREFIX, headers=bearer(app)).mimetype == "text/html"


@pytest.mark.parametrize(
    "path",
    [
        "/page/database",
        "/page/groups/x/resolve",
        "/page/groups/x/ignore",
        "/page/groups/x/note",
        "/page/deferred/x/discard",
        "/page/sign-out",
    ],
)
def test_what_is_changed_on_the_page_needs_the_forms_own_token(app: Application, path: str) -> None:
    client = with_cookie(app)
    form = {"csrf": csrf(client), "operation": "read"}
    other = csrf(with_cookie(app))
    for bad in ({}, {"csrf": ""}, {"csrf": "x" * 32}, {"csrf": other}, {"csrf": "é"}):
        assert client.post(PREFIX + path, data=form | bad if bad else {}).status_code == 403
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://example.org"},
        {"Origin": "http://[example.org"},
        {"Origin": "http://example.org]"},
    ):
        assert client.post(PREFIX + path, data=form, headers=headers).status_code == 403
    for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}):
        fresh = with_cookie(app)
        answer = fresh.post(PREFIX + path, data={"csrf": csrf(fresh), "operation": "read"}, headers=headers)
        assert answer.status_code not in (401, 403), "the control"


def test_everything_for_a_browser_has_a_strict_policy(app: Application) -> None:
    client = with_cookie(app)
    addresses = [PREFIX + path for path in PAGES] + ["/diagnostics/sign-in", "/diagnostics/assets/diagnostics.css"]
    for address in addresses:
        answer = client.get(address, headers=HTML, buffered=True)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        kept = "max-age=31536000" if "assets" in address else "no-store"
        assert kept in answer.headers["Cache-Control"], address


def test_no_file_but_the_pages_own_is_served(app: Application) -> None:
    client = app.test_client()
    assert client.get(app_url(app, "diagnostics.js"), buffered=True).mimetype == "text/javascript"
    for name in ("../guard.py", "..%2fguard.py", "guard.py", "", "%00"):
        assert client.get(f"/diagnostics/assets/{name}").status_code == 404


def app_url(app: Application, name: str) -> str:
    with app.test_request_context():
        return html.asset(name)


# -- the sign-in ------------------------------------------------------------------------------------------------------------


def signed_in(app: Application, **form: str) -> Any:
    return app.test_client().post("/diagnostics/sign-in", data=form)


@pytest.mark.parametrize(("environment", "secure"), [("production", True), ("development", False)])
def test_a_good_token_becomes_a_cookie_that_lives_as_long(serve: Serve, environment: str, secure: bool) -> None:
    app = serve([diagnostics], app_env=environment)
    answer = signed_in(app, token=f" {token(app)}\r\n")
    assert (answer.status_code, answer.location) == (303, PREFIX)
    cookie = answer.headers["Set-Cookie"]
    assert f"Path={PREFIX}" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert ("Secure" in cookie) is secure
    lives = re.search(r"Max-Age=(\d+)", cookie)
    assert lives is not None
    assert 290 <= int(lives[1]) <= 300


def test_a_bad_token_becomes_none_and_the_form_says_why(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"": "empty", "canary": "invalid", token(app, role="user"): "role"}
    for given, reason in reasons.items():
        answer = signed_in(app, token=given)
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (303, False)
        assert f"failed={reason}" in answer.location
        assert "canary" not in answer.location
        page = app.test_client().get(answer.location).text
        assert sign_in.FAILED[reason] in page
    monkeypatch.setattr(sign_in, "LARGEST_COOKIE", 100)
    assert "failed=large" in signed_in(app, token=token(app)).location
    sent = app.test_client().post(
        "/diagnostics/sign-in", data={"token": token(app)}, headers={"Origin": "https://example.org"}
    )
    assert ("failed=origin" in sent.location, "Set-Cookie" in sent.headers) == (True, False)
    assert "canary" not in app.test_client().get("/diagnostics/sign-in?failed=canary<b>").text


def test_what_other_pages_send_is_not_counted_as_the_admins(serve: Serve) -> None:
    app = serve([diagnostics], diagnostics_test_rate_limit="2/hour")
    for origin in ("https://example.org", "http://[example.org"):
        for _ in range(4):
            sent = app.test_client().post("/diagnostics/sign-in", data={"token": "x"}, headers={"Origin": origin})
            assert (sent.status_code, "failed=origin" in sent.location) == (303, True)
    assert [signed_in(app, token=token(app)).status_code for _ in range(3)] == [303, 303, 429], (
        "the last is the control"
    )


@pytest.mark.parametrize(
    "path", ["/api//v1/diagnostics", "/api/v1//diagnostics/errors", "//api/v1/diagnostics///nothing"]
)
def test_slashes_lead_nobody_past_the_guard(app: Application, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "PUT"):
        # As a server passes it on: the test client would take two slashes at the front for a host.
        answer = app.test_client().open("/", method=method, environ_overrides={"PATH_INFO": path})
        assert (answer.status_code, "Allow" in answer.headers, "Location" in answer.headers) == (401, False, False)
    led = app.test_client().get("/", environ_overrides={"PATH_INFO": path}, headers=bearer(app))
    assert led.status_code in (308, 404), "the control"


@pytest.mark.parametrize(
    "wanted",
    [
        "https://example.org/",
        "//example.org",
        "/\\example.org",
        f"{PREFIX}\\@example.org",
        f"{PREFIX}.example.org",
        f"{PREFIX}@example.org",
        "/api/v1/notes",
        "javascript:alert(1)",
        f"{PREFIX}/\nexample.org",
        f"{PREFIX}/\r\n",
        f"{PREFIX}/\0",
        f"{PREFIX}/\u2028",
        "",
    ],
)
def test_the_way_on_leads_nowhere_else(app: Application, wanted: str) -> None:
    assert signed_in(app, token=token(app), next=wanted).location == PREFIX
    assert "example.org" not in app.test_client().get("/diagnostics/sign-in", query_string={"next": wanted}).text


def test_the_way_on_leads_to_where_one_wanted_to_go(app: Application) -> None:
    wanted = f"{PREFIX}/page/errors?category=unknown"
    assert signed_in(app, token=token(app), next=wanted).location == wanted


def test_over_http_in_production_the_form_says_what_is_wrong(serve: Serve) -> None:
    app = serve([diagnostics], app_env="production")
    assert "TRUSTED_PROXIES" in app.test_client().get("/diagnostics/sign-in").text
    assert "TRUSTED_PROXIES" not in app.test_client().get("/diagnostics/sign-in", base_url="https://localhost").text


# -- how often --------------------------------------------------------------------------------------------------------------


def test_who_asks_too_often_is_told_when_to_come_back(serve: Serve) -> None:
    app = serve([diagnostics], diagnostics_rate_limit="3/minute")
    client, path = app.test_client(), f"{PREFIX}/incidents"
    ours = bearer(app)
    assert [client.get(path, headers=ours).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = client.get(path, headers=ours)
    body = refused.get_json()
    assert (body["code"], body["status"], body["details"]) == ("RATE_LIMITED", 429, [])
    assert 1 <= int(refused.headers["Retry-After"]) <= 80
    assert client.get(path, headers=bearer(app, subject="another")).status_code == 200
    assert client.get(path).status_code == 401, "a stranger learns nothing of it"


def test_what_tries_something_on_the_database_has_a_limit_of_its_own(serve: Serve) -> None:
    app = serve([diagnostics], diagnostics_test_rate_limit="2/minute")
    client, ours = app.test_client(), bearer(app)
    body = {"operation": "read"}
    answers = [client.post(f"{PREFIX}/test", json=body, headers=ours).status_code for _ in range(3)]
    assert answers == [200, 200, 429]
    assert client.get(f"{PREFIX}/incidents", headers=ours).status_code == 200


def test_tokens_cannot_be_guessed_at_the_sign_in_without_end(serve: Serve) -> None:
    app = serve([diagnostics], diagnostics_test_rate_limit="2/minute")
    assert [signed_in(app, token="canary").status_code for _ in range(3)] == [303, 303, 429]


def test_a_store_that_fails_is_done_without_and_told_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    app = serve([diagnostics], diagnostics_rate_limit="2/minute", rate_limit_storage_uri="nothing://canary")
    told: list[Any] = []
    monkeypatch.setattr(app.extensions["prodfix"].logs, "emit", lambda severity, entry, *files: told.append(entry))
    client, ours = app.test_client(), bearer(app)
    assert [client.get(f"{PREFIX}/incidents", headers=ours).status_code for _ in range(3)] == [200, 200, 429]
    notes = [entry for entry in told if entry["event"] == "rate-limit"]
    assert [note["error"] for note in notes] == ["ConfigurationError"]
    assert "canary" not in str(told)


# -- what is written down of it ----------------------------------------------------------------------------------------------


@pytest.fixture
def audit(app: Application) -> Callable[[], list[dict[str, Any]]]:
    def read() -> list[dict[str, Any]]:
        assert app.extensions["prodfix"].logs.sinks.flush(30)
        path = app.extensions["prodfix"].settings.log_dir / "auth.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["event"] == "audit"]

    return read


def test_each_use_leaves_a_line(app: Application, audit: Callable[[], list[dict[str, Any]]]) -> None:
    given = token(app, subject="ann")
    answer = app.test_client().get(
        f"{PREFIX}/requests/canary-in-the-path", headers={"Authorization": f"Bearer {given}"}
    )
    with_cookie(app, given).get(f"{PREFIX}/page/errors?user=canary", headers=HTML)
    app.test_client().delete(f"{PREFIX}/errors", headers={"Authorization": f"Bearer {given}"})
    seen, page, refused = audit()
    assert (seen["userId"], seen["method"], seen["endpoint"]) == ("ann", "GET", f"{PREFIX}/requests/<request_id>")
    assert (seen["status"], seen["requestId"]) == (404, answer.headers["X-Request-ID"])
    assert len(seen["jti"]) == 32
    assert (page["endpoint"], page["status"], refused["status"]) == (f"{PREFIX}/page/errors", 200, 405)
    assert "canary" not in str([seen, page, refused])
    assert given not in str([seen, page, refused])


def test_a_stranger_is_in_the_error_log_and_not_in_the_audit(
    app: Application, audit: Callable[[], list[dict[str, Any]]]
) -> None:
    app.test_client().get(f"{PREFIX}/errors")
    assert audit() == []


def test_diagnostics_are_no_traffic(app: Application, until: Callable[..., Any]) -> None:
    app.test_client().get("/nothing")
    for _ in range(5):
        app.test_client().get(f"{PREFIX}/incidents", headers=bearer(app))
        with_cookie(app).get(PREFIX, headers=HTML)
        app.test_client().get("/diagnostics/sign-in")

    def counted() -> int:
        return int(app.test_client().get(f"{PREFIX}/errors", headers=bearer(app)).get_json()["requests"])

    until(counted)
    app.extensions["prodfix"].requests.counters.flush()
    assert counted() == 1


def test_who_is_refused_is_an_error_and_a_request_and_who_signs_in_in_vain_too(app: Application) -> None:
    for _ in range(3):
        app.test_client().get(f"{PREFIX}/incidents")
        app.test_client().get(f"{PREFIX}/incidents", headers=bearer(app, role="user"))
        signed_in(app, token="canary")
        signed_in(app, token=token(app, role="user"))
        signed_in(app, token="")
    services = app.extensions["prodfix"]
    services.requests.counters.flush()
    counts = services.requests.statistics.read("1h").counts
    assert counts.errors_by(0) == {"authentication": 6, "authorization": 6}
    assert (counts.whole().requests, counts.whole().failed) == (12, 0)


# -- settings and hosts ------------------------------------------------------------------------------------------------------


def test_without_diagnostics_there_is_nothing(serve: Serve) -> None:
    app = serve([diagnostics], enable_diagnostics=False)
    for path in (PREFIX, f"{PREFIX}/errors", "/diagnostics/sign-in", "/diagnostics/assets/diagnostics.css"):
        assert app.test_client().get(path, headers=bearer(app)).status_code == 404


def test_while_developing_they_may_be_open_and_are_no_door_for_other_sites(serve: Serve) -> None:
    app = serve([diagnostics], diagnostics_auth_required=False)
    client = app.test_client()
    page = client.get(PREFIX, headers=HTML)
    assert (page.status_code, "Sign out" in page.text) == (200, False)
    assert client.get(f"{PREFIX}/errors").status_code == 200
    form = {"csrf": csrf(client), "operation": "read"}
    assert client.post(f"{PREFIX}/page/database", data=form).status_code == 200
    other = {"Sec-Fetch-Site": "cross-site"}
    assert client.post(f"{PREFIX}/page/database", data=form, headers=other).status_code == 403


@pytest.fixture
def elsewhere(adopt: Callable[..., Flask]) -> Flask:
    host = adopt(Flask("host"))
    parent = Blueprint("internal", __name__, url_prefix="/internal")
    parent.register_blueprint(diagnostics.blueprint)
    host.register_blueprint(parent)
    return host


def test_a_host_may_put_them_elsewhere(elsewhere: Flask) -> None:
    inside = f"/internal{PREFIX}"
    client = elsewhere.test_client()
    for path in ("", "/errors", "/nothing", "/page/errors"):
        assert client.get(inside + path).status_code == 401
    assert client.get(f"{inside}/errors", headers=bearer(elsewhere)).status_code == 200
    led = client.get(inside, headers=HTML).headers["Refresh"]
    assert led == f"0; url=/internal/diagnostics/sign-in?next={inside}"
    answer = client.post("/internal/diagnostics/sign-in", data={"token": token(elsewhere)})
    assert (answer.location, f"Path={inside}" in answer.headers["Set-Cookie"]) == (inside, True)
    assert client.get(inside, headers=HTML).status_code == 200
    paths = client.get(f"{inside}/openapi.json", headers=bearer(elsewhere)).get_json()["paths"]
    assert all(path.startswith(inside) for path in paths)


# -- wherever it is ---------------------------------------------------------------------------------------------------------

ADDRESSES = [f"/ops{path}" for path in (*PAGES, "/errors", "/database", "/deferred", "/nowhere", "/openapi.json")]


def guest(app: Flask, address: str) -> int:
    return app.test_client().get(address).status_code


@pytest.mark.parametrize("prefix", ["/ops", "/ops/", "//ops", "/ops//"])
@pytest.mark.parametrize("nested", [False, True])
def test_however_a_prefix_is_written_a_stranger_stays_out(adopt: Any, prefix: str, nested: bool) -> None:
    host = Flask("host")
    if nested:
        parent = Blueprint("parent", __name__)
        parent.register_blueprint(diagnostics.blueprint, url_prefix=prefix)
        host.register_blueprint(parent)
    else:
        host.register_blueprint(diagnostics.blueprint, url_prefix=prefix)
    app = adopt(host)
    assert {guest(app, address) for address in ADDRESSES} == {401}
    assert {guest(app, address.replace("/ops", "/ops/")) for address in ADDRESSES} <= {308, 401}
    # The control: it is there, and its guard knows it by name where no prefix fits.
    assert app.test_client().get("/ops/errors", headers=bearer(app)).status_code == 200
    app.extensions["prodfix-diagnostics"].prefix = "/elsewhere"
    assert guest(app, "/ops/errors") == 401
    app.extensions["prodfix-diagnostics"].name = "nobody"
    assert guest(app, "/ops/errors") == 200


def test_a_trailing_slash_of_two_prefixes_changes_nothing(adopt: Any) -> None:
    host, parent = Flask("host"), Blueprint("parent", __name__, url_prefix="/p/")
    parent.register_blueprint(diagnostics.blueprint, url_prefix="/q/")
    host.register_blueprint(parent)
    app = adopt(host)
    assert guest(app, "/p/q/errors") == 401
    assert app.test_client().get("/p/q/errors", headers=bearer(app)).status_code == 200


def test_what_cannot_be_guarded_is_refused() -> None:
    host = Flask("host")
    with pytest.raises(ValueError, match="is many"):
        host.register_blueprint(diagnostics.blueprint, url_prefix="/<tenant>/ops")
    host = Flask("host")
    host.register_blueprint(diagnostics.blueprint)
    with pytest.raises(ValueError, match="registered already"):
        host.register_blueprint(diagnostics.blueprint, name="again", url_prefix="/again")
