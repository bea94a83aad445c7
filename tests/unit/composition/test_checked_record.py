"""A record takes what pydantic would take, and refuses what it would refuse."""

import copy
import pickle
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest

from prodfix.checked_record import (
    AfterValidator,
    BeforeValidator,
    CheckedRecord,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

SECRET = "canary7f3a"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def _doubled(value: str) -> str:
    if value == SECRET:
        raise ValueError("must be another")
    return value * 2


class Record(CheckedRecord):
    size: Annotated[int, Field(ge=1, le=10)] = 3
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    on: bool = False
    colour: Colour = Colour.RED
    name: Annotated[str, Field(min_length=2, max_length=8), AfterValidator(_doubled)] = "ab"
    short: Annotated[str, BeforeValidator(_doubled), Field(max_length=4)] = ""
    key: SecretStr | None = None
    limit: Annotated[int, Field(ge=16)] | None = None

    @field_validator("size", "limit")
    @classmethod
    def _is_even(cls, value: int | None) -> int | None:
        if value is not None and value % 2:
            raise ValueError("must be even")
        return value


TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "path": Path,
    "literal": Literal["a", "b"],
    "enum": Colour,
    "words": frozenset[str],
    "int or none": int | None,
    "moment": datetime,
}
VALUES = [
    *(
        "",
        " ",
        "1",
        " 7 ",
        "-3",
        "1.5",
        "1_000",
        "1e3",
        "0x10",
        "x",
        "true",
        "False",
        "YES",
        "off",
        "t",
        "2",
        "a",
        "red",
        "RED",
    ),
    *(
        0,
        1,
        -4,
        2.0,
        2.5,
        True,
        None,
        [],
        ["a", "b"],
        {"a"},
        ("a", 1),
        {},
        b"a",
        object(),
        Path("a/b"),
        Colour.BLUE,
        "9" * 5000,
    ),
]
# Where both differ: bytes are no text; a moment as a text has a validator of its own; what is not finite is no number.
BEYOND = {(kind, index) for kind in TYPES for index, value in enumerate(VALUES) if isinstance(value, bytes)}
BEYOND |= {("moment", index) for index, value in enumerate(VALUES) if isinstance(value, str | bool)}
BEYOND |= {("float", VALUES.index("9" * 5000))}


@pytest.mark.parametrize("kind", TYPES)
def test_it_reads_what_pydantic_reads(kind: str) -> None:
    class One(CheckedRecord):
        field: TYPES[kind] = None  # type: ignore[valid-type]

    oracle = pydantic.TypeAdapter(TYPES[kind])
    taken = 0
    for index, value in enumerate(VALUES):
        if (kind, index) in BEYOND:
            continue
        try:
            expected = oracle.validate_python(value)
        except pydantic.ValidationError:
            with pytest.raises(ValidationError):
                One(field=value)
            continue
        found = One(field=value).field
        assert (found, type(found)) == (expected, type(expected)), value
        taken += 1
    assert 0 < taken < len(VALUES), "the control: some are taken, and some are not"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("nan"), float("inf")])
def test_a_number_is_finite(value: Any) -> None:
    with pytest.raises(ValidationError):
        Record(share=value)


def test_all_that_is_wrong_is_told_at_once_and_no_value_of_it() -> None:
    with pytest.raises(ValidationError) as caught:
        Record(
            size=11, share=1, on=SECRET, colour=SECRET, name=SECRET, short="abc", key=[SECRET], limit=15, unknown=SECRET
        )  # type: ignore[call-arg, arg-type]
    assert caught.value.problems == {
        "size": "must be 10 or less",
        "share": "must be less than 1",
        "on": "must be true or false",
        "colour": "must be red or blue",
        "name": "must have 8 characters or less",
        "short": "must have 4 characters or less",
        "key": "must be a text",
        "limit": "must be 16 or more",
    }
    assert SECRET not in str(caught.value) + repr(caught.value)
    with pytest.raises(ValidationError) as caught:
        Record(size=0, share=0, name="a", short=SECRET, limit=17)
    assert caught.value.problems == {
        "size": "must be 1 or more",
        "share": "must be more than 0",
        "name": "must have 2 characters or more",
        "short": "must be another",
        "limit": "must be even",
    }


def test_what_is_not_given_has_its_default_and_what_has_no_field_is_left_out() -> None:
    record = Record(unknown=1, name="xyz", size="8")  # type: ignore[call-arg, arg-type]
    assert vars(record) == {
        "size": 8,
        "share": 0.5,
        "on": False,
        "colour": Colour.RED,
        "name": "xyzxyz",
        "short": "",
        "key": None,
        "limit": None,
    }
    assert Record().size == Record.model_fields["size"].default == 3, "which is not checked"


def test_it_does_not_change_and_is_a_value() -> None:
    record = Record(size=2)
    for change in (
        lambda: setattr(record, "size", 4),
        lambda: setattr(record, "other", 4),
        lambda: delattr(record, "size"),
    ):
        with pytest.raises(AttributeError, match="Record is frozen"):
            change()
    assert record == Record(size=2) != Record(size=4)
    assert hash(record) == hash(Record(size=2))
    assert copy.deepcopy(record) == pickle.loads(pickle.dumps(record)) == record
    other = record.model_copy(update={"size": 7})
    assert (other.size, record.size, other.share) == (7, 2, 0.5)


def test_a_secret_is_not_shown_and_is_equal_to_one_of_pydantics() -> None:
    record = Record(key=SECRET)  # type: ignore[arg-type]
    assert record.key is not None
    assert record.key.get_secret_value() == SECRET, "the control: it is in there"
    assert SECRET not in f"{record} {record!r} {record.key} {record.key!r}"
    assert len(record.key) == len(SECRET)
    theirs: Any = pydantic.SecretStr(SECRET)
    assert Record(key=theirs) == record
    assert record.key == theirs
    assert record.key != SECRET
    assert repr(SecretStr("")) == repr(pydantic.SecretStr(""))


def test_a_moment_may_be_seconds_since_1970() -> None:
    class At(CheckedRecord):
        moment: datetime | None = None

    assert At(moment=1764000000).moment == datetime(2025, 11, 24, 16, 0, tzinfo=UTC)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        At(moment=1e300)  # type: ignore[arg-type]
