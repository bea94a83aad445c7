"""Every code that an answer can have says what it means and what to do, once, in one table."""

from __future__ import annotations

import re

import pytest

from prodfix import Settings
from prodfix.classification import classifications
from prodfix.classification.classifications import Classification
from prodfix.classification.error_types import TYPES
from prodfix.classification.problem_codes import CODES, problem_slug
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.classification.web_errors import STATUSES, WEB_TYPES

ROWS = [
    *TYPES.values(),
    *WEB_TYPES.values(),
    *STATUSES.values(),
    *(row for _, row in SERVER_CODES.values()),
    *(row for row in vars(classifications).values() if isinstance(row, Classification)),
]


def test_every_code_of_a_row_is_in_the_table_with_its_statuses() -> None:
    told = {(code, status) for code, problem in CODES.items() for status in problem.statuses}
    assert {(row.code, row.status) for row in ROWS} == told


@pytest.mark.parametrize("code", CODES)
def test_each_says_what_it_means_and_what_to_do(code: str) -> None:
    problem = CODES[code]
    for text in (problem.meaning, problem.client, problem.operator):
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.count("`") % 2 == 0
        assert "<" not in text
    assert re.fullmatch("[a-z][a-z0-9-]*", problem_slug(code))


@pytest.mark.parametrize("code", CODES)
def test_a_setting_that_is_named_is_one(code: str) -> None:
    problem = CODES[code]
    words = re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", problem.meaning + problem.client + problem.operator)
    assert {word for word in words if word not in CODES and word.lower() not in Settings.model_fields} == set()
