"""The OpenAPI document: each endpoint has all that a reader and a generator of clients want, those that come later too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from prodfix import ProdFix, Settings
from prodfix.blueprints import diagnostics, health, operations
from prodfix.blueprints.diagnostics import envelopes
from prodfix.blueprints.diagnostics.endpoints import ENDPOINTS, blueprint_of, endpoint
from prodfix.blueprints.diagnostics.examples import example
from prodfix.blueprints.diagnostics.operation_names import TAGS, operation_of, tag_of
from prodfix.version import VERSION

Operation = tuple[str, str, dict[str, Any]]


def document_of(app: Flask, path: str = "/api/v1/diagnostics") -> dict[str, Any]:
    found = app.test_client().get(f"{path}/openapi.json").get_json()
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("document")
    app = Flask("host")
    prodfix = ProdFix(app, settings=Settings(state_dir=folder, log_dir=folder, diagnostics_auth_required=False))
    for one in (diagnostics, health, operations):
        app.register_blueprint(one.blueprint)
    yield document_of(app)
    prodfix.services.close()


def each(document: dict[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_it_is_valid_and_of_this_version(document: dict[str, Any]) -> None:
    validate(document)
    assert (document["openapi"], document["info"]["version"]) == ("3.1.0", VERSION)
    assert document["servers"][0]["url"] == "/"


def test_each_operation_has_a_tag_an_id_of_its_own_words_and_an_example(document: dict[str, Any]) -> None:
    found = list(each(document))
    assert len(found) >= 21
    identities = [operation["operationId"] for _, _, operation in found]
    assert len(set(identities)) == len(identities)
    described = {tag["name"] for tag in document["tags"]}
    for method, path, operation in found:
        where = f"{method} {path}"
        assert operation["operationId"].isidentifier(), where
        assert operation["operationId"][0].islower(), where
        assert set(operation["tags"]) <= described, where
        assert operation["summary"].endswith("."), where
        assert len(operation["description"]) >= len(operation["summary"]), where
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], f"{where} {parameter['name']}"
        good = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
        (content,) = good["content"].values()
        assert "example" in content or "$ref" in content["schema"], where


def test_the_names_are_those_that_one_would_guess(document: dict[str, Any]) -> None:
    names = {operation["operationId"] for _, _, operation in each(document)}
    assert names >= {
        *("listErrors", "listErrorGroups", "getErrorGroup", "resolveErrorGroup", "getRequest", "listIncidents"),
        *("listDeferredWrites", "getDeferredWrite", "replayDeferredWrite", "getErrorStatistics", "getDatabase"),
        *("checkDatabase", "getOperation", "testDatabase", "listConnectionEvents"),
    }


def _examples(document: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Where, schema and example of each."""
    refusals = [(name, answer) for name, answer in document["components"]["responses"].items()]
    for method, path, operation in each(document):
        where = f"{method} {path}"
        answers = [(f"{where} {status}", answer) for status, answer in operation["responses"].items()]
        bodies = [(f"{where} body", operation["requestBody"])] if "requestBody" in operation else []
        for place, answer in (*answers, *bodies):
            for content in answer.get("content", {}).values():
                if "example" in content:
                    yield place, content["schema"], content["example"]
        for parameter in operation.get("parameters", ()):
            if "example" in parameter:
                yield f"{where} {parameter['name']}", parameter["schema"], parameter["example"]
    for name, answer in refusals:
        yield name, answer["content"]["application/json"]["schema"], answer["content"]["application/json"]["example"]


def test_each_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    checked = 0
    for where, schema, shown in _examples(document):
        whole = {**schema, "components": document["components"]}
        problems = [error.message for error in Draft202012Validator(whole).iter_errors(shown)]
        assert problems == [], where
        checked += 1
    assert checked >= 80


def test_an_example_that_is_not_true_would_be_found(document: dict[str, Any]) -> None:
    """The control."""
    wrong = next(schema for where, schema, _ in _examples(document) if where.startswith("GET") and "$ref" in schema)
    assert not Draft202012Validator({**wrong, "components": document["components"]}).is_valid({"next": 5})


def test_refusals_have_one_shape(document: dict[str, Any]) -> None:
    assert "Error" in document["components"]["schemas"]
    for answer in document["components"]["responses"].values():
        assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_lists_lead_to_what_is_in_them(document: dict[str, Any]) -> None:
    links = {
        operation["operationId"]: set(answer["links"])
        for _, _, operation in each(document)
        for answer in operation["responses"].values()
        if "links" in answer
    }
    assert links["listErrorGroups"] >= {"getErrorGroup"}
    assert links["listErrors"] >= {"getErrorGroup", "getRequest"}
    assert links["listDeferredWrites"] >= {"getDeferredWrite"}
    assert links["resolveErrorGroup"] == {"getErrorGroup"}
    names = {operation["operationId"] for _, _, operation in each(document)}
    assert set().union(*links.values()) <= names


def test_what_is_not_registered_is_not_in_it(tmp_path: Any) -> None:
    app = Flask("host")
    prodfix = ProdFix(app, settings=Settings(state_dir=tmp_path, log_dir=tmp_path, diagnostics_auth_required=False))
    app.register_blueprint(diagnostics.blueprint, url_prefix="/inside")
    app.register_blueprint(health.blueprint, url_prefix="/up", name="checks")
    found = document_of(app, "/inside")
    prodfix.services.close()
    validate(found)
    assert {path for path in found["paths"] if not path.startswith("/inside/")} == {
        f"/up/{name}" for name in ("live", "ready", "startup", "db")
    }


def test_an_endpoint_that_is_added_has_all_of_it_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prodfix.blueprints.diagnostics.endpoints.ENDPOINTS", added := [])
    blueprint = blueprint_of("added")

    @endpoint(blueprint, "POST", "/alerts/mutes/<mute_id>/end", envelopes.Changed)
    def end(mute_id: str) -> envelopes.Changed:
        """End it."""
        return envelopes.Changed()

    (one,) = added
    assert (one.operation, one.tag, one.title) == ("endAlertMute", "Alerts", "End it.")


@pytest.mark.parametrize(
    ("method", "rule", "paged", "name"),
    [
        ("GET", "/errors/groups", True, "listErrorGroups"),
        ("GET", "/errors/groups/<fingerprint>", True, "getErrorGroup"),
        ("GET", "/queries", True, "listQueries"),
        ("GET", "/queries/<path:shape>", False, "getQuery"),
        ("GET", "/database", False, "getDatabase"),
        ("POST", "/deferred/<operation_id>/replay", False, "replayDeferredWrite"),
        ("POST", "/deferred/replay", False, "replayDeferredWrites"),
        ("DELETE", "/alerts/mutes/<mute_id>", False, "deleteAlertMute"),
        ("PUT", "/log-level", False, "setLogLevel"),
    ],
)
def test_a_name_is_made_of_method_and_path(method: str, rule: str, paged: bool, name: str) -> None:
    assert operation_of(method, rule, paged=paged) == name


def test_each_tag_that_is_used_is_described() -> None:
    assert {tag_of(one.rule) for one in ENDPOINTS} <= TAGS.keys()
    assert tag_of("/something-new/<it>") == "Something new"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "maxLength": 3},
        {"type": "integer", "minimum": 5, "maximum": 9},
        {"type": "integer", "maximum": 0},
        {"type": "array", "items": {"enum": ["a", "b"]}},
        {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"$ref": "#/$defs/Known"},
    ],
)
def test_an_example_is_made_of_any_schema(schema: dict[str, Any]) -> None:
    known = {"Known": {"type": "object", "properties": {"at": {"const": 3}}, "required": ["at"]}}
    shown = example(schema, known, "name")
    assert Draft202012Validator({**schema, "$defs": known}).is_valid(shown), shown


def test_the_address_is_the_public_one(serve: Callable[..., Flask]) -> None:
    app = serve([diagnostics], diagnostics_auth_required=False, public_url="https://shop.example")
    assert document_of(app)["servers"][0]["url"] == "https://shop.example"
