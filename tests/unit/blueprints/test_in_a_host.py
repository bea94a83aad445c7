"""The library's blueprints in an application that has things of the same names, puts them elsewhere, or is one of several."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace

import pytest
from flask import Blueprint, Flask, render_template, render_template_string
from jinja2 import DictLoader, StrictUndefined

from prodfix import ProdFix, make_token
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.doctor.health_checks import _health_routes
from prodfix.doctor.token_key import missing

NAMES = ("health", "operations", "diagnostics")
HTML = {"Accept": "text/html"}

Adopt = Callable[..., Flask]


def bearer(app: Flask) -> dict[str, str]:
    settings = app.extensions["prodfix"].settings
    return {"Authorization": f"Bearer {make_token(settings, role='admin', lifetime=timedelta(minutes=5))}"}


def registered(app: Flask, **places: str) -> Flask:
    for name in NAMES:
        options = {"url_prefix": places[name]} if name in places else {}
        app.register_blueprint(getattr(ProdFix().blueprints, name), **options)
    return app


@pytest.fixture
def taken(adopt: Adopt) -> Flask:
    """An application that has all of our names, and other delimiters in its templates."""
    host = Flask("host")
    host.jinja_options = {"variable_start_string": "[[", "variable_end_string": "]]", "undefined": StrictUndefined}
    host.jinja_loader = DictLoader(dict.fromkeys(("diagnostics/base.html", "diagnostics/overview.html"), "the host's"))  # type: ignore[assignment]
    host.add_template_global(lambda name: f"/mine/{name}", "asset")
    host.add_template_filter(lambda moment: "mine", "iso")
    for name in NAMES:
        own = Blueprint(name, __name__)
        own.add_url_rule(f"/{name}", view_func=lambda: "mine", endpoint="index")
        host.register_blueprint(own)
    return adopt(registered(host))


def test_what_an_application_has_of_the_same_name_stays_its_own(taken: Flask) -> None:
    client = taken.test_client()
    assert [client.get(f"/{name}").text for name in NAMES] == ["mine"] * 3
    with taken.test_request_context():
        assert render_template("diagnostics/base.html") == "the host's"
        assert render_template_string("[[ asset('x') ]] [[ 1 | iso ]]") == "/mine/x mine"
    assert set(taken.jinja_env.globals) - set(Flask("bare").jinja_env.globals) == {"asset"}
    assert set(taken.jinja_env.filters) - set(Flask("bare").jinja_env.filters) == {"iso"}


def test_and_ours_are_not_made_of_it(taken: Flask) -> None:
    client = taken.test_client()
    assert client.get("/health/live").status_code == 200
    for path in ("", "/page/errors", "/page/deferred", "/page/database"):
        page = client.get(PREFIX + path, headers=HTML | bearer(taken))
        assert (page.status_code, "Diagnostics" in page.text, "mine" in page.text) == (200, True, False), path
    assert "the host's" not in client.get("/diagnostics/sign-in").text


def test_they_are_where_an_application_puts_them(adopt: Adopt) -> None:
    app = adopt(registered(Flask("host"), health="/hc", operations="/ops/writes", diagnostics="/ops/errors"))
    client = app.test_client()
    assert client.get("/hc/live").status_code == 200
    assert client.get(f"/ops/writes/{'0' * 24}").status_code in (401, 404)
    links = app.extensions["prodfix"].links
    assert links.diagnostics == "/ops/errors"
    with app.test_request_context():
        assert links.operation("x") == "/ops/writes/x"
    assert {path for path in _health_routes(app)} == {"/hc/live", "/hc/ready", "/hc/startup", "/hc/db"}
    for path in ("", "/errors", "/page/errors", "/nothing"):
        assert client.get(f"/ops/errors{path}").status_code == 401
        assert client.get(f"/ops/errors{path}", headers=bearer(app)).status_code == (200 if path != "/nothing" else 404)
    assert client.get(f"{PREFIX}/errors").status_code == 404
    document = client.get("/ops/errors/openapi.json", headers=bearer(app)).get_json()
    places = ("/ops/errors/", "/hc/", "/ops/writes/")
    assert {next(place for place in places if path.startswith(place)) for path in document["paths"]} == set(places)


def test_the_sign_in_is_below_a_prefix_that_was_given(adopt: Adopt) -> None:
    app = adopt(registered(Flask("host"), diagnostics="/ops"))
    client = app.test_client()
    led = client.get("/ops/page/errors", headers=HTML)
    assert (led.status_code, led.headers["Refresh"]) == (401, "0; url=/ops/sign-in?next=/ops/page/errors")
    form = client.get("/ops/sign-in")
    assert (form.status_code, '"/ops/assets/diagnostics.css?v=' in form.text) == (200, True)
    with client.get("/ops/assets/diagnostics.css") as asset:
        assert asset.status_code == 200
    others = (("PUT", "/ops/sign-in"), ("GET", "/ops/sign-in/more"), ("GET", "/ops/assets"), ("POST", "/ops/assets/x"))
    for method, path in others:
        assert client.open(path, method=method).status_code == 401, "what is no address of the sign-in is guarded"
    token = bearer(app)["Authorization"].split()[1]
    answer = client.post("/ops/sign-in", data={"token": token})
    assert (answer.status_code, answer.location, "Path=/ops;" in answer.headers["Set-Cookie"]) == (303, "/ops", True)
    assert client.get("/ops", headers=HTML).status_code == 200
    assert client.get("/ops/errors", headers=HTML).status_code == 401, "the API takes no cookie"


@pytest.mark.parametrize("prefix", ["", "/", "//"])
def test_the_diagnostics_need_a_place_of_their_own(prefix: str) -> None:
    with pytest.raises(ValueError, match="a prefix of their own"):
        Flask("host").register_blueprint(ProdFix().blueprints.diagnostics, url_prefix=prefix)


def test_any_number_of_applications_have_them(adopt: Adopt) -> None:
    apps = [adopt(registered(Flask(f"host {place}"), diagnostics=f"/{place}")) for place in ("one", "other")]
    for app, place, elsewhere in zip(apps, ("one", "other"), ("other", "one"), strict=True):
        client = app.test_client()
        assert client.get(f"/{place}/errors", headers=bearer(app)).status_code == 200
        assert client.get(f"/{place}/errors").status_code == 401
        assert client.get(f"/{elsewhere}/errors", headers=bearer(app)).status_code == 404
        assert app.extensions["prodfix"].links.diagnostics == f"/{place}"


def test_an_application_names_them_as_it_likes(adopt: Adopt) -> None:
    host = Flask("host")
    for name in NAMES:
        host.register_blueprint(getattr(ProdFix().blueprints, name), name=f"my_{name}")
    app = adopt(host)
    assert {"my_health", "my_operations", "my_diagnostics", "my_diagnostics.sign_in"} <= set(app.blueprints)
    assert app.test_client().get(PREFIX, headers=HTML | bearer(app)).status_code == 200
    assert app.test_client().get(PREFIX, headers=HTML).headers["Refresh"].startswith("0; url=/diagnostics/sign-in")
    assert len(_health_routes(app)) == 4


def test_the_doctor_knows_them_by_what_they_have_told(adopt: Adopt) -> None:
    def found(app: Flask) -> int:
        settings = app.extensions["prodfix"].settings
        return len(list(missing(SimpleNamespace(app=app, settings=settings))))  # type: ignore[arg-type]

    host = Flask("host")
    host.register_blueprint(ProdFix().blueprints.diagnostics, name="anything", url_prefix="/anywhere")
    assert found(adopt(host, jwt_secret_key=None)) == 1
    own = Flask("host")
    own.register_blueprint(Blueprint("diagnostics", __name__))
    assert found(adopt(own, jwt_secret_key=None)) == 0, "an application's own are none of ours"


def test_who_takes_one_does_not_load_the_others(python: Callable[..., str]) -> None:
    code = """
        import sys
        from prodfix import ProdFix
        extension = ProdFix()
        print([name for name in sys.modules if name.startswith("prodfix.blueprints")])
        extension.blueprints.{}
        print(sorted(name for name in sys.modules if name.startswith("prodfix.blueprints.") and name.count(".") == 2))
    """
    assert python(code.format("health")) == "[]\n['prodfix.blueprints.health']\n"
    assert python(code.format("diagnostics")) == "[]\n['prodfix.blueprints.diagnostics']\n"


# -- what goes wrong ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["api", "unhandled"])
@pytest.mark.parametrize(
    ("path", "status"), [("/page/errors?from=yesterday", 422), ("/page/nothing", 404), ("/page/errors", 401)]
)
def test_an_error_of_a_page_is_a_page_of_ours_wherever_it_is(
    adopt: Adopt, answers: str, path: str, status: int
) -> None:
    app = adopt(registered(Flask("host"), diagnostics="/internal"), answers=answers)
    page = app.test_client().get(f"/internal{path}", headers=HTML if status == 401 else HTML | bearer(app))
    assert (page.status_code, page.mimetype) == (status, "text/html")
    assert "diagnostics.css" in page.text
    assert page.headers["X-Request-ID"] in page.text
    elsewhere = app.test_client().get("/internally/nothing", headers=HTML)
    assert (elsewhere.status_code, "diagnostics.css" in elsewhere.text) == (404, False), "the host's own is left to it"


def test_the_api_of_the_diagnostics_answers_a_browser_with_json_wherever_it_is(adopt: Adopt) -> None:
    app = adopt(registered(Flask("host"), diagnostics="/internal"), answers="api")
    answer = app.test_client().get("/internal/errors?timeRange=1y", headers=HTML | bearer(app))
    assert (answer.status_code, answer.get_json()["code"]) == (422, "VALIDATION_FAILED")


def test_an_error_of_a_page_is_the_hosts_where_all_answers_are(adopt: Adopt) -> None:
    app = adopt(registered(Flask("host"), diagnostics="/internal"), answers="none")
    page = app.test_client().get("/internal/page/nothing", headers=HTML | bearer(app))
    assert (page.status_code, "diagnostics.css" in page.text) == (404, False)


def test_an_error_of_a_page_that_the_host_handles_itself_is_its_own(adopt: Adopt) -> None:
    host = Flask("host")
    host.register_error_handler(404, lambda error: ("the host's", 404))
    app = adopt(registered(host, diagnostics="/internal"))
    assert app.test_client().get("/internal/page/nothing", headers=HTML | bearer(app)).text == "the host's"


# -- names of settings --------------------------------------------------------------------------------------------------------


def test_a_page_names_settings_as_the_application_that_is_asked_has_them(
    adopt: Adopt, serve: Callable[..., Flask]
) -> None:
    """Templates are compiled once for all applications of a process, and kept on disk."""
    host = adopt(registered(Flask("host")), app_env="production")
    served = serve([ProdFix().blueprints.diagnostics], app_env="production")
    for _ in range(2):
        for app, prefix in ((host, "PRODFIX_"), (served, "")):
            text = app.test_client().get(f"{PREFIX}/page/alerts", headers=HTML | bearer(app)).text
            assert f"Set <code>{prefix}ALERT_URLS</code>" in text
            form = app.test_client().get("/diagnostics/sign-in").text
            assert f"<code>{prefix}APP_ENV=development</code>" in form
            assert ("TRUSTED_PROXIES" in form, "ProxyFix" in form) == (app is served, app is host)
