"""Every line that the served application has printed by now is what the schema says."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.support.log_kinds import problems
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served


def test_every_line_of_workers_and_arbiter_is_as_the_schema_says(served: Served) -> None:
    identity = f"request-{secrets.token_hex(6)}"
    for path in ("/", "/api/v1/notes", "/nowhere", "/api/v1/notes?limit=none", "/api/v1/diagnostics/errors"):
        served.get(path, {"X-Request-ID": identity})
    served.get("/api/v1/diagnostics/errors", served.bearer())
    until(
        lambda: sum(line.get("requestId") == identity for line in served.stdout_lines()) >= 5,
        limit=10,
        what="the access lines",
    )
    # Read once, while the workers go on: up to the last line that is whole.
    printed = served.stdout().rpartition("\n")[0].splitlines()
    lines = [json.loads(line) for line in printed]
    assert [problem for line in lines for problem in problems(line)] == []
    kinds = {line.get("event") for line in lines}
    assert kinds >= {None, "request", "connection", "audit"}
    assert any(line.get("logger") == "gunicorn.error" for line in lines), "the arbiter's"
