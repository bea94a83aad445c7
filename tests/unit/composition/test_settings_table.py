"""The table for people has every setting, as the code has it."""

from __future__ import annotations

import re

import pytest

from prodfix import Settings
from prodfix.settings_table import kind_of, settings_table

ROWS = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*?) \| (.*?) \|$", settings_table(), flags=re.MULTILINE)
TABLE = {name: rest for name, *rest in ROWS}


def test_it_has_every_setting_once_and_in_their_order() -> None:
    assert [name for name, *_ in ROWS] == [name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("DB_POOL_SIZE", ["whole number, from 1 to 1000", "`10`", "served, host"]),
        ("BODY_TIMEOUT_MS", ["milliseconds, from 1 to 3600000", "`5000`", "served, host"]),
        ("LOG_LEVEL", ["`debug` or `info` or `warn` or `error`", "`info`", "served, host"]),
        ("LOG_FILE_MAX_SIZE", ["size, such as `10m` or `512k`, from 1024", "`10m`", "served, host"]),
        ("ENABLE_OPERATION_QUEUE", ["`false` or `true` or `ephemeral`", "`true`", "served, host"]),
        ("JWT_SECRET_KEY", ["secret", "", "served, host"]),
        ("STATE_DIR", ["path", "`var`", "served, host"]),
        ("PORT", ["whole number, from 0 to 65535", "`8000`", "served"]),
        ("RENDER", ["`true` or `false`", "`false`", "served, host; there also without the prefix"]),
    ],
)
def test_a_row_says_what_it_takes_its_default_and_where_it_is_read(name: str, row: list[str]) -> None:
    assert TABLE[name] == row


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_says_in_words_what_it_takes(name: str) -> None:
    assert re.match(
        r"(milliseconds|whole number|number|secret|size|path|text|PEM|`|names|words|rate|address|moment)",
        kind_of(Settings.model_fields[name]),
    )


def test_words_of_somebody_else_stand_beside() -> None:
    table = settings_table({"PORT": "the port"})
    assert "| served | the port |" in table
    assert table.count("\n") == len(Settings.model_fields) + 2
