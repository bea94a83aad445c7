"""The command line: a token alone on the last line, and a clear word for everything that is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from flask import Flask
from pydantic import SecretStr
from pymongo import IndexModel

from prodfix import Document, ProdFix
from prodfix.cli.group import Lifetime
from tests.unit.conftest import KEY, ROOT


class Note(Document, collection="notes", indexes=[IndexModel("slug", name="by_slug")]):
    slug: str


@pytest.fixture
def run(serve: Callable[..., Any]) -> Callable[..., Any]:
    def invoke(*arguments: str, **settings: Any) -> Any:
        app = serve(**settings)
        app.extensions["prodfix"].documents.register(Note)
        return app.test_cli_runner().invoke(args=["prodfix", *arguments])

    return invoke


def decoded(token: str) -> dict[str, Any]:
    return jwt.decode(token, KEY, algorithms=["HS256"], audience="prodfix-admin", issuer="prodfix")


def test_a_token_is_all_that_is_printed(run: Callable[..., Any]) -> None:
    result = run("token")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    claims = decoded(line)
    assert (claims["roles"], claims["sub"]) == (["admin"], "admin")
    assert claims["exp"] - claims["iat"] == 900


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("30d", 2_592_000)]
)
def test_a_lifetime_is_a_number_and_a_unit(run: Callable[..., Any], text: str, seconds: int) -> None:
    claims = decoded(
        run("token", "--expires", text, "--role", "user", "--own-role", "--subject", "me").stdout.splitlines()[-1]
    )
    assert (claims["exp"] - claims["iat"], claims["roles"], claims["sub"]) == (seconds, ["user"], "me")
    assert Lifetime().convert(text, None, None) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "0s", "-1h", "1", "h", "1w", "1.5h", "31d", "99999999s", "15m ", "1h30m", "\u0661h", "15m\n"]
)
def test_a_bad_lifetime_is_explained_and_makes_no_token(run: Callable[..., Any], text: str) -> None:
    result = run("token", "--expires", text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not a lifetime such as 90s, 15m, 12h or 7d" in result.stderr


@pytest.mark.parametrize("option", ["--subject", "--role"])
@pytest.mark.parametrize("text", ["", " "])
def test_a_token_for_nobody_or_for_nothing_is_refused(run: Callable[..., Any], option: str, text: str) -> None:
    result = run("token", option, text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Invalid value for '{option}': must not be empty" in result.stderr


def test_without_a_key_it_says_which_setting_is_missing(run: Callable[..., Any]) -> None:
    result = run("token", jwt_secret_key=None)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "JWT_SECRET_KEY is not set" in result.stderr


def test_in_a_host_it_says_so_by_the_name_that_the_setting_has_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", KEY)  # the host's own
    app = Flask("host")
    ProdFix(app)
    result = app.test_cli_runner().invoke(args=["prodfix", "token"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "Error: PRODFIX_JWT_SECRET_KEY is not set"


def test_what_is_missing_is_shown_put_in_place_and_then_no_longer_missing(
    run: Callable[..., Any], database_uri: str, database: Any
) -> None:
    def indexes(command: str) -> tuple[int, str]:
        result = run("indexes", command, mongodb_uri=SecretStr(database_uri), app_env="production")
        return result.exit_code, result.stdout

    missing = "notes: create the collection\nnotes: create index by_slug\nerror_log: create index prodfix_expiry\n"
    code, told = indexes("diff")
    assert (code, told.startswith(missing)) == (1, True)
    assert indexes("apply") == (0, told)
    assert indexes("diff") == (0, "the database is as the models say\n")
    assert indexes("apply") == (0, "nothing to do\n")
    assert "by_slug" in database.notes.index_information()
    assert "prodfix_user" in database.error_log.index_information()


@pytest.mark.parametrize("command", ["diff", "apply"])
@pytest.mark.parametrize("uri", [None, "mongodb://user:canary7f3a@127.0.0.1:9/"])
def test_a_database_that_does_not_answer_is_told_without_its_address(
    run: Callable[..., Any], command: str, uri: str | None
) -> None:
    settings = {"mongodb_uri": SecretStr(uri) if uri else None, "db_server_selection_timeout_ms": 100}
    result = run("indexes", command, app_env="production", **settings)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "DATABASE_UNAVAILABLE: " in result.stderr
    assert "canary7f3a" not in result.stderr


def test_the_real_command_prints_nothing_after_the_token(tmp_path: Any) -> None:
    environment = {
        "APP_ENV": "development",
        "JWT_SECRET_KEY": KEY,
        "STATE_DIR": str(tmp_path),
        "LOG_DIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "prodfix", "token", "--expires", "1h"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert decoded(line)["roles"] == ["admin"]
