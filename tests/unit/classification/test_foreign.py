"""Stand-ins with the names, modules and attributes of the real classes: the libraries are not dependencies of ours."""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any

import pytest

from prodfix import classify
from prodfix.classification.foreign import problems


def error_of(module: str, **attributes: Any) -> Exception:
    kind = type("ValidationError", (Exception,), {"__module__": module, **attributes})
    return type("Own", (kind,), {})("canary-text")


MARSHMALLOW = error_of(
    "marshmallow.exceptions", messages={"name": ["Missing data"], "home": {"zip": ["canary"]}, "_schema": ["Odd"]}
)
JSONSCHEMA = error_of(
    "jsonschema.exceptions", absolute_path=deque(["items", 0, "price"]), validator="minimum", message="canary -1"
)
MONGOENGINE = error_of(
    "mongoengine.errors", to_dict=lambda self: {"name": "canary is too short", "home": {"zip": "no"}}
)


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (MARSHMALLOW, {("name", "/name"), ("home.zip", "/home/zip"), ("body", "")}),
        (JSONSCHEMA, {("items.0.price", "/items/0/price")}),
        (MONGOENGINE, {("name", "/name"), ("home.zip", "/home/zip")}),
    ],
    ids=["marshmallow", "jsonschema", "mongoengine"],
)
def test_other_libraries_validation_errors_are_field_errors(error: Exception, fields: set[tuple[str, str]]) -> None:
    meaning = classify(error)
    assert (meaning.status, meaning.code) == (422, "VALIDATION_FAILED")
    assert {(problem.field, problem.pointer) for problem in meaning.details} == fields
    assert "canary" not in str(meaning)


def test_an_error_that_cannot_be_read_is_a_validation_error_without_details() -> None:
    meaning = classify(error_of("marshmallow.exceptions"))  # no `messages`
    assert (meaning.code, meaning.details) == ("VALIDATION_FAILED", ())


def test_an_error_of_the_same_name_from_elsewhere_is_not() -> None:
    assert problems(error_of("shop.errors", messages={})) is None
    assert classify(error_of("shop.errors", messages={})).code == "INTERNAL_ERROR"


def test_the_first_pydantic_that_the_second_has_with_it_is_known() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and applications have it all the same
        from pydantic.v1 import BaseModel, ValidationError

    class Old(BaseModel):
        age: int

    with pytest.raises(ValidationError) as caught:
        Old(age="canary")  # type: ignore[arg-type]
    meaning = classify(caught.value)
    assert (meaning.code, [problem.pointer for problem in meaning.details]) == ("VALIDATION_FAILED", ["/age"])
    assert "canary" not in repr(meaning)
