from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.site import Site
from tests.properties.strategies import invalid_notes, notes

NOTES = "/api/v1/notes"


def looked_up(body: Any, pointer: str) -> Any:
    """What the JSON pointer (RFC 6901) finds; a missing last member is found as None."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        body = body[int(name)] if isinstance(body, list) else body.get(name)
    return body


@given(invalid_notes())
def test_each_wrong_field_is_named(site: Site, invalid: tuple[dict[str, Any], set[str]]) -> None:
    """For any model validation failure, the error response should include field-level error details specifying which fields
    failed and why.

    All of them, and no other; each with a JSON pointer to the place in the body. Unknown fields are refused before the
    known ones are looked at. No value of the body is repeated.

    Feature: production-deployment-fix, Property 4
    """
    body, wrong = invalid
    answer = site.ask(NOTES, "POST", json=body)
    assert answer.status_code == 422
    assert answer.json["code"] == "VALIDATION_FAILED"
    details = answer.json["details"]
    assert {problem["pointer"].split("/")[1] for problem in details} == wrong - {"a.b"} | (
        {"a"} if "a.b" in wrong else set()
    )
    for problem in details:
        assert problem["message"]
        assert problem["code"]
        assert problem["field"].split(".")[0] in {name.split(".")[0] for name in wrong}
        if "a.b" not in wrong:
            looked_up(body, problem["pointer"])


@given(notes)
def test_a_right_one_has_none(site: Site, body: dict[str, Any]) -> None:
    """The control: a body without a wrong field is not refused.

    Feature: production-deployment-fix, Property 4
    """
    answer = site.ask(NOTES, "POST", json=body)
    assert answer.status_code in (201, 409)
    assert "VALIDATION_FAILED" not in answer.text


@given(st.sampled_from([None, [], "text", 7, True, [{}]]))
def test_a_body_that_is_no_object(site: Site, body: Any) -> None:
    """Is itself the wrong field.

    Feature: production-deployment-fix, Property 4
    """
    answer = site.ask(NOTES, "POST", data=json.dumps(body), content_type="application/json")
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json["details"]] == ["body"]
