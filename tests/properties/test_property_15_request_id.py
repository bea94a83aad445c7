from __future__ import annotations

import re
from typing import Any

from flask import abort
from hypothesis import given
from hypothesis import strategies as st

from prodfix import current_context
from tests.properties.site import Site
from tests.properties.strategies import errors, headers

ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{8,64}")
offered = (
    headers
    | st.from_regex(ACCEPTABLE, fullmatch=True)
    | st.sampled_from(["short", "a" * 65, "id with spaces", "a\tb\tc\td\te"])
)

# Every way to an error that is not a view's own.
ROADS: tuple[dict[str, Any], ...] = (
    {"path": "/nothing"},
    {"path": "/health/live", "method": "POST"},
    {"path": "/raise", "method": "POST", "data": b"x" * 5000},
    {"path": "/api/v1/notes", "method": "POST", "data": b"{", "content_type": "application/json"},
    {"path": "/api/v1/notes", "method": "POST", "data": b"{}", "content_type": "text/plain"},
    {"path": "/api/v1/notes", "method": "POST", "json": {"slug": 1}},
    {"path": "/api/v1/diagnostics/database"},
    {"path": "/api/v1/diagnostics/database", "headers": {"Authorization": "Bearer e.y.J"}},
)


def assert_traceable(answer: Any, offer: str) -> str:
    identity = answer.headers["X-Request-ID"]
    assert answer.headers.getlist("X-Request-ID") == [identity]
    assert ACCEPTABLE.fullmatch(identity)
    assert (identity == offer) == bool(ACCEPTABLE.fullmatch(offer))
    assert answer.json["requestId"] == identity
    return identity


@given(offer=offered, error=errors())
def test_an_error_names_the_request_that_it_belongs_to(site: Site, offer: str, error: Exception) -> None:
    """For any error response, it should include a request ID that matches the request context for tracing.

    The client's own ID is kept if it is one (8 to 64 harmless characters); anything else is replaced, since an ID goes
    into logs and answers. The same ID stands in the header, the body, the context of the view, and each log line.

    Feature: production-deployment-fix, Property 15
    """
    site.clear()
    seen: list[str] = []

    def view() -> None:
        context = current_context()
        assert context is not None
        seen.append(context.request_id)
        raise error

    site.view = view
    identity = assert_traceable(site.ask(headers={"X-Request-ID": offer}), offer)
    assert seen == [identity]
    assert {entry["requestId"] for entry in site.told() if entry["level"] != "debug"} <= {identity}
    assert all(entry["context"]["requestId"] == identity for entry in site.errors())
    assert current_context() is None


@given(offer=offered, road=st.sampled_from(ROADS))
def test_so_does_an_error_without_a_view(site: Site, offer: str, road: dict[str, Any]) -> None:
    """The same for unknown paths, wrong methods, bodies too large or broken, and refused tokens.

    Feature: production-deployment-fix, Property 15
    """
    answer = site.ask(**road | {"headers": {**road.get("headers", {}), "X-Request-ID": offer}})
    assert answer.status_code >= 400
    assert_traceable(answer, offer)


@given(
    offer=offered, path=st.sampled_from(["/health/live", "/health/ready", "/health/db", "/health/startup", "/raise"])
)
def test_every_other_answer_has_one_too(site: Site, offer: str, path: str) -> None:
    """And answers that are no errors carry it in the header, health included.

    Feature: production-deployment-fix, Property 15
    """
    site.view = lambda: "fine"
    first, second = (site.ask(path, headers={"X-Request-ID": offer}).headers["X-Request-ID"] for _ in range(2))
    if ACCEPTABLE.fullmatch(offer):
        assert first == second == offer
    else:
        assert len({first, second, offer}) == 3


def test_the_record_is_found_by_it(site: Site) -> None:
    """The control of "matches": the record of one request is found by its ID and by no other.

    Feature: production-deployment-fix, Property 15
    """
    site.view = lambda: abort(500)
    identity, other = (site.ask().json["requestId"] for _ in range(2))
    found = [document["requestId"] for document in site.services.errors.lookup.request(identity)]
    assert found == [identity]
    assert identity != other
