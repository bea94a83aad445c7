"""What answers hold: one form for each type, and never what a strict reader refuses."""

from __future__ import annotations

import enum
import json
import math
import re
import uuid
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import SON, Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from flask import Blueprint, jsonify, render_template_string
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from pydantic import BaseModel

from prodfix.connection.status import ConnectionDetails
from prodfix.web.application import Application, StrictJSON
from prodfix.web.bodies import parse
from prodfix.web.encoding import plain

ID = ObjectId("65a1b2c3d4e5f6a7b8c9d0e1")
UID = uuid.UUID("123e4567-e89b-12d3-a456-426614174000")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


class Model(BaseModel):
    a: float


@dataclass
class Row:
    id: ObjectId
    at: datetime


class Colour(enum.Enum):
    RED = "red"
    RATE = math.nan


class Name(str, enum.Enum):  # noqa: UP042 - as most have it
    ONE = "one"


Point = namedtuple("Point", "x y")
Float = type("Float", (float,), {})  # as numpy's float64

FORMS: dict[str, tuple[Any, Any]] = {
    "ObjectId": (ID, "65a1b2c3d4e5f6a7b8c9d0e1"),
    "datetime": (MOMENT, "2026-01-02T03:04:05.678Z"),
    "datetime without a zone, as the driver's": (MOMENT.replace(tzinfo=None), "2026-01-02T03:04:05.678Z"),
    "first datetime": (datetime.min, "0001-01-01T00:00:00.000Z"),
    "DatetimeMS": (DatetimeMS(1767323045678), "2026-01-02T03:04:05.678Z"),
    "DatetimeMS out of range": (DatetimeMS(-(2**62)), {"$date": {"$numberLong": str(-(2**62))}}),
    "date": (date(2026, 1, 2), "2026-01-02"),
    "time": (clock_time(3, 4), "03:04:00"),
    "timedelta": (timedelta(minutes=1, milliseconds=500), 60.5),
    "Decimal": (Decimal("1.10"), "1.10"),
    "Decimal NaN": (Decimal("NaN"), None),
    "Decimal sNaN": (Decimal("sNaN"), None),
    "Decimal128": (Decimal128("12345678901234567890.10"), "12345678901234567890.10"),
    "Decimal128 NaN": (Decimal128("NaN"), None),
    "Decimal128 Infinity": (Decimal128("-Infinity"), None),
    "Int64": (Int64(2**53 + 1), 2**53 + 1),
    "UUID": (UID, str(UID)),
    "Binary UUID": (Binary.from_uuid(UID), str(UID)),
    "Binary of an old UUID": (Binary(b"\x00" * 16, 3), "AAAAAAAAAAAAAAAAAAAAAA=="),
    "Binary": (Binary(b"\xff\x00", 128), "/wA="),
    "bytes": (b"\xff\x00", "/wA="),
    "bytearray": (bytearray(b"\xff"), "/w=="),
    "Timestamp": (Timestamp(5, 6), {"$timestamp": {"t": 5, "i": 6}}),
    "Regex": (Regex("^a", "im"), {"$regularExpression": {"pattern": "^a", "options": "im"}}),
    "pattern": (re.compile(b"^a\xff", re.I), {"$regularExpression": {"pattern": "^a\ufffd", "options": "i"}}),
    "DBRef": (DBRef("c", ID, "d", extra=1), {"$ref": "c", "$id": str(ID), "$db": "d", "extra": 1}),
    "Code": (Code("return 1"), {"$code": "return 1"}),
    "Code with a scope": (Code("x", {"x": ID}), {"$code": "x", "$scope": {"x": str(ID)}}),
    "MinKey": (MinKey(), {"$minKey": 1}),
    "MaxKey": (MaxKey(), {"$maxKey": 1}),
    "SON": (SON([("b", ID), ("a", 1)]), {"b": str(ID), "a": 1}),
    "OrderedDict": (OrderedDict(a=MOMENT), {"a": "2026-01-02T03:04:05.678Z"}),
    "raw": (RawBSONDocument(bson.encode({"a": [ID]})), {"a": [str(ID)]}),
    "set": ({5}, [5]),
    "frozenset": (frozenset({ID}), [str(ID)]),
    "deque": (deque([1, 2]), [1, 2]),
    "tuple": ((1, None), [1, None]),
    "namedtuple": (Point(1, ID), [1, str(ID)]),
    "Enum": (Colour.RED, "red"),
    "Enum of NaN": (Colour.RATE, None),
    "Enum of texts": (Name.ONE, "one"),
    "what a service answers": (
        ConnectionDetails(pool_size=3),
        ConnectionDetails(pool_size=3).to_json() | {"poolSize": 3},
    ),
    "dataclass": (Row(ID, MOMENT), {"id": str(ID), "at": "2026-01-02T03:04:05.678Z"}),
    "pydantic": (Model(a=1.5), {"a": 1.5}),
    "pydantic with NaN": (Model(a=math.inf), {"a": None}),
    "Markup": (Markup("<b>"), "<b>"),
    "float": (-0.0, 0.0),
    "subclass of float": (Float(1.5), 1.5),
    "NaN of a subclass": (Float(math.nan), None),
    "nan": (math.nan, None),
    "Infinity": (-math.inf, None),
    "int": (2**64 + 1, 2**64 + 1),
    "int of 300 digits": (10**300, 10**300),
    "int of 5000 digits": (10**5000, None),
    "half a character": ("a\ud800b", "a\ufffdb"),
    "escapes": ("\u00e9 \x00\x01 \\u0000 \\u0001 \\ \" \n", "\u00e9 \x00\x01 \\u0000 \\u0001 \\ \" \n"),
    "emoji": ("\U0001f600 \u2028", "\U0001f600 \u2028"),
    "keys": (
        {ID: 1, 5: 2, 1.5: 3, True: 4, None: 5, MOMENT: 6, UID: 7, b"\xff": 8, Name.ONE: 9, date(2026, 1, 2): 10},
        {str(ID): 1, "5": 2, "1.5": 3, "true": 4, "null": 5, "2026-01-02T03:04:05.678Z": 6, str(UID): 7, "/w==": 8,
         "one": 9, "2026-01-02": 10},
    ),
    "one key twice": ({1: "a", "1": "b"}, {"1": "b"}),
    "key of half a character": ({"\udfff": 1}, {"\ufffd": 1}),
    "key that is NaN": ({math.nan: math.nan}, {"nan": None}),
}  # fmt: skip


@pytest.fixture(scope="module")
def provider() -> StrictJSON:
    return PROVIDER


@pytest.mark.parametrize(("value", "expected"), FORMS.values(), ids=FORMS)
def test_a_value_has_one_form_wherever_it_stands(provider: StrictJSON, value: Any, expected: Any) -> None:
    assert parse(provider.dumps(value)) == expected
    # Beside something that Python's encoder must see, with white space, and with sorted keys.
    assert parse(provider.dumps({"a": [value, None, math.nan]})) == {"a": [expected, None, None]}
    assert parse(provider.dumps([value], indent=2)) == [expected]
    assert parse(provider.dumps({"b": value}, sort_keys=True)) == {"b": expected}


def test_numbers_of_numpy_are_numbers(provider: StrictJSON) -> None:
    numpy = pytest.importorskip("numpy")
    value = {"a": numpy.float64("nan"), "b": numpy.int32(5), "c": numpy.array([1.5, numpy.inf]), "d": numpy.bool_(True)}
    assert parse(provider.dumps(value)) == {"a": None, "b": 5, "c": [1.5, None], "d": True}


@pytest.mark.parametrize(
    "value",
    [object(), {(1, 2): 3}, {"a": iter([])}, b"".join],
    ids=["an object", "a key of two", "an iterator", "a method"],
)
def test_what_has_no_form_is_refused(provider: StrictJSON, value: Any) -> None:
    with pytest.raises(TypeError):
        provider.dumps(value)


def test_what_holds_itself_is_refused_and_not_followed(provider: StrictJSON) -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises((ValueError, RecursionError)):
        provider.dumps(ring)


def test_what_the_reader_refuses_is_what_pythons_encoder_writes() -> None:
    """The control: why it is not left to that."""
    for value in (math.nan, {1: 1, "1": 2}, "\ud800", 10**400):
        with pytest.raises(Exception, match=r"valid UTF-8|not JSON|too long|names a key twice"):
            parse(json.dumps({"x": value} if not isinstance(value, dict) else value))


LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(st.characters(codec="utf-8"), max_size=9),
    st.binary(max_size=9), st.builds(ObjectId), st.datetimes().map(lambda moment: moment.replace(microsecond=0)),
    st.builds(Binary, st.binary(min_size=16, max_size=16), st.sampled_from([0, 1, 3, 4, 5, 128])),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.builds(Int64, st.integers(-(2**63), 2**63 - 1)),
    st.builds(DatetimeMS, st.integers(-(2**63), 2**63 - 1)),
    st.sampled_from([Decimal128("NaN"), Decimal128("-Infinity"), Decimal128("1E+6144"), MinKey(), MaxKey()]),
    st.builds(Regex, st.text("ab.*^$", max_size=5), st.sampled_from(["", "i", "imsx"])),
    st.builds(Code, st.text("ab", max_size=5)), st.builds(Code, st.text("ab", max_size=5), st.just({"x": math.nan})),
    st.builds(DBRef, st.just("c"), st.builds(ObjectId)),
)  # fmt: skip
KEY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
DOCUMENT = st.dictionaries(
    KEY,
    st.recursive(
        LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=12
    ),
    max_size=5,
)
OPTIONS = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=True)
APP = Application("x")  # the provider itself keeps no application
PROVIDER = StrictJSON(APP)


@given(document=DOCUMENT)
def test_each_document_that_mongodb_can_hold_is_an_answer(document: dict[str, Any]) -> None:
    read = bson.decode(bson.encode(document), OPTIONS)
    for value in (read, [read], RawBSONDocument(bson.encode(document))):
        text = PROVIDER.dumps(value)
        assert text.isascii()
        assert parse(text) == plain(value, lambda: None)


ANY_KEY = st.one_of(
    KEY, st.text(max_size=4), st.integers(), st.floats(), st.booleans(), st.none(), st.uuids(), st.builds(ObjectId)
)


@given(
    value=st.recursive(
        LEAF | st.text(max_size=4) | st.integers(), lambda inner: st.dictionaries(ANY_KEY, inner, max_size=4)
    )
)
def test_nothing_is_written_that_the_reader_refuses(value: Any) -> None:
    parse(PROVIDER.dumps(value))


def test_an_ordinary_answer_is_not_looked_at_part_by_part(
    provider: StrictJSON, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any) -> Any:
        raise AssertionError("looked at part by part")

    monkeypatch.setattr("prodfix.web.application.plain", never)
    for value in (
        [{"_id": ID, "at": MOMENT, "title": "x", "tags": ["a"], "n": 1.5}],
        {
            "none": None,
            "title": "caf\u00e9 \U0001f600",
            "n": Int64(5),
            "raw": RawBSONDocument(bson.encode({"a": None})),
        },
    ):
        assert parse(provider.dumps(value, separators=(",", ":"))) == plain(value, lambda: None)
    with pytest.raises(AssertionError, match="part by part"):
        provider.dumps({"x": math.nan})


@pytest.fixture
def odd(serve: Callable[..., Application], tmp_path: Any) -> Any:
    blueprint = Blueprint("odd", __name__)
    blueprint.add_url_rule("/odd", view_func=lambda: jsonify({"x": math.nan, "y": [1, math.inf]}), endpoint="odd")
    blueprint.add_url_rule("/fine", view_func=lambda: jsonify({"x": None}), endpoint="fine")
    template = "{{ {'x': value, 'id': id}|tojson }}"
    blueprint.add_url_rule(
        "/page", view_func=lambda: render_template_string(template, value=math.nan, id=ID), endpoint="page"
    )
    with open(tmp_path / "console.txt", "wb") as console:
        yield serve([blueprint], console=console.fileno()).test_client(), tmp_path / "console.txt"


def test_an_answer_with_nan_has_null_and_is_told_once(odd: Any) -> None:
    client, console = odd
    for _ in range(3):
        answer = client.get("/odd")
        assert (answer.status_code, json.loads(answer.data)) == (200, {"x": None, "y": [1, None]})
    assert json.loads(client.get("/fine").data) == {"x": None}
    assert json.loads(client.get("/page").data) == {"x": None, "id": str(ID)}
    assert client.application.extensions["prodfix"].logs.sinks.flush(30)
    told = [line for line in map(json.loads, console.read_text().splitlines()) if line.get("event") == "json"]
    assert [(line["level"], line["endpoint"]) for line in told] == [("warn", "/odd"), ("warn", "/page")]
