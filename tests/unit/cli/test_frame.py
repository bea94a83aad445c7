"""What all commands have in common: short helps, a version, a guess at what was meant, and IDs that are whole."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from prodfix import ProdFix
from prodfix.cli.early_words import LOADING, LOOKING, only_looks
from prodfix.cli.group import commands
from prodfix.cli.read_only import table, words
from prodfix.version import VERSION
from tests.unit.conftest import KEY, ROOT

SHORT = 45  # characters: what click shows of a help at 80 columns


@pytest.fixture
def runner() -> FlaskCliRunner:
    app = Flask("host")
    ProdFix(app)
    return app.test_cli_runner()


def _all(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from _all(command, (*path, name))


ALL = dict(_all(commands))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_first_line_of_each_help_is_shown_whole(path: tuple[str, ...]) -> None:
    shown = ALL[path].get_short_help_str(SHORT)
    assert shown
    assert not shown.endswith("...")
    assert len(shown) <= SHORT


def test_a_help_that_is_longer_would_be_cut() -> None:
    """The control: what click does with one."""
    long = click.Command("long", help="What this does is said here in more than forty-five characters.")
    assert long.get_short_help_str(SHORT).endswith("...")


def test_the_version_is_that_of_the_package(runner: FlaskCliRunner) -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert runner.invoke(args=["prodfix", "--version"]).stdout == f"prodfix {VERSION}\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("eror", "errors"),
        ("incident", "incidents"),
        ("helth", "health"),
        ("errors tob", "top"),
        ("indexes dif", "diff"),
    ],
)
def test_what_was_meant_is_guessed(runner: FlaskCliRunner, typed: str, meant: str) -> None:
    result = runner.invoke(args=["prodfix", *typed.split()])
    assert result.exit_code == 2
    assert re.search(rf"Did you mean (?:\w+ or )?{meant}\b", result.stderr)


def test_nothing_is_guessed_of_what_is_like_nothing(runner: FlaskCliRunner) -> None:
    assert "Did you mean" not in runner.invoke(args=["prodfix", "xyzzy"]).stderr


@pytest.mark.parametrize("role", ["admn", "Admin", "viewers", "editor"])
def test_a_role_that_opens_nothing_is_refused(runner: FlaskCliRunner, role: str) -> None:
    result = runner.invoke(args=["prodfix", "token", "--role", role])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "prodfix knows the roles admin and viewer" in result.stderr


def test_an_id_is_whole_at_eighty_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from prodfix.cli.read_only import console

    monkeypatch.setenv("COLUMNS", "80")
    identity = "0123456789abcdef0123456789abcdef0123"

    def drawn(ids: tuple[str, ...]) -> str:
        made = table("request", "time (UTC)", "status", "endpoint", "device", "message", ids=ids)
        made.add_row(
            *map(words, (identity, "2026-11-30 00:00:00", 500, "notes.show_one", "desktop", "It is not " * 20))
        )
        console().print(made)
        return capsys.readouterr().out

    assert identity in drawn(("request",))
    assert identity not in drawn(())  # the control


# -- what needs no application --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["prodfix", "--app wsgi prodfix errors top --range 7d", "prodfix --help", "prodfix alerts list", "prodfix token"],
)
def test_what_only_looks_is_known_by_its_words(line: str) -> None:
    assert only_looks(line.split())


@pytest.mark.parametrize(
    "line",
    ["run", "routes", "prodfix doctor", "prodfix deferred drain", "prodfix errors table --json", "prodfix whatever"],
)
def test_all_else_has_the_application(line: str) -> None:
    assert not only_looks(line.split())


def test_each_of_them_is_a_command() -> None:
    assert {(name,) for name in LOOKING} <= ALL.keys()
    assert ALL.keys() >= LOADING


def _modules(folder: Path, *words: str) -> set[str]:
    """What a process has loaded that was given this command."""
    environment = {"APP_ENV": "development", "JWT_SECRET_KEY": KEY, "STATE_DIR": str(folder), "LOG_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "flask", "--app", "wsgi", "prodfix", *words],
        cwd=ROOT,
        env=environment | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


APPLICATIONS = {"gevent", "blueprints", "loguru", "prodfix.web.hooks", "prodfix.blueprints.health", "pydantic"}


@pytest.mark.parametrize(
    "words", ["errors top", "request x", "queries", "alerts list", "incidents", "deferred list", "health"]
)
def test_a_command_that_only_looks_loads_no_application(tmp_path: Path, words: str) -> None:
    found = _modules(tmp_path, *words.split())
    assert "prodfix.reader" in found
    assert not APPLICATIONS & found


def test_one_that_needs_it_loads_it(tmp_path: Path) -> None:
    """The control."""
    found = _modules(tmp_path, "errors", "table")
    assert (APPLICATIONS - {"pydantic"}) <= found
    assert "prodfix.reader" not in found
