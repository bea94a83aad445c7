"""The factory: plug-ins in, application out, and nothing is opened before somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from flask import Blueprint, request
from pydantic import SecretStr

from prodfix import Document
from prodfix.blueprints import diagnostics, health

DIAGNOSTICS = "/api/v1/diagnostics"


def plug_in(name: str = "hello") -> Blueprint:
    blueprint = Blueprint(name, __name__)
    blueprint.add_url_rule(f"/{name}", view_func=lambda: name, endpoint=name)
    return blueprint


def module(blueprint: Any) -> ModuleType:
    made = ModuleType("plug_in")
    made.blueprint = blueprint  # type: ignore[attr-defined]
    return made


def test_blueprints_and_modules_that_expose_one_are_plug_ins(serve: Callable[..., Any]) -> None:
    client = serve([plug_in("one"), module(plug_in("two"))]).test_client()
    assert [client.get(path).text for path in ("/one", "/two")] == ["one", "two"]


class Kept(Document, collection="kept"):
    name: str


def test_the_models_of_a_plug_ins_module_are_known_without_being_told(serve: Callable[..., Any]) -> None:
    assert serve([plug_in()]).extensions["prodfix"].documents.models == [Kept]
    elsewhere = Blueprint("elsewhere", "json")
    assert serve([elsewhere]).extensions["prodfix"].documents.models == []


def test_without_plug_ins_there_is_nothing_but_the_one_answer(serve: Callable[..., Any]) -> None:
    response = serve().test_client().get("/health/live")
    assert (response.status_code, response.get_json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "bad", [None, "health", 7, ModuleType("empty"), module("hello"), SimpleNamespace(blueprint=None), Blueprint]
)
def test_what_is_no_blueprint_is_refused_by_name(serve: Callable[..., Any], bad: Any) -> None:
    with pytest.raises(ValueError, match="is not a Blueprint"):
        serve([plug_in(), bad])


@pytest.mark.parametrize(("enabled", "status"), [(True, 401), (False, 404)])
@pytest.mark.parametrize("path", ["", "/database", "/errors", "/requests/x", "/nowhere"])
def test_diagnostics_can_be_switched_off(serve: Callable[..., Any], enabled: bool, status: int, path: str) -> None:
    app = serve([diagnostics, health], enable_diagnostics=enabled)
    assert app.test_client().get(DIAGNOSTICS + path).status_code == status
    assert app.test_client().get("/health/live").status_code == 200


def test_making_it_opens_nothing_and_connects_to_nothing(serve: Callable[..., Any], tmp_path: Path) -> None:
    before = threading.active_count()
    serve([health], mongodb_uri=SecretStr("mongodb://127.0.0.1:9/"))
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_no_header_of_a_proxy_is_believed_until_there_is_one(serve: Callable[..., Any]) -> None:
    blueprint = Blueprint("ip", __name__)
    blueprint.add_url_rule("/ip", view_func=lambda: str(request.remote_addr))
    headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    seen = [
        serve([blueprint], trusted_proxies=hops).test_client().get("/ip", headers=headers).text for hops in (0, 1, 2)
    ]
    assert seen == ["127.0.0.1", "198.51.100.7", "203.0.113.9"]


def test_a_slash_at_the_end_is_no_redirect(serve: Callable[..., Any]) -> None:
    assert serve([health]).test_client().get("/health/live/").status_code == 200


def test_an_object_id_in_a_path_is_one_or_is_not_found(serve: Callable[..., Any]) -> None:
    blueprint = Blueprint("by_id", __name__)
    blueprint.add_url_rule("/<ObjectId:identity>", view_func=lambda identity: type(identity).__name__)
    client = serve([blueprint]).test_client()
    assert client.get("/" + "a" * 24).text == "ObjectId"
    assert client.get("/" + "z" * 24).get_json()["code"] == "NOT_FOUND"


def test_the_library_never_imports_the_plug_ins_or_the_deployment(python: Callable[..., str]) -> None:
    code = """
        import sys, {}
        from prodfix import ProdFix
        print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"blueprints", "config"}}))
    """
    assert python(code.format("prodfix")) == "[]\n"
    assert python(code.format("blueprints")) == "['blueprints']\n", "the control"
