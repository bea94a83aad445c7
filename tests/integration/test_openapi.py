"""The document of the diagnostics says what is true of them: made-up requests, good and bad, against the served application."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate

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


def test_it_is_a_valid_document_that_has_every_route(served: Served) -> None:
    document = served.get(f"{PREFIX}/openapi.json", served.bearer()).body
    validate(document)
    assert document["openapi"] == "3.1.0"


def test_nothing_is_found_in_two_thousand_examples(served: Served, schema: Any) -> None:
    operations = [result.ok() for result in schema.get_all_operations()]
    made = 0
    for operation in operations:
        examples = -(-EXAMPLES // len(operations))

        @settings(
            max_examples=examples,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            nonlocal made
            made += 1
            case.call_and_validate(headers=served.bearer())

        check()
    print(made)
