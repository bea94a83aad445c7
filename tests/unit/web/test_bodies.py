"""Bodies are JSON as RFC 8259 means it, or refused with a reason."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.errors import MalformedRequest
from prodfix.web.bodies import DEEPEST, parse

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=JSON, ascii_only=st.booleans())
def test_what_is_json_is_read_as_it_was_meant(value: Any, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


BAD = {
    "syntax": [b"", b"{", b'{"a":}', b"[1,]", b"\xef\xbb\xbf{}", b"{} {}", b"\x00", b"'a'", b"01"],
    "encoding": [b"\xff\xfe", '"ü"'.encode("latin-1"), '{"a":1}'.encode("utf-16"), b'"\\ud800"', b'{"\\udfff":1}',
                 b'["a", "x\\ud83dx"]'],
    "duplicate_key": [b'{"a":1,"a":1}', b'[{"b":{"a":1,"\\u0061":2}}]'],
    "number": [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"1e999", b"[-1e400]", b"9" * 401, b"9" * 100_000],
    "depth": [b"[" * 65 + b"]" * 65, b'{"a":' * 65 + b"1" + b"}" * 65, b"[" * 200_000, b'[{"a":' * 100_000],
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "data"), [(code, data) for code in BAD for data in BAD[code]], ids=lambda x: str(x)[:20]
)
def test_what_is_not_json_is_refused_with_its_reason(code: str, data: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse(data)
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == (code, "")


def test_the_standard_library_alone_would_read_it() -> None:
    read = [
        data
        for data in (*BAD["duplicate_key"], *BAD["number"][:5], *BAD["encoding"][3:])
        if json.loads(data) is not None
    ]
    assert len(read) == 10


def test_64_levels_are_allowed_and_65_are_not() -> None:
    assert parse(b"[" * DEEPEST + b"]" * DEEPEST)
    assert parse(b'{"a":' * DEEPEST + b"1" + b"}" * DEEPEST)
    with pytest.raises(MalformedRequest):
        parse(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


def test_no_value_of_the_body_is_in_the_refusal() -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse(b'{"canary": "canary", "canary": 1}')
    assert "canary" not in str(caught.value) + repr(caught.value.problems)


@given(data=st.binary(max_size=60))
def test_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        parse(data)
    except MalformedRequest:
        return
    json.loads(data)


def test_a_megabyte_of_anything_is_quick() -> None:
    begun = time.process_time()
    for data in (
        b"[" + b"[]," * 300_000 + b"[]]",
        b'["' + b"\\u00e9" * 160_000 + b'"]',
        b"[" + b"1." + b"1" * 1_000_000 + b"]",
    ):
        parse(data)
    assert time.process_time() - begun < 3
