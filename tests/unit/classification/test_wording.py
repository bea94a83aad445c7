"""Whose words are told, and whose are not: those of the driver and of libraries that validate quote values of users."""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from bson.errors import InvalidDocument
from loguru import logger
from pydantic import BaseModel
from pydantic import ValidationError as PydanticError
from pymongo import errors as mongo

from prodfix.causes import chain
from prodfix.classification.wording import in_safe_words, words
from prodfix.records.records import summary

CANARY = "canary7f3a"

# MongoDB's own words, with the codes under which it says them.
REFUSALS = {
    28: f'Cannot create field \'b\' in element {{a: "{CANARY}"}}',
    14: f'Cannot apply $inc to a value of non-numeric type. {{_id: "{CANARY}"}} has the field \'n\' of non-numeric type string',
    16755: f"Can't extract geo keys: {{ _id: 1, loc: \"{CANARY}\" }}  unknown GeoJSON type: {{ loc: \"{CANARY}\" }}",
    241: f"Failed to parse number '{CANARY}' in $convert with no onError value: Did not consume whole string.",
    9: f"Modifiers operate on fields but we found type string instead. For example: {{$mod: {{}}}} not {{$set: \"{CANARY}\"}}",
    2: f"unknown operator: $gt, caused by :: bad value '{CANARY}'",
    66: f"Performing an update on the path '_id' would modify the immutable field '_id' {{_id: '{CANARY}'}}",
    11000: f'E11000 duplicate key error collection: a.b index: e_1 dup key: {{ email: "{CANARY}" }}',
    121: f"Document failed validation {{consideredValue: '{CANARY}'}}",
    51091: f"Regular expression is invalid: '{CANARY}('",
}  # fmt: skip


def refused(code: int) -> mongo.OperationFailure:
    text = REFUSALS[code]
    return mongo.OperationFailure(text, code, {"ok": 0.0, "errmsg": text, "code": code, "keyValue": {"email": CANARY}})


class Own(Exception):
    """An application's."""


QUOTING: dict[str, Callable[[Exception], Exception]] = {
    "str": lambda error: Own(f"cannot save the order: {error}"),
    "repr": lambda error: Own(f"cannot save the order: {error!r}"),
    "errmsg": lambda error: Own("cannot save the order", getattr(error, "details", None) or str(error)),
    "message": lambda error: Own(f"{error.args[0]}, and no order"),
    "cut": lambda error: Own(f"cannot save the order: {str(error)[: str(error).index(CANARY) + 8]}"),
    "json": lambda error: Own(json.dumps({"reason": str(error)})),
    "twice": lambda error: Own(f"{error}; {error}"),
}


@pytest.mark.parametrize("quote", QUOTING.values(), ids=QUOTING)
@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("link", ["cause", "context", "hidden"])
def test_what_an_application_quotes_of_the_driver_is_not_told(code: int, quote: Any, link: str) -> None:
    error = refused(code)
    own = quote(error)
    own.__cause__ = error if link == "cause" else None
    own.__context__, own.__suppress_context__ = error, link == "hidden"
    assert CANARY[:8] in str(own)
    shown = summary(own)
    assert CANARY[:8] not in shown
    if link != "hidden":
        assert f"OperationFailure (code {code})" in shown
        assert CANARY[:8] not in in_safe_words(str(own), own)


def test_its_own_words_stay() -> None:
    error = refused(28)
    own = QUOTING["str"](error)
    own.__cause__ = error
    assert summary(own) == "Own: cannot save the order: OperationFailure <- OperationFailure (code 28)"
    assert summary(Own("the field 'b' lies in {the past}")) == "Own: the field 'b' lies in {the past}"


def stand_in(module: str, name: str, text: str, **attributes: Any) -> Exception:
    kind = type(name, (Exception,), {"__module__": module, **attributes})
    return type("Sub", (kind,), {})(text)


LIBRARIES = [
    ("jsonschema.exceptions", "ValidationError", f"'{CANARY}' is not of type 'integer'"),
    ("mongoengine.errors", "ValidationError", f"ValidationError (User:None) ({CANARY} is too short: ['name'])"),
    ("mongoengine.errors", "NotUniqueError", f"Tried to save duplicate unique keys ({REFUSALS[11000]})"),
    ("mongoengine.errors", "OperationError", f"Could not save document ({REFUSALS[28]})"),
    ("marshmallow.exceptions", "ValidationError", f"{{'age': ['{CANARY} is no number']}}"),
    ("cerberus.validator", "DocumentError", f"'{CANARY}' is not a document, must be a dict"),
    ("voluptuous.error", "MultipleInvalid", f"expected int, not {CANARY}"),
    ("wtforms.validators", "ValidationError", f"{CANARY} is taken"),
    ("cattrs.errors", "ClassValidationError", CANARY),
    ("msgspec", "ValidationError", f"Invalid enum value '{CANARY}' - at `$.colour`"),
    ("schema", "SchemaError", f"'{CANARY}' should be instance of 'int'"),
    ("typeguard", "TypeCheckError", CANARY),
    ("beartype.roar", "BeartypeCallHintParamViolation", f"parameter x='{CANARY}' violates type hint"),
    ("fastjsonschema.exceptions", "JsonSchemaValueException", CANARY),
    ("jsonschema_rs", "ValidationError", f'"{CANARY}" is not of type "integer"'),
    ("email_validator.exceptions", "EmailSyntaxError", CANARY),
    ("yaml.scanner", "ScannerError", CANARY),
    ("sqlalchemy.exc", "IntegrityError", f"[parameters: ('{CANARY}',)]"),
    ("psycopg.errors", "UniqueViolation", f"DETAIL:  Key (email)=({CANARY}) already exists."),
]
PARENTS = {
    "MultipleInvalid": "Invalid", "ClassValidationError": "BaseValidationError", "ScannerError": "YAMLError",
    "BeartypeCallHintParamViolation": "BeartypeException", "JsonSchemaValueException": "JsonSchemaException",
    "EmailSyntaxError": "EmailNotValidError", "IntegrityError": "StatementError", "UniqueViolation": "Error",
}  # fmt: skip


@pytest.mark.parametrize(("module", "name", "text"), LIBRARIES, ids=lambda value: str(value)[:24])
def test_of_a_librarys_error_type_and_place_are_told_and_never_its_words(module: str, name: str, text: str) -> None:
    error = stand_in(module, PARENTS.get(name, name), text)
    assert CANARY in str(error)
    assert CANARY not in summary(error)
    own = Own(f"the order is wrong: {error}")
    own.__cause__ = error
    assert CANARY not in summary(own)


def test_the_same_words_of_an_exception_that_nobody_knows_are_its_own() -> None:
    """The control: it is the class that makes the difference."""
    shown = [summary(stand_in("shop.errors", name, text)) for _, name, text in LIBRARIES]
    assert sum(CANARY in text for text in shown) > len(LIBRARIES) / 2


def test_rule_and_place_are_told() -> None:
    error = stand_in(
        "jsonschema.exceptions", "ValidationError", CANARY, absolute_path=["items", 0, "price"], validator="minimum"
    )
    assert summary(error) == "Sub: items.0.price minimum"
    error = stand_in(
        "marshmallow.exceptions", "ValidationError", CANARY, messages={"age": [CANARY], "a@b.example": ["x"]}
    )
    assert summary(error) == "Sub: age invalid, ?key invalid"


def test_the_real_jsonschema_and_pydantic() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate({"age": CANARY}, {"properties": {"age": {"type": "integer"}}})
    assert summary(caught.value) == "ValidationError: age type"
    assert CANARY not in in_safe_words(f"refused: {caught.value}")
    assert CANARY in str(caught.value)

    class Model(BaseModel):
        age: int

    with pytest.raises(PydanticError) as refusal:
        Model.model_validate({"age": CANARY})
    own = Own(f"no: {refusal.value}")
    own.__cause__ = refusal.value
    for shown in (summary(own), in_safe_words(str(own)), in_safe_words(str(own), own)):
        assert CANARY not in shown
    assert CANARY in str(own)


def fail(error: Exception) -> None:
    raise error


def raised(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it raises
        return error
    raise AssertionError("it did not raise")


def attrs_refusal() -> Any:
    attrs = pytest.importorskip("attrs")
    kind = attrs.make_class("C", {"x": attrs.field(validator=attrs.validators.instance_of(int))})
    return kind(x=CANARY)


PYTHON: dict[str, Callable[[], Any]] = {
    "int": lambda: int(CANARY),
    "int of bytes": lambda: int(CANARY.encode()),
    "float": lambda: float(CANARY),
    "fraction": lambda: Fraction(CANARY),
    "address": lambda: ipaddress.ip_address(CANARY),
    "date": lambda: __import__("datetime").datetime.fromisoformat(CANARY),
    "time": lambda: __import__("datetime").datetime.strptime(CANARY, "%Y"),
    "rest of a time": lambda: __import__("datetime").datetime.strptime("2026" + CANARY, "%Y"),
    "enum": lambda: __import__("enum").Enum("Colour", "RED")(CANARY),
    "key": lambda: {}[f"{CANARY}@example.org"],
    "long key": lambda: {}[f"{CANARY}0123456789abcdef0123"],
    "list": lambda: [].index(f"{CANARY}@example.org"),
    "attrs": attrs_refusal,
}


@pytest.mark.parametrize("work", PYTHON.values(), ids=PYTHON)
def test_values_in_pythons_own_texts_are_not_told(work: Callable[[], Any]) -> None:
    error = raised(work)
    assert CANARY not in summary(error)


def test_an_ordinary_key_and_an_ordinary_text_are_told() -> None:
    assert summary(KeyError("title")) == "KeyError: title"
    assert summary(LookupError("no colour of this name")) == "LookupError: no colour of this name"


def test_logging_an_error_within_its_handler_tells_nothing_of_its_words(serve: Any, tmp_path: Any) -> None:
    """`logger.error(f"failed: {error}")` in an except clause, as most applications have it."""
    secret = "Zq" + CANARY
    with open(tmp_path / "console.txt", "wb") as console:
        services = serve(console=console.fileno()).extensions["prodfix"]
        for error in (mongo.OperationFailure(f"nobody knows {secret}", 7), InvalidDocument(f"cannot encode {secret}")):
            try:
                fail(error)
            except Exception as caught:
                logger.error(f"failed: {caught}")
                logger.bind(reason=str(caught)).warning("failed")
                logging.getLogger("shop").exception("failed: %s", caught)  # noqa: TRY401
                services.errors.log.log_auth_error("Odd", None, f"not let in: {caught}")
        logger.error(f"the control: nobody knows {secret}")
        assert services.logs.sinks.flush(30)
    lines = (tmp_path / "console.txt").read_text().splitlines()
    assert [secret in line for line in lines if "control" in line] == [True]
    assert not [line for line in lines if secret in line and "control" not in line]
    assert sum("failed: OperationFailure" in line for line in lines) == 2


def test_an_error_whose_text_cannot_be_had_has_no_words() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert words(Rude("x"), chain(Rude("x"))) == ""
