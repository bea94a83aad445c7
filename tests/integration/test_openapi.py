"""The document of the diagnostics says what is true of them: made-up requests, good and bad, against the served application."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from blueprints import diagnostics
from blueprints.diagnostics.openapi import _camel
from tests.served import Served
from tests.waiting import until

pytestmark = pytest.mark.served

PREFIX = "/api/v1/diagnostics"
EXAMPLES = 2_000  # over all operations


@pytest.fixture(scope="module")
def served(database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    uri = f"{database_server}openapi_{secrets.token_hex(6)}"
    limits = {"DIAGNOSTICS_RATE_LIMIT": "1000000/minute", "DIAGNOSTICS_TEST_RATE_LIMIT": "1000000/minute"}
    folder = tmp_path_factory.mktemp("openapi")
    with Served(folder, uri, application="tests.hosts.probe:app", APP_RELEASE="v1", **limits) as application:
        application.post("/api/v1/notes", {"slug": "a", "title": "A", "body": "", "notebook": "n"})
        for _ in range(3):
            application.get("/probe/boom")
        token = application.bearer()
        until(lambda: application.get(f"{PREFIX}/errors", token).body["totalErrors"], what="something to be shown")
        yield application


@pytest.fixture(scope="module")
def schema(served: Served) -> Any:
    return schemathesis.openapi.from_url(f"{served.url}{PREFIX}/openapi.json", headers=served.bearer())


def test_it_is_a_valid_document_and_has_every_route(served: Served) -> None:
    document = served.get(f"{PREFIX}/openapi.json", served.bearer()).body
    validate(document)
    assert document["openapi"] == "3.1.0"
    app = Flask("host")
    app.register_blueprint(diagnostics.blueprint)
    ours = [rule for rule in app.url_map.iter_rules() if rule.endpoint.split(".")[-2:-1] in (["api"], ["changes"])]
    routes = {
        (method, re.sub(r"<(\w+)>", lambda match: "{" + _camel(match[1]) + "}", rule.rule))
        for rule in ours
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert len(routes) >= 16
    assert {(method.upper(), path) for path, item in document["paths"].items() for method in item} == routes


def check(schema: Any, token: dict[str, str], examples: int, *, only: str = "") -> int:
    """Make so many requests of each operation, good ones and bad ones, and hold each answer against the document; the
    number of requests."""
    made = 0
    for operation in (result.ok() for result in schema.get_all_operations()):
        if only and operation.path != only:
            continue

        @settings(
            max_examples=examples, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @given(case=st.sampled_from([*GenerationMode]).flatmap(operation.as_strategy))
        def ask(case: Any) -> None:
            nonlocal made
            made += 1
            case.call_and_validate(headers=token)

        ask()
    return made


def test_nothing_is_found_in_two_thousand_examples(served: Served, schema: Any) -> None:
    operations = len(list(schema.get_all_operations()))
    assert check(schema, served.bearer(), -(-EXAMPLES // operations)) >= EXAMPLES


def _promise_more(document: Any) -> str:
    """Of a page more entries than there may be."""
    path = f"{PREFIX}/errors/records"
    limit = next(one for one in document["paths"][path]["get"]["parameters"] if one["name"] == "limit")
    limit["schema"]["maximum"] = 100_000
    return path


def _promise_another_type(document: Any) -> str:
    document["components"]["schemas"]["Statistics"]["properties"]["totalErrors"] = {"type": "string"}
    return f"{PREFIX}/errors"


def _promise_no_refusal(document: Any) -> str:
    path = f"{PREFIX}/test"
    del document["paths"][path]["post"]["responses"]["422"]
    return path


@pytest.mark.parametrize("change", [_promise_more, _promise_another_type, _promise_no_refusal])
def test_a_document_that_is_wrong_is_found_out(served: Served, change: Callable[[Any], str]) -> None:
    """The control: the same search, on a document that says what is not true."""
    document = served.get(f"{PREFIX}/openapi.json", served.bearer()).body
    path = change(document)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=served.url)
    with pytest.raises((FailureGroup, ExceptionGroup)):
        check(schema, served.bearer(), 100, only=path)
