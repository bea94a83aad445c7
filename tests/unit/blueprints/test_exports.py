"""Lists as files: all pages of the API's own list, bounded, and no cell that a spreadsheet would calculate."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.blueprints.diagnostics.pages import exports
from prodfix.blueprints.diagnostics.pages.exports import LISTS, harmless
from prodfix.checked_record import SecretStr
from prodfix.records.record_indexes import ERROR_LOG

FORMULA = '=HYPERLINK("http://evil.example";"a")'
NOW = datetime.now(UTC)


@pytest.fixture
def app(adopt: Callable[..., Flask], database_uri: str) -> Flask:
    made = adopt(mongodb_uri=SecretStr(database_uri), diagnostics_auth_required=False)
    made.register_blueprint(diagnostics.blueprint)
    return made


@pytest.fixture
def records(app: Flask, database: Any) -> list[str]:
    """The IDs of 450 requests that failed, newest first: more than two pages of the API."""
    ids = [f"request-{number:03}" for number in range(450)]
    database[ERROR_LOG].insert_many(
        {
            "_id": bson.ObjectId(),
            "timestamp": NOW - timedelta(seconds=number),
            "requestId": identity,
            "fingerprint": "0123456789abcdef",
            "category": "unknown",
            "severity": "error",
            "code": "INTERNAL_ERROR",
            "status": 500,
            "message": FORMULA if number == 0 else 'KeyError, "ä"\nnext',
            "context": {"endpoint": "/a" if number % 2 else "/b", "method": "GET", "deviceType": "mobile"},
            "facts": {},
        }
        for number, identity in enumerate(ids)
    )
    return ids


def ask(app: Flask, path: str) -> Any:
    return app.test_client().get(f"{PREFIX}/page/export/{path}")


def rows(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.data.decode("utf-8"), newline="")))


def test_all_pages_are_in_one_file(app: Flask, records: list[str]) -> None:
    answer = ask(app, "errors.csv")
    assert [row["requestId"] for row in rows(answer)] == records
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="prodfix-errors-2')
    assert answer.headers["Content-Disposition"].endswith('Z.csv"')
    told = ask(app, "errors.json")
    assert [one["requestId"] for one in told.get_json()["errors"]] == records
    assert told.get_json()["next"] is None
    assert "Link" not in told.headers


def test_it_is_the_answer_to_what_was_asked(app: Flask, records: list[str]) -> None:
    assert [row["requestId"] for row in rows(ask(app, "errors.csv?endpoint=/a"))] == records[1::2]
    assert ask(app, "errors.csv?shoe=42").status_code == 422
    assert ask(app, "shoes.csv").status_code == 404
    assert ask(app, "errors.xls").status_code == 404


def test_a_long_one_has_an_end_and_says_where_it_goes_on(
    app: Flask, records: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MOST", 250)
    first = ask(app, "errors.json")
    assert [one["requestId"] for one in first.get_json()["errors"]] == records[:250]
    following = first.get_json()["next"]
    assert f"cursor={following}" in first.headers["Link"]
    rest = ask(app, f"errors.json?cursor={following}")
    assert [one["requestId"] for one in rest.get_json()["errors"]] == records[250:]


def test_no_cell_is_a_formula(app: Flask, records: list[str]) -> None:
    found = rows(ask(app, "errors.csv"))
    assert found[0]["message"] == f"'{FORMULA}"
    assert found[1]["message"] == 'KeyError, "ä"\nnext', "the control: what is none is as it was"
    assert ask(app, "errors.json").get_json()["errors"][0]["message"] == FORMULA, "nobody calculates JSON"


@given(st.text(), st.sampled_from(["=", "+", "-", "@", "\t", "\r", " =", "\n@", "\uff1d"]))
def test_whatever_begins_like_a_formula_does_not_any_more(text: str, begin: str) -> None:
    assert harmless(begin + text) == f"'{begin}{text}"
    assert harmless(f"a{begin}{text}") == f"a{begin}{text}"


@pytest.mark.parametrize("name", LISTS)
def test_each_list_is_there_also_without_an_entry(app: Flask, name: str) -> None:
    told = ask(app, f"{name}.json")
    assert told.status_code == 200
    assert json.loads(told.data)[name] == []
    answer = ask(app, f"{name}.csv")
    assert rows(answer) == []
    (header,) = csv.reader(io.StringIO(answer.data.decode("utf-8"), newline=""))
    assert header == exports.columns(LISTS[name].row)
    assert {"errors": "requestId", "kinds": "fingerprint", "deferred": "operationId"}.get(name, header[0]) in header


def test_an_empty_list_has_the_columns_that_a_row_has(app: Flask, records: list[str]) -> None:
    """The control: a list of something else has others."""
    headers = {
        path: next(csv.reader(io.StringIO(ask(app, path).data.decode("utf-8"), newline="")))
        for path in ("errors.csv", "errors.csv?endpoint=/nowhere", "kinds.csv")
    }
    assert headers["errors.csv"] == headers["errors.csv?endpoint=/nowhere"] != headers["kinds.csv"]


def test_what_is_within_an_entry_has_columns_of_its_own(app: Flask, records: list[str]) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/boom")
    def boom() -> str:
        raise KeyError("price")

    app.test_client().get("/boom")
    (kind,) = rows(ask(app, "kinds.csv"))
    assert (kind["count"], kind["endpoints"]) == ("1", '{"/boom":1}')
    (endpoint,) = [row for row in rows(ask(app, "endpoints.csv")) if row["endpoint"] == "/boom"]
    assert endpoint["errors"] == "1"


def test_the_pages_lead_to_it_with_what_was_asked(app: Flask, records: list[str]) -> None:
    page = app.test_client().get(f"{PREFIX}/page/errors?endpoint=/a&limit=20", headers={"Accept": "text/html"}).text
    assert f'href="{PREFIX}/page/export/errors.csv?endpoint=%2Fa"' in page
    assert f'href="{PREFIX}/page/export/errors.json?endpoint=%2Fa"' in page
