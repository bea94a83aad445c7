"""What may be asked of the diagnostics: a date and a time is one, a number is a number, and nothing is taken for another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix import ValidationFailed, make_token
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.blueprints.diagnostics.parameters import InPlaces, query_of
from prodfix.web.application import Application

LISTS = ("errors/records", "incidents", "connection-events")
NUMBERS = ["0", "0.5", "-1", "-0.5", "+0.5", "1764000000", "1764000000000", "1764000000.5", "20261126", "2026", "1e9",
           "NaN", "nan", "Infinity", "-inf", "0x10", "1_000", " 5", "\u0663", "\uff15", "1" * 400]  # fmt: skip
NO_DATE_TIMES = ["", " ", "now", "2026-11-26", "2026-11-26T12:00", "2026-11-26T12:00:00", "12:00:00Z", "2026-11-26T24:00:00Z",
                 "2026-11-26T12:60:00Z", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "20261126T120000Z", "2026-W48-4T12:00Z",
                 "2026-330T12:00Z", "2026-11-26_12:00Z", "2026-11-26T12:00:00,5Z", "2026-11-26T12:00:00+0100",
                 "2026-11-26T12:00+01", "2026-11-26T12:00:00+24:00", "2026-11-26T12:00:00Z ",
                 "\u0662026-11-26T12:00:00Z", "2026-11-26T12:00:00Z\n",
                 "[1]", "{}", "true", "null"]  # fmt: skip
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
DATE_TIMES = {
    "2026-11-26T12:00:00Z": NOON,
    "2026-11-26t12:00z": NOON,
    "2026-11-26 12:00:00Z": NOON,
    "2026-11-26T13:00:00+01:00": NOON,
    "2026-11-26T13:00:00 01:00": NOON,  # a plus that was not encoded
    "2026-11-26T04:30:00.000-07:30": NOON,
    "2026-11-26T12:00:00-00:00": NOON,
    "2026-11-26T12:00:00.123456789Z": NOON + timedelta(microseconds=123456),
    "0001-01-01T00:00:00Z": datetime(1970, 1, 1, tzinfo=UTC),
    "9999-12-31T23:59:59-23:59": datetime(9999, 1, 1, tzinfo=UTC),
}


@pytest.fixture
def ask(serve: Callable[..., Application]) -> Callable[..., Any]:
    app = serve([diagnostics], diagnostics_rate_limit="10000/minute")
    token = make_token(app.extensions["prodfix"].settings, role="admin", lifetime=timedelta(minutes=5))
    client = app.test_client()
    return lambda path, **query: client.get(
        f"{PREFIX}/{path}", query_string=query, headers={"Authorization": f"Bearer {token}"}
    )


def test_no_number_and_no_half_of_it_is_a_date_time(ask: Callable[..., Any]) -> None:
    for path in LISTS:
        for value in NUMBERS + NO_DATE_TIMES:
            for name in ("from", "to"):
                answer = ask(path, **{name: value})
                assert answer.status_code == 422, (path, name, value)
                (problem,) = answer.get_json()["details"]
                assert problem["field"] == name


def test_what_is_one_is_that_moment_whatever_its_zone(ask: Callable[..., Any]) -> None:
    for written, moment in DATE_TIMES.items():
        assert InPlaces.model_validate({"to": written}).end == moment, written
        for path in LISTS:
            assert ask(path, to=written).status_code == 200
    assert ask("errors/records", to="2026-11-26T13:00:00+01:00").get_json()["windowTo"] == "2026-11-26T12:00:00.000Z"


@given(st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1)), st.integers(-1439, 1439), st.sampled_from("T t"))
def test_every_date_time_of_rfc_3339_is_read(moment: datetime, offset: int, divider: str) -> None:
    sign, (hours, minutes) = "-" if offset < 0 else "+", divmod(abs(offset), 60)
    written = f"{moment.isoformat(sep=divider, timespec='microseconds')}{sign}{hours:02}:{minutes:02}"
    expected = moment.replace(tzinfo=UTC) - timedelta(minutes=offset)
    earliest = datetime(1970, 1, 1, tzinfo=UTC)
    assert InPlaces.model_validate({"from": written}).begin == max(expected, earliest)


@given(st.one_of(st.text(max_size=40), st.floats().map(str), st.integers().map(str)))
def test_whatever_is_given_it_is_a_moment_or_refused(text: str) -> None:
    class Asked:
        def __init__(self) -> None:
            self.args = self

        def __iter__(self) -> Any:
            return iter(("from",))

        def getlist(self, name: str) -> list[str]:
            return [text]

        def to_dict(self) -> dict[str, str]:
            return {"from": text}

    try:
        found = query_of(Asked(), InPlaces)  # type: ignore[arg-type]
    except ValidationFailed:
        return
    assert found.begin is not None
    assert text.startswith(f"{text[:4]}-")


@pytest.mark.parametrize(
    "limit", ["5.0", "+5", " 5", "1_0", "\u0665", "1e1", "0x5", "5.5", "-1", "0", "201", "", "true", "9" * 400]
)
def test_a_limit_is_a_whole_number_in_digits(ask: Callable[..., Any], limit: str) -> None:
    assert [ask(path, limit=limit).status_code for path in (*LISTS, "queries", "deferred")] == [422] * 5
    assert ask("queries", limit="5").status_code == 200, "the control"


def test_the_document_says_what_is_taken() -> None:
    described = InPlaces.model_json_schema(by_alias=True)["properties"]
    assert {name: described["limit"][name] for name in ("type", "minimum", "maximum")} == {
        "type": "integer",
        "minimum": 1,
        "maximum": 200,
    }
    assert described["to"]["anyOf"][0]["format"] == "date-time"
