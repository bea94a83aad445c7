"""What the README says of settings, codes and files is what the code does."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import click
import pytest

from prodfix import Settings
from prodfix.classification.error_types import TYPES
from prodfix.classification.server_codes import SERVER_CODES
from prodfix.classification.web_errors import STATUSES, WEB_TYPES
from prodfix.cli.group import commands
from tests.support import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
MEGABYTE = 1024 * 1024
ROWS = dict(re.findall(r"^\| `([A-Z_]+)`(?: \*)? \| (?:`([^`]*)`)?", README, flags=re.MULTILINE))


def shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, frozenset):
        return ",".join(sorted(default))
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Enum):
        return str(default.value)
    return (
        f"{default // MEGABYTE}m"
        if isinstance(default, int) and default >= MEGABYTE and not default % MEGABYTE
        else str(default)
    )


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_table_with_its_default(name: str) -> None:
    assert ROWS[name.upper()] == shown(Settings.model_fields[name].default)


def test_the_table_names_no_setting_that_there_is_not() -> None:
    table = README.partition("## Settings")[2].partition("\n## ")[0]
    assert {name.lower() for name in re.findall(r"^\| `([A-Z_]+)`", table, flags=re.MULTILINE)} == set(
        Settings.model_fields
    )


def test_every_code_of_the_table_of_errors_is_documented() -> None:
    codes = {
        row.code
        for row in (
            *TYPES.values(),
            *WEB_TYPES.values(),
            *STATUSES.values(),
            *(row for _, row in SERVER_CODES.values()),
        )
    }
    assert codes <= set(ROWS)


def test_every_command_stands_in_the_table_of_commands() -> None:
    table = README.partition("## Command line")[2].partition("\n## ")[0]
    named = {
        word for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for word in re.findall(r"`(\w+)", row)
    }
    there = set(commands.list_commands(click.Context(commands)))
    assert {"doctor", "health", "token"} <= there <= named


def test_every_file_that_is_named_is_there() -> None:
    root = REPOSITORY
    named = re.findall(r"`((?:prodfix|blueprints|config|tests)/[\w./]*)`", README)
    assert len(named) > 15
    assert [name for name in named if not (root / name).exists()] == []
