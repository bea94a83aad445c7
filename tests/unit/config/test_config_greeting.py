from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.greeting import greeting
from config.processes import Signals
from config.supervisor import Supervisor
from prodfix import Settings


def curls(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("curl ")]


def test_each_curl_line_is_ready_for_a_shell() -> None:
    health, post, get, errors = curls(greeting("http://127.0.0.1:8000", database="somewhere", token="abc.def"))
    assert health[-1] == "http://127.0.0.1:8000/health/db"
    assert post[-1] == get[-1] == "http://127.0.0.1:8000/api/v1/notes"
    assert set(json.loads(post[post.index("-d") + 1])) == {"slug", "title", "body", "notebook"}
    assert "Content-Type: application/json" in post
    assert errors[-1] == "http://127.0.0.1:8000/api/v1/diagnostics/errors?timeRange=1h"
    assert "Authorization: Bearer abc.def" in errors


def test_it_names_the_diagnostics_the_database_and_the_token() -> None:
    text = greeting("http://127.0.0.1:8000", database="mongodb://127.0.0.1:21000/prodfix", token="abc.def")
    assert "http://127.0.0.1:8000/api/v1/diagnostics\n" in text
    assert "mongodb://127.0.0.1:21000/prodfix" in text
    assert "Admin token: abc.def" in text


def test_what_nobody_has_set_is_told_for_the_commands() -> None:
    told = {"APP_ENV": "development", "MONGODB_URI": "mongodb://127.0.0.1:21000/a b"}
    text = greeting("http://127.0.0.1:8000", database="somewhere", token="abc.def", settings=told)
    (line,) = (line for line in text.splitlines() if line.strip().startswith("export "))
    assert shlex.split(line) == ["export", *(f"{name}={value}" for name, value in told.items())]
    assert "export" not in greeting("http://127.0.0.1:8000", database="somewhere", token="abc.def")


def test_without_a_token_it_says_how_to_get_one() -> None:
    text = greeting("http://127.0.0.1:8000", database="somewhere", token=None)
    assert "prodfix token --role admin" in text
    assert "<token>" in text


def test_without_the_example_plug_in_it_has_no_lines_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.greeting.find_spec", lambda name: None)
    text = greeting("http://127.0.0.1:8000", database="somewhere", token="abc.def")
    assert "notes" not in text
    assert len(curls(text)) == 2


def test_it_names_the_command_that_stops_the_database_if_there_is_one_to_stop() -> None:
    text = greeting("http://127.0.0.1:8000", database="somewhere", token="abc.def", database_pid=4711)
    (line,) = (line for line in text.splitlines() if line.strip().startswith("kill "))
    assert shlex.split(line, comments=True) == ["kill", "-9", "4711"]
    assert "make database" in text
    assert "kill" not in greeting("http://127.0.0.1:8000", database="somewhere", token="abc.def")


def test_it_says_where_the_log_is_if_the_terminal_has_not_all_of_it() -> None:
    text = greeting("http://127.0.0.1:8000", database="somewhere", token=None, log=Path("var/log/service.log"))
    assert "var/log/service.log" in text
    assert "service.log" not in greeting("http://127.0.0.1:8000", database="somewhere", token=None)


def test_of_what_is_secret_only_the_token_is_printed(make_settings: Callable[..., Settings]) -> None:
    canary = "canary7f3a"
    secret = SecretStr(f"hooks://{canary}.example/{canary}")
    uri = SecretStr(f"mongodb://ann:{canary}@db.example/shop")
    settings = make_settings(alert_urls=secret, alert_hook_secret=SecretStr(canary * 4), mongodb_uri=uri)
    text = Supervisor(settings, 8000, Signals())._greeting()
    assert "db.example" in text, "the control: what it is told of"
    assert "Admin token: ey" in text
    assert canary not in text
