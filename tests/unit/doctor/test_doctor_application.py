"""The Flask application: what each check finds in it, and where it is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, redirect, request
from flask_pymongo import BSONProvider
from pydantic import SecretStr
from pymongo import MongoClient
from werkzeug.exceptions import InternalServerError, NotFound
from werkzeug.middleware.proxy_fix import ProxyFix

from prodfix.blueprints import diagnostics, health
from prodfix.cli.read_only import only_look
from prodfix.doctor import configuration, health_checks
from prodfix.doctor.deployment import Deployment
from prodfix.doctor.findings import Finding
from prodfix.doctor.registry import run
from tests.support.doctor_cases import CHECKS, Case, examined, findings, ids, judge

PRODUCTION = {"app_env": "production"}
RENDER = {"render": True}
THROWN = {"DEBUG": True, "PROPAGATE_EXCEPTIONS": True}


def handler(error: Any) -> tuple[str, int]:
    return "the host's own", 500


def handling(kind: Any) -> Callable[[Flask], object]:
    return lambda app: app.register_error_handler(kind, handler)


def blueprint_handling(kind: Any) -> Callable[[Flask], object]:
    def prepare(app: Flask) -> None:
        shop = Blueprint("shop", __name__)
        shop.register_error_handler(kind, handler)
        app.register_blueprint(shop)

    return prepare


def with_health(app: Flask) -> None:
    app.register_blueprint(health.blueprint)


def with_diagnostics(app: Flask) -> None:
    app.register_blueprint(diagnostics.blueprint)


def with_hook(hook: Callable[[], Any]) -> Callable[[Flask], None]:
    def prepare(app: Flask) -> None:
        with_health(app)
        app.before_request(hook)

    return prepare


def fails() -> None:
    raise KeyError("canary7f3a")


def https() -> Any:
    return None if request.is_secure else redirect(request.url.replace("http", "https", 1))


def elsewhere() -> Any:
    return None if request.path.startswith("/health") else redirect("/login")


def with_healthz(app: Flask) -> None:
    app.add_url_rule("/healthz/", "healthz", lambda: "well")


def with_proxy_fix(app: Flask) -> None:
    with_health(app)
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign]


def configured(**values: Any) -> Callable[[Flask], None]:
    def prepare(app: Flask) -> None:
        with_health(app)
        app.config.update(values)

    return prepare


def flask_pymongos(app: Flask) -> None:
    app.json = BSONProvider(app)


def path(*paths: str) -> Deployment:
    return Deployment(health_paths=paths)


FOUND = [
    Case(
        "token-key",
        "warning",
        "no key",
        {"jwt_secret_key": None},
        prepare=lambda app: app.register_blueprint(diagnostics.blueprint),
    ),
    Case("exception-handlers", "warning", "test_doctor_application.handler", prepare=handling(Exception)),
    Case("exception-handlers", "warning", "the blueprint shop", prepare=blueprint_handling(Exception)),
    Case("exception-handlers", "warning", "for Exception", prepare=handling(Exception), served=True),
    Case("own-500", "note", "the application answers 500", prepare=handling(500)),
    Case("own-500", "note", "the blueprint shop answers 500", prepare=blueprint_handling(InternalServerError)),
    Case("health-routes", "note", "no health checks"),
    Case("health-routes", "error", "redirected (302)", prepare=with_hook(lambda: redirect("/login"))),
    Case("health-routes", "error", "redirected (302)", prepare=with_hook(https), served=True),
    Case("health-routes", "error", "answered with 401", prepare=with_hook(lambda: ("who are you?", 401))),
    Case("health-routes", "error", "answered with 500", prepare=with_hook(fails)),
    Case("health-path", "warning", "restart loop", deployment=path("/health/db"), prepare=with_health),
    Case("health-path", "error", "does not have", deployment=path("/health/deploy"), prepare=with_health),
    Case("health-path", "error", "GET /healthz: redirected (308)", deployment=path("/healthz"), prepare=with_healthz),
    Case("health-host", "warning", "another host", prepare=configured(TRUSTED_HOSTS=["notes.example.org"])),
    Case("proxies", "warning", "proxy's address", RENDER, prepare=with_health),
    Case("proxies", "warning", "proxy's address", RENDER, served=True),
    Case(
        "flask-flags",
        "error",
        "DEBUG, PROPAGATE_EXCEPTIONS",
        PRODUCTION,
        prepare=configured(DEBUG=True, PROPAGATE_EXCEPTIONS=True),
    ),
    Case("flask-flags", "note", "TESTING", prepare=configured(TESTING=True)),
    Case("json-provider", "warning", "$oid", prepare=flask_pymongos),
    Case("json-provider", "warning", "$oid", prepare=flask_pymongos, served=True),
]
SILENT = [
    Case("token-key", "ok", prepare=with_diagnostics),
    Case("token-key", "ok", settings={"jwt_secret_key": None}),
    Case("exception-handlers", "ok", prepare=handling(ValueError)),
    Case("exception-handlers", "ok", served=True),
    Case("own-500", "ok", prepare=handling(NotFound)),
    Case("own-500", "ok", served=True),
    Case("health-routes", "ok", prepare=with_health),
    Case("health-routes", "ok", prepare=with_health, served=True),
    Case("health-routes", "ok", prepare=with_hook(elsewhere)),
    Case("health-path", ""),
    Case("health-path", "ok", deployment=path("/health/startup"), prepare=with_health),
    Case("health-path", "ok", deployment=path("/healthz/"), prepare=with_healthz),
    Case("health-host", "ok", prepare=with_health),
    Case("health-host", "ok", prepare=configured(SERVER_NAME="notes.example.org")),
    Case("health-host", ""),
    Case("proxies", "", prepare=with_health),
    Case("proxies", "ok", settings=RENDER, prepare=with_proxy_fix),
    Case("proxies", "ok", settings=RENDER | {"trusted_proxies": 1}, prepare=with_health, served=True),
    Case("flask-flags", "ok", settings=PRODUCTION),
    Case("flask-flags", "ok", settings=PRODUCTION, served=True),
    Case("json-provider", "ok"),
    Case("json-provider", "ok", served=True),
]


@pytest.fixture
def look(adopt: Callable[..., Flask], serve: Callable[..., Flask]) -> Callable[[Case], list[Finding]]:
    def found(case: Case) -> list[Finding]:
        return findings(case, serve(**case.settings) if case.served else adopt(**case.settings))

    return found


@pytest.mark.parametrize("case", FOUND, ids=ids)
def test_what_is_wrong_is_found_with_what_to_do(look: Callable[[Case], list[Finding]], case: Case) -> None:
    found = look(case)
    judge(case, found)
    assert "canary7f3a" not in str(found)


@pytest.mark.parametrize("case", SILENT, ids=ids)
def test_what_is_right_is_left_alone(look: Callable[[Case], list[Finding]], case: Case) -> None:
    judge(case, look(case))


def test_one_finding_names_all_routes_that_answer_alike(look: Callable[[Case], list[Finding]]) -> None:
    (finding,) = look(Case("health-routes", "error", prepare=with_hook(lambda: redirect("/login"))))
    assert finding.facts == {"paths": ["/health/db", "/health/live", "/health/ready", "/health/startup"], "answer": 302}


def test_a_hook_that_never_returns_is_waited_for_once(
    adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(health_checks, "LIMIT", 0.2)
    begun = time.monotonic()
    case = Case("health-routes", "error", "no answer within", prepare=with_hook(lambda: let_go.wait(30) and None))
    subject = examined(case, adopt())
    try:
        judge(case, list(run(CHECKS["health-routes"], subject)))
        assert time.monotonic() - begun < 5
        (other,) = run(CHECKS["health-host"], subject)
        assert other.found == "could not be checked: the application leaves requests without an answer"
    finally:
        let_go.set()


def test_an_application_that_raises_through_is_told_by_the_errors_type(look: Callable[[Case], list[Finding]]) -> None:
    def prepare(app: Flask) -> None:
        with_hook(fails)(app)
        app.config["PROPAGATE_EXCEPTIONS"] = True

    (finding,) = look(Case("health-routes", "error", prepare=prepare))
    assert finding.found == "GET /health/db, /health/live, /health/ready, /health/startup: KeyError"


# -- looking is not serving -------------------------------------------------------------------------------------------------


def test_asking_starts_no_work_and_opens_no_journal(adopt: Callable[..., Flask]) -> None:
    app = adopt()
    services = app.extensions["prodfix"]
    only_look(services)
    with_hook(fails)(app)
    threads = threading.active_count()
    assert health_checks.ask(app, "/health/live") == 500
    assert services.logs.sinks.flush(30)
    assert not services.runtime.background.running
    assert services.runtime.journal.boot == ""
    assert services.runtime.workers.read() == []
    assert threading.active_count() == threads
    assert not services.settings.state_dir.exists()
    assert not services.settings.log_dir.exists()


def test_the_control_an_application_that_serves_has_all_of_it(adopt: Callable[..., Flask]) -> None:
    app = adopt()
    services = app.extensions["prodfix"]
    with_hook(fails)(app)
    assert health_checks.ask(app, "/health/live") == 500
    assert services.logs.sinks.flush(30)
    assert services.runtime.background.running
    assert services.runtime.journal.boot
    assert len(services.runtime.workers.read()) == 1
    assert list(services.settings.state_dir.glob("journal/*.db"))
    assert (services.settings.log_dir / "error.log").exists()


# -- clients ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[Callable[..., MongoClient[Any]]]:
    made: list[MongoClient[Any]] = []

    def make(*listeners: Any) -> MongoClient[Any]:
        made.append(MongoClient("mongodb://127.0.0.1:9/x", connect=False, event_listeners=list(listeners)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def clients_found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Other tests' clients may still be in memory."""
    return lambda *found: monkeypatch.setattr(configuration, "_made", lambda: list(found))


def test_a_client_without_listeners_is_not_observed(
    adopt: Callable[..., Flask], client: Callable[..., MongoClient[Any]], clients_found: Callable[..., None]
) -> None:
    app = adopt(mongodb_uri=SecretStr("mongodb://127.0.0.1:9/x"))
    services = app.extensions["prodfix"]
    blind, seeing = client(), client(services.queries.interceptor)
    assert {id(one) for one in (blind, seeing)} <= {id(one) for one in configuration._made()}
    ours = [services.database.clients.application, services.database.clients.own, services.database.clients.watch]
    found = Case("observed-clients", "warning", "1 client of the application's own")
    clients_found(blind, seeing, *ours)
    judge(found, findings(found, app))
    silent = Case("observed-clients", "ok")
    clients_found(seeing, *ours)
    judge(silent, findings(silent, app))
    blind.close()
    clients_found(blind, seeing, *ours)
    judge(silent, findings(silent, app))


def test_where_no_client_was_made_yet_nobody_knows(
    adopt: Callable[..., Flask], serve: Callable[..., Flask], clients_found: Callable[..., None]
) -> None:
    clients_found()
    host = Case("observed-clients", "note", "made no client yet")
    judge(host, findings(host, adopt()))
    served = Case("observed-clients", "ok")
    judge(served, findings(served, serve()))
    off = Case("observed-clients", "", settings={"enable_query_logging": False})
    judge(off, findings(off, adopt(**off.settings)))


def test_the_health_checks_are_those_that_tell_so_and_no_view_of_the_application_is_called() -> None:
    host, called = Flask("host"), []
    host.add_url_rule("/health/steps", view_func=lambda: called.append(1) or "steps")
    assert health_checks._health_routes(host) == ["/health/steps"], "the control: nobody tells"
    host.register_blueprint(health.blueprint, url_prefix="/hc")
    paths = health_checks._health_routes(host)
    assert {"/hc/live", "/hc/ready", "/hc/startup", "/hc/db"} <= set(paths)
    assert not [path for path in paths if path.startswith("/health")]
