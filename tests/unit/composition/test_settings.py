"""Every variable has its name, its default and one message when it is wrong; no value of it is ever told."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from prodfix import Environment, Settings, SettingsError
from prodfix.checked_record import SecretStr
from prodfix.settings_values import NO_URI
from tests.support import REPOSITORY

CANARY = "canary7f3a"
KEY = "k" * 32


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def test_the_defaults_are_the_seeds() -> None:
    settings = Settings.from_env()
    assert (settings.db_pool_size, settings.db_min_pool_size) == (10, 2)
    assert (settings.db_connect_timeout_ms, settings.db_socket_timeout_ms) == (30_000, 45_000)
    assert settings.db_server_selection_timeout_ms == 30_000
    assert (settings.log_level, settings.log_file_max_size, settings.log_file_max_files) == ("info", 10 * 1024**2, 7)
    assert (settings.slow_query_threshold_ms, settings.max_retry_attempts, settings.retry_base_delay_ms) == (
        1000,
        3,
        1000,
    )
    assert settings.app_env is Environment.PRODUCTION


@pytest.mark.parametrize("value", ["", "prod", "Production", "test", "debug", "developmen", "0"])
def test_an_unknown_environment_is_production(env: Any, value: str) -> None:
    env(APP_ENV=value)
    assert Settings.from_env().production


@pytest.mark.parametrize(("value", "expected"), [("development", "development"), (" Staging ", "staging")])
def test_a_known_environment_is_itself(env: Any, value: str, expected: str) -> None:
    env(APP_ENV=value)
    assert Settings.from_env().app_env == expected


BAD = {
    "DB_POOL_SIZE": "0",
    "MONGODB_URI": f"postgres://u:{CANARY}@h",
    "LOG_LEVEL": CANARY,
    "LOG_FILE_MAX_SIZE": f"10 {CANARY}",
    "MAX_RETRY_ATTEMPTS": CANARY,
    "ENABLE_OPERATION_QUEUE": CANARY,
    "RENDER": CANARY,
    "MOBILE_TIMEOUT_FACTOR": "nan",
    "APP_RELEASE": CANARY * 20,
    "PORT": "65536",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(env: Any, name: str) -> None:
    env(**{name: BAD[name]})
    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    assert set(caught.value.problems) == {name}


def test_all_that_is_wrong_is_told_at_once_and_no_value_of_it(env: Any) -> None:
    env(**BAD, DIAGNOSTICS_AUTH_REQUIRED="false", JWT_SECRET_KEY=CANARY)
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(served=True)
    assert set(caught.value.problems) == {*BAD, "DIAGNOSTICS_AUTH_REQUIRED", "JWT_SECRET_KEY"}
    assert str(caught.value).count("\n") == len(BAD) + 2
    assert CANARY not in str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)


def test_no_secret_is_in_the_text_of_the_settings() -> None:
    uri = f"mongodb://u:{CANARY}@h"
    settings = Settings(mongodb_uri=SecretStr(uri), jwt_secret_key=SecretStr(CANARY * 4))
    assert CANARY not in repr(settings) + str(settings)
    assert settings.mongodb_uri is not None
    assert settings.mongodb_uri.get_secret_value() == uri


@pytest.mark.parametrize(
    ("text", "size"),
    [("10m", 10 * 1024**2), ("512K", 512 * 1024), ("1g", 1024**3), ("2MB", 2 * 1024**2), ("4096", 4096)],
)
def test_a_size_is_written_as_winston_writes_it(env: Any, text: str, size: int) -> None:
    env(MAX_BODY_BYTES=text)
    assert Settings.from_env().max_body_bytes == size


@pytest.mark.parametrize(
    ("text", "level"), [("INFO", "info"), ("Warning", "warn"), ("WARN", "warn"), (" error ", "error")]
)
def test_a_level_is_understood_however_it_is_written(env: Any, text: str, level: str) -> None:
    env(LOG_LEVEL=text)
    assert Settings.from_env().log_level == level


def test_white_space_around_a_uri_is_not_part_of_it(env: Any) -> None:
    env(MONGODB_URI=" mongodb://db.example.org/app\n")
    assert Settings.from_env().mongodb_uri == SecretStr("mongodb://db.example.org/app")


def test_a_uri_that_the_driver_would_refuse_is_refused_at_start(env: Any) -> None:
    env(MONGODB_URI=f"mongodb://u:{CANARY}@x@h")
    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    assert caught.value.problems == {"MONGODB_URI": NO_URI}


@pytest.mark.parametrize(
    ("queue", "durable", "defers"),
    [
        ("true", True, True),
        ("ON", True, True),
        ("true", False, False),
        ("ephemeral", False, True),
        ("off", True, False),
    ],
)
def test_writes_wait_on_a_durable_disk_or_when_told_that_it_is_not(
    env: Any, queue: str, durable: bool, defers: bool
) -> None:
    env(ENABLE_OPERATION_QUEUE=queue, STATE_DIR_DURABLE=str(durable))
    assert Settings.from_env().defers_writes is defers


def test_a_disk_of_render_is_ephemeral_unless_one_is_attached(tmp_path: Path) -> None:
    assert Settings(state_dir=tmp_path).durable
    assert not Settings(render=True, state_dir=tmp_path).durable
    assert Settings(render=True, state_dir=Path("/")).durable
    assert Settings(render=True, state_dir=tmp_path, state_dir_durable=True).durable


def test_the_environment_wins_over_the_file_and_an_empty_variable_is_unset(env: Any, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=1111\nHOST=h\nSOMETHING_ELSE=x\n")
    env(PORT="2222", DB_POOL_SIZE="")
    settings = Settings.from_env(file)
    assert (settings.port, settings.host, settings.db_pool_size) == (2222, "h", 10)
    assert Settings.from_env(tmp_path / "missing").port == 2222


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_the_driver_takes_the_options_and_no_wait_is_endless() -> None:
    options = Settings(db_pool_size=1).mongo_options()
    with MongoClient("mongodb://127.0.0.1:9", connect=False, **options) as client:
        assert client.options.pool_options.wait_queue_timeout == 2.0
        assert (client.options.pool_options.max_pool_size, client.options.pool_options.min_pool_size) == (1, 1)
    with MongoClient("mongodb://127.0.0.1:9", connect=False) as plain:
        assert plain.options.pool_options.wait_queue_timeout is None


def test_the_release_is_what_was_said_or_what_render_names() -> None:
    assert Settings(render_git_commit="abc").release == "abc"
    assert Settings(app_release="1.2", render_git_commit="abc").release == "1.2"


# ---- alerts


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", []),
        (" \n", []),
        ("mailto://a", ["mailto://a"]),
        ("mailto://a json://b\n slack://c/d/e", ["mailto://a", "json://b", "slack://c/d/e"]),
        ("mailto://a,json://b , slack://c, ", ["mailto://a", "json://b", "slack://c"]),
        ("mailto://h?to=a@x.org,b@x.org,json://b", ["mailto://h?to=a@x.org,b@x.org", "json://b"]),
    ],
)
def test_urls_of_alerts_are_divided_where_another_one_begins(env: Any, text: str, urls: list[str]) -> None:
    env(ALERT_URLS=text)
    assert list(Settings.from_env().alert_channels) == urls


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f"{CANARY}", 1),
        (f"mailto://a {CANARY}@example.org", 2),
        (f"json://a://{CANARY} ://{CANARY}", 2),
        (f"mailto://a b://{CANARY * 300}", 2),
        (f"mail to://{CANARY}", 1),
    ],
)
def test_a_url_of_alerts_that_is_none_is_named_by_its_number_and_not_shown(env: Any, text: str, number: int) -> None:
    env(ALERT_URLS=text)
    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    assert caught.value.problems["ALERT_URLS"].startswith(f"number {number} is not a URL of Apprise")
    assert CANARY not in str(caught.value)


def test_there_are_not_too_many_channels(env: Any) -> None:
    env(ALERT_URLS="json://a " * 21)
    with pytest.raises(SettingsError, match="names more than 20 URLs"):
        Settings.from_env()


def test_urls_of_alerts_are_secrets() -> None:
    settings = Settings(alert_urls=SecretStr(f"json://u:{CANARY}@h"))
    assert CANARY not in repr(settings)
    assert settings.alert_channels == (f"json://u:{CANARY}@h",)


def test_alerts_need_apprise_and_nothing_else_does(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prodfix.settings.importlib.util.find_spec", lambda name: None)
    assert Settings.from_env().alert_channels == ()
    env(ALERT_URLS="mailto://a")
    with pytest.raises(SettingsError, match="ALERT_URLS: needs the package apprise: pip install apprise, or"):
        Settings.from_env()


def test_signals_that_need_opentelemetry_name_what_to_install(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prodfix.settings.importlib.util.find_spec", lambda name: None)
    env(OPENTELEMETRY="traces")
    assert Settings.from_env().opentelemetry == {"traces"}
    env(OPENTELEMETRY="all")
    with pytest.raises(SettingsError, match=r"OPENTELEMETRY: .*: pip install opentelemetry-api, or"):
        Settings.from_env()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://x.example.org", "https://x.example.org"),
        (" http://x/app/ ", "http://x/app"),
        ("https://x:8443", "https://x:8443"),
    ],
)
def test_the_address_is_the_public_one_or_what_render_says(env: Any, text: str, address: str) -> None:
    env(RENDER_EXTERNAL_URL="https://r.example.org/")
    assert Settings.from_env().address == "https://r.example.org"
    env(PUBLIC_URL=text)
    assert Settings.from_env().address == address


@pytest.mark.parametrize(
    "text", [f"https://u:{CANARY}@h", f"https://h?x={CANARY}", "h", "ftp://h", "https://", f"https://h/#{CANARY}"]
)
def test_an_address_that_only_one_may_know_is_none(env: Any, text: str) -> None:
    env(PUBLIC_URL=text)
    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    assert list(caught.value.problems) == ["PUBLIC_URL"]
    assert CANARY not in str(caught.value)


# ---- what only the served application demands


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "JWT_SECRET_KEY"),
        ({"JWT_SECRET_KEY": "short"}, "JWT_SECRET_KEY"),
        ({"JWT_SECRET_KEY": KEY, "DIAGNOSTICS_AUTH_REQUIRED": "0"}, "DIAGNOSTICS_AUTH_REQUIRED"),
        ({"JWT_SECRET_KEY": KEY, "HEALTH_MAX_AGE_MS": "500"}, "HEALTH_MAX_AGE_MS"),
    ],
)
def test_production_does_not_start_without(env: Any, values: dict[str, str], problem: str) -> None:
    env(**values)
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(served=True)
    assert list(caught.value.problems) == [problem]
    assert Settings.from_env()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"REQUEST_DEADLINE_MS": "12500"}, "REQUEST_DEADLINE_MS"),  # 25 s on a phone
        ({"REQUEST_DEADLINE_MS": "12500", "MOBILE_TIMEOUT_FACTOR": "1.9"}, None),
        ({"MOBILE_TIMEOUT_FACTOR": "2.5"}, "REQUEST_DEADLINE_MS"),
        ({"REQUEST_DEADLINE_MS": "60000", "GRACEFUL_TIMEOUT_MS": "130000", "SHUTDOWN_LIMIT_MS": "300000"}, None),
        ({"GRACEFUL_TIMEOUT_MS": "30000"}, "GRACEFUL_TIMEOUT_MS"),
        ({"SHUTDOWN_LIMIT_MS": "25000"}, "GRACEFUL_TIMEOUT_MS"),
    ],
)
def test_each_limit_is_shorter_than_the_one_around_it(env: Any, values: dict[str, str], problem: str | None) -> None:
    env(APP_ENV="development", JWT_SECRET_KEY="x" * 32, **values)
    Settings.from_env()  # an adopter's server is not ours
    if problem is None:
        Settings.from_env(served=True)
        return
    with pytest.raises(SettingsError) as raised:
        Settings.from_env(served=True)
    assert list(raised.value.problems) == [problem]


def test_production_starts_with_a_key_of_32_bytes(env: Any, tmp_path: Path) -> None:
    env(JWT_SECRET_KEY=KEY, STATE_DIR=str(tmp_path))
    assert Settings.from_env(served=True).jwt_secret_key == SecretStr(KEY)
    assert list(tmp_path.iterdir()) == []


def test_processes_that_start_together_in_development_share_one_key(tmp_path: Path) -> None:
    code = (
        "from prodfix.settings import Settings; print(Settings.from_env(served=True).jwt_secret_key.get_secret_value())"
    )
    names = os.environ | {"APP_ENV": "development", "STATE_DIR": str(tmp_path / "var")}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=names, cwd=REPOSITORY, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    keys = {process.communicate(timeout=30)[0] for process in started}
    file = tmp_path / "var" / "jwt.key"
    assert keys == {file.read_bytes() + b"\n"}
    assert len(file.read_bytes()) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


@pytest.fixture
def development(env: Any, tmp_path: Path) -> Path:
    env(APP_ENV="development", STATE_DIR=str(tmp_path / "var"))
    return tmp_path / "var"


@pytest.mark.parametrize("content", ["", "\n", f"{CANARY}\n", CANARY * 3, "\udcff" * 5])
def test_a_key_file_that_is_empty_or_too_short_is_refused(development: Path, content: str) -> None:
    development.mkdir()
    (development / "jwt.key").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        SettingsError, match=r"STATE_DIR: .* shorter than 32 bytes; remove STATE_DIR/jwt\.key"
    ) as caught:
        Settings.from_env(served=True)
    assert CANARY not in str(caught.value)


def test_a_directory_that_cannot_be_made_is_told_with_what_to_do(development: Path) -> None:
    development.write_text("a file")
    with pytest.raises(SettingsError, match=r"STATE_DIR: cannot be used \(File exists\); name a directory"):
        Settings.from_env(served=True)


def test_a_directory_that_cannot_be_written_is_told_too(development: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)  # root may write anywhere
    with pytest.raises(SettingsError, match=r"STATE_DIR: cannot be used \(Permission denied\)"):
        Settings.from_env(served=True)


def test_a_key_is_on_the_disk_before_it_has_its_name(development: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append((development / "jwt.key").exists()))
    assert Settings.from_env(served=True).jwt_secret_key
    assert synced == [False]
