"""The document of the diagnostics says what is true of them: made-up requests, good and bad, against the served application."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.operation_names import camel
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

PREFIX = "/api/v1/diagnostics"
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "2000"))  # over all operations
SPARE = 30  # for each operation: one without parameters has not so many different ones
LONGEST_LINE = 3_900  # characters; gunicorn takes 4094, with method, path and version


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
    return schema_of(served.get(f"{PREFIX}/openapi.json", served.bearer()).body, served)


def schema_of(document: Any, served: Served) -> Any:
    """Without the token, which all requests have: schemathesis would take it for what is wrong with a bad one."""
    schema = schemathesis.openapi.from_dict({name: part for name, part in document.items() if name != "security"})
    schema.config.update(base_url=served.url)
    return schema


def test_it_is_a_valid_document_and_has_every_route(served: Served) -> None:
    document = served.get(f"{PREFIX}/openapi.json", served.bearer()).body
    validate(document)
    assert document["openapi"] == "3.1.0"
    app = Flask("host")
    app.register_blueprint(diagnostics.blueprint)
    ours = [
        rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.split(".")[-2:-1] in (["api"], ["changes"], ["runtime"])
    ]
    routes = {
        (method, re.sub(r"<(\w+)>", lambda match: "{" + camel(match[1]) + "}", rule.rule))
        for rule in ours
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert len(routes) >= 16
    known = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert {(method, path) for method, path in known if path.startswith(PREFIX)} == routes
    assert {path for _, path in known if not path.startswith(PREFIX)} == {
        *(f"/health/{name}" for name in ("live", "ready", "startup", "db")),
        "/api/v1/operations/{identity}",
    }


def _over(moment: Any) -> bool:
    try:
        return isinstance(moment, str) and datetime.fromisoformat(moment) < datetime.now(UTC)
    except (ValueError, TypeError):
        return False


def _sent(case: Any) -> bool:
    """Whether the query arrives as it was meant to be: requests leaves out a parameter whose value is an empty list or None,
    and what should have been wrong with it is then right; a line that is too long is gunicorn's to refuse."""
    if isinstance(case.body, dict) and _over(case.body.get("until")):
        return False  # it is refused for the time that it is by now, which no schema can say
    url = requests.Request(case.method, "http://host", params=case.query).prepare().url or ""
    arrives = set(parse_qs(urlsplit(url).query, keep_blank_values=True))
    return set(case.query or {}) == arrives and len(url) < LONGEST_LINE


def check(schema: Any, token: dict[str, str], examples: int, *, only: str = "") -> int:
    """Make so many requests of each operation, good ones and bad ones, and hold each answer against the document; the
    number of requests."""
    made = 0
    for operation in (result.ok() for result in schema.get_all_operations()):
        if only and operation.path != only:
            continue
        cases = [operation.as_strategy(mode) for mode in GenerationMode]  # made once: it takes longer than a request

        @settings(
            max_examples=examples, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @given(case=st.sampled_from(cases).flatmap(lambda chosen: chosen))
        def ask(case: Any) -> None:
            nonlocal made
            assume(_sent(case))
            made += 1
            case.call_and_validate(headers=token)

        ask()
    return made


def test_nothing_is_found_in_two_thousand_examples(served: Served, schema: Any) -> None:
    each = EXAMPLES // len(list(schema.get_all_operations())) + SPARE
    assert check(schema, served.bearer(), each) >= EXAMPLES


def _promise_more(document: Any) -> str:
    """Of a page more entries than there may be: in each request, as a search may pass by what only some of them have."""
    path = f"{PREFIX}/errors/records"
    limit = next(one for one in document["paths"][path]["get"]["parameters"] if one["name"] == "limit")
    limit["schema"] |= {"minimum": 201, "maximum": 100_000}
    limit["schema"].pop("default", None)
    limit["required"] = True
    return path


def _promise_another_type(document: Any) -> str:
    document["components"]["schemas"]["ErrorStatistics"]["properties"]["totalErrors"] = {"type": "string"}
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
    with pytest.raises((FailureGroup, ExceptionGroup)):
        check(schema_of(document, served), served.bearer(), 100, only=path)
