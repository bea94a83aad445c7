"""One derivation of JSON, documents and schemas: what is written, what is read back, and what the schema says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import TypeAdapter

from prodfix.serialization import INLINE, OMITTED, Description, Serializable, camel, inlined, json_maker, to_json

AT = datetime(2026, 11, 29, 2, 3, 4, 567000, UTC)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Share(Serializable):
    p95_ms: Annotated[float | None, Description("Milliseconds")] = None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Extent(Serializable):
    from_: datetime | None = None
    to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Whole(Serializable):
    """Not for readers of the schema."""

    state: Literal["open", "closed"] = "closed"
    colour: Colour = Colour.BLUE
    extent: Annotated[Extent | None, INLINE] = None
    first: Share | None = None
    shares: tuple[Share, ...] = ()
    named: dict[str, Share] = field(default_factory=dict)
    note: Annotated[str | None, OMITTED] = None
    anything: Any = None
    _id: str = ""


WHOLE = Whole("open", Colour.RED, Extent(AT), Share(1.5), (Share(tries=2),), {"one": Share()}, "so", [1], "x")
JSON = {
    "state": "open",
    "colour": "red",
    "from": "2026-11-29T02:03:04.567Z",
    "to": None,
    "first": {"p95Ms": 1.5, "tries": 0},
    "shares": [{"p95Ms": None, "tries": 2}],
    "named": {"one": {"p95Ms": None, "tries": 0}},
    "note": "so",
    "anything": [1],
    "_id": "x",
}


def test_names_are_those_of_json() -> None:
    names = ["created_at", "from_", "p95_ms", "_id", "pid"]
    assert [camel(name) for name in names] == ["createdAt", "from", "p95Ms", "_id", "pid"]


def test_all_that_is_within_is_written() -> None:
    assert WHOLE.to_json() == JSON
    assert list(WHOLE.to_json()) == list(JSON), "in the order of the fields"
    assert type(WHOLE.to_json()["colour"]) is str


def test_a_document_has_moments() -> None:
    assert WHOLE.to_document() == JSON | {"from": AT}


def test_what_is_none_is_null_and_only_what_is_marked_is_left_out() -> None:
    nothing = Whole().to_json()
    assert set(JSON) - set(nothing) == {"from", "to", "note"}
    assert (nothing["first"], nothing["anything"], nothing["shares"]) == (None, None, [])


def test_a_maker_of_json_is_called_as_the_class_and_returns_what_its_object_would() -> None:
    make = json_maker(Share)
    assert make(1.5) == Share(1.5).to_json()
    assert make(tries=2) == Share(tries=2).to_json()
    extent = json_maker(Extent)
    assert extent(AT) == {"from": "2026-11-29T02:03:04.567Z", "to": None}


def test_an_heir_has_what_is_its_own() -> None:
    @dataclass(frozen=True, slots=True)
    class Heir(Share):
        more: int = 1

    assert Share().to_json() == {"p95Ms": None, "tries": 0}
    assert Heir().to_json() == {"p95Ms": None, "tries": 0, "more": 1}


def test_what_was_written_is_read_back() -> None:
    assert Whole.from_json(JSON) == Whole.from_json(WHOLE.to_document()) == WHOLE
    assert Whole.from_json(Whole().to_json()) == Whole()


@pytest.mark.parametrize("told", [None, [], "text", {}, {"unknown": 1}, {"state": "ajar", "colour": "green"}])
def test_what_is_another_releases_has_its_defaults(told: Any) -> None:
    assert Whole.from_json(told) == Whole()


def test_what_is_odd_does_not_spoil_the_rest() -> None:
    told = JSON | {
        "first": 3,
        "shares": [{"tries": "many"}, 7],
        "named": [],
        "from": "yesterday",
        "note": 1,
        "_id": None,
    }
    read = Whole.from_json(told)
    assert (read.state, read.first, read.shares, read.named, read.note, read._id) == (
        "open",
        None,
        (Share(),),
        {},
        None,
        "",
    )
    assert read.extent == Extent()


def test_a_whole_number_is_a_number_and_true_is_none() -> None:
    assert Share.from_json({"p95Ms": 1, "tries": True}) == Share(1, 0)


def test_the_schema_says_what_is_written() -> None:
    schema = TypeAdapter(Whole).json_schema(mode="serialization")
    inlined(schema["$defs"] | {"Whole": schema})
    assert set(schema["properties"]) == set(JSON)
    assert set(schema["required"]) == set(Whole().to_json())
    assert schema["$defs"]["Share"]["properties"]["p95Ms"]["description"] == "Milliseconds"
    assert "description" not in schema
    assert not any("default" in one for one in schema["properties"].values())


def test_lists_and_other_things_are_written_too() -> None:
    assert to_json([Share(), {"a": 1}]) == [{"p95Ms": None, "tries": 0}, {"a": 1}]
    assert to_json("text") == "text"
