"""The library knows no plug-in by name: each tells where it is, and what is told follows wherever it is registered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Response
from pydantic import SecretStr

import prodfix
from prodfix import Insert, Write, WriteResult, accepted, current_prodfix, deferrable
from prodfix.blueprints import diagnostics, health, operations
from prodfix.links import HealthRoutes, Links, links_of

LITERALS = re.compile(r"/health/|/api/v1|operations\.show|[\"'](?:prodfix_)?health\.(?:db|ready|startup)")
UNREACHABLE = "mongodb://127.0.0.1:9/links"
DEFERRED = WriteResult("deferred", "0" * 24, "durable")


@deferrable("links.thing")
def thing(arguments: Mapping[str, Any]) -> Sequence[Insert]:
    return [Insert("things", arguments)]


def parent(*plug_ins: Any, prefix: str = "/internal") -> Blueprint:
    """A blueprint of an application that holds others."""
    found = Blueprint("internal", __name__, url_prefix=prefix)
    for one in plug_ins:
        found.register_blueprint(one.blueprint)
    return found


def test_no_plug_in_has_its_address_or_its_name_in_the_library() -> None:
    library = Path(prodfix.__file__).parent
    sources = sorted(path for path in library.rglob("*.py") if library / "blueprints" not in path.parents)
    found = {f"{path}:{line}" for path in sources for line in path.read_text().splitlines() if LITERALS.search(line)}
    assert found == set()
    assert len(sources) > 100
    assert LITERALS.search('STATUS = "operations.show"'), "it would be found"


def test_nobody_has_told_anything() -> None:
    links = Links()
    assert (links.diagnostics, links.health, links.operation("0" * 24)) == (None, None, None)


def test_each_application_has_its_own() -> None:
    one, other = links_of(first := {}), links_of({})
    one.diagnostics_are_below("/here")
    assert (links_of(first).diagnostics, other.diagnostics) == ("/here", None)


@pytest.mark.parametrize(("plug_in", "prefix"), [(operations, ""), (parent(operations), "/internal")])
def test_a_202_leads_to_the_operations_wherever_they_are(serve: Callable[..., Any], plug_in: Any, prefix: str) -> None:
    app = serve([plug_in])
    app.add_url_rule("/things", view_func=lambda: accepted(DEFERRED))
    answer = app.test_client().get("/things")
    url = f"{prefix}/api/v1/operations/{DEFERRED.operation_id}"
    assert (answer.status_code, answer.headers["Location"], answer.json["statusUrl"]) == (202, url, url)
    endpoint, values = app.url_map.bind("localhost").match(url)
    assert (endpoint.endswith("operations.show"), values) == (True, {"identity": DEFERRED.operation_id})


def test_it_leads_nowhere_where_the_request_knows_no_address(serve: Callable[..., Any]) -> None:
    app = serve([parent(operations, prefix="/<tenant>")])
    app.add_url_rule("/things", view_func=lambda: accepted(DEFERRED))
    answer = app.test_client().get("/things")
    assert (answer.status_code, answer.json["statusUrl"], "Location" in answer.headers) == (202, None, False)


@pytest.mark.parametrize(("plug_in", "prefix"), [(diagnostics, ""), (parent(diagnostics), "/internal")])
def test_an_alert_leads_to_the_diagnostics_wherever_they_are(
    serve: Callable[..., Any], plug_in: Any, prefix: str
) -> None:
    app = serve([plug_in], public_url="https://example.org")
    path = f"{prefix}/api/v1/diagnostics"
    assert app.extensions["prodfix"].alerts.origin.link() == f"https://example.org{path}"
    assert app.test_client().get(path).status_code == 401, "and they are there"
    paths = app.test_client().get(f"{path}/openapi.json")
    assert paths.status_code == 401


@pytest.mark.parametrize("values", [{}, {"public_url": "https://example.org", "enable_diagnostics": False}])
def test_an_alert_leads_nowhere_without_them_or_without_an_address(serve: Callable[..., Any], values: Any) -> None:
    assert serve([diagnostics], **values).extensions["prodfix"].alerts.origin.link() == ""


def test_it_may_be_told_before_prodfix_comes(adopt: Callable[..., Flask]) -> None:
    host = Flask("host")
    host.register_blueprint(operations.blueprint, name="status")
    host.add_url_rule("/things", view_func=lambda: accepted(DEFERRED))
    answer = adopt(host).test_client().get("/things")
    assert answer.headers["Location"] == f"/api/v1/operations/{DEFERRED.operation_id}"


def test_the_doctor_is_told_of_the_health_checks_of_this_application(serve: Callable[..., Any]) -> None:
    waiting = frozenset({f"internal.prodfix_health.{view}" for view in ("ready", "startup", "db")})
    told = HealthRoutes("internal.prodfix_health.startup", "internal.prodfix_health.db", waiting)
    app = serve([parent(health)])
    assert app.extensions["prodfix"].links.health == told
    assert waiting <= set(app.view_functions)


def test_a_write_that_is_deferred_says_where_to_ask(serve: Callable[..., Any]) -> None:
    def create() -> Response:
        return accepted(current_prodfix.recovery.write(Write("links.thing", {"a": 1})))

    blueprint = Blueprint("links", __name__)
    blueprint.add_url_rule("/things", view_func=create, methods=["POST"])
    app = serve(
        [blueprint, parent(operations)],
        mongodb_uri=SecretStr(UNREACHABLE),
        max_retry_attempts=0,
        db_server_selection_timeout_ms=20,
    )
    answer = app.test_client().post("/things")
    assert answer.status_code == 202
    assert app.test_client().get(answer.headers["Location"]).json["status"] == "waiting"
