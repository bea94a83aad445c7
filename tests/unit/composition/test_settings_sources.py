"""In a host no name is ours but those that begin with ours; what the seed configures is the served application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr

from prodfix import ProdFix, Settings, SettingsError
from prodfix.settings_sources import PREFIX

HOSTS_OWN = {
    "LOG_LEVEL": "CRITICAL",
    "JWT_ALGORITHM": "HS512",
    "PUBLIC_URL": "/app",
    "LOG_ROTATION": "1 day",
    "WEB_CONCURRENCY": "0",
    "ERROR_RATE": "0",
    "MONGODB_URI": "localhost:27017",
}
URI = "mongodb://db.example.org/app"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def host(**config: Any) -> Settings:
    app = Flask("host")
    app.config.update(config)
    return ProdFix(app).services.settings


@pytest.mark.parametrize("name", HOSTS_OWN)
def test_a_hosts_variable_of_the_same_name_is_its_own(env: Any, name: str) -> None:
    env(**{name: HOSTS_OWN[name]})
    assert ProdFix(Flask("host"), uri=URI).services.settings == Settings()
    with pytest.raises(SettingsError) as caught:  # the control: it is a setting, and this no value of it
        Settings.from_env()
    assert set(caught.value.problems) == {name}


@pytest.mark.parametrize("name", HOSTS_OWN)
def test_a_wrong_value_that_is_meant_for_prodfix_is_refused_by_its_name(env: Any, name: str) -> None:
    env(**{PREFIX + name: HOSTS_OWN[name]})
    with pytest.raises(SettingsError) as caught:
        host()
    assert set(caught.value.problems) == {PREFIX + name}
    with pytest.raises(SettingsError) as served:
        Settings.from_env()
    assert set(served.value.problems) == {PREFIX + name}
    assert HOSTS_OWN[name] not in str(caught.value) or len(HOSTS_OWN[name]) == 1


def test_a_numeric_log_level_of_a_host_does_not_stop_it(env: Any) -> None:
    env(LOG_LEVEL="20")
    assert host().log_level == "info"


def test_the_configuration_comes_before_the_environment_and_both_before_the_default(env: Any) -> None:
    env(PRODFIX_ERROR_BURST="7", PRODFIX_ERROR_RATE="2", ERROR_BURST="9")
    settings = host(PRODFIX_ERROR_BURST=8, PRODFIX_MAX_RETRY_ATTEMPTS="", PRODFIX_LOG_DIR=Path("elsewhere"))
    assert (settings.error_burst, settings.error_rate, settings.max_retry_attempts) == (8, 2.0, 3)
    assert settings.log_dir == Path("elsewhere")
    with pytest.raises(SettingsError, match="PRODFIX_ERROR_BURST"):
        host(PRODFIX_ERROR_BURST="many")


@pytest.mark.parametrize("name", ["MONGO_URI", "MONGODB_URI"])
def test_a_hosts_own_uri_is_where_records_go_unless_another_one_is_given(env: Any, name: str) -> None:
    assert host(**{name: URI}).mongodb_uri == SecretStr(URI)
    assert host(**{name: "localhost:27017"}).mongodb_uri is None
    other = "mongodb://other.example.org/x"
    assert host(**{name: URI, "PRODFIX_MONGODB_URI": other}).mongodb_uri == SecretStr(other)
    app = Flask("host")
    app.config[name] = URI
    assert ProdFix(app, uri=other).services.database.clients.uri == other
    env(PRODFIX_MONGODB_URI=other)
    assert host(**{name: URI}).mongodb_uri == SecretStr(other)


def test_of_both_names_the_first_one_counts() -> None:
    assert host(MONGO_URI=URI, MONGODB_URI="mongodb://other.example.org/x").mongodb_uri == SecretStr(URI)


def test_what_a_platform_says_counts_in_a_host_if_it_can_be_read(env: Any) -> None:
    env(RENDER="true", RENDER_INSTANCE_ID="srv-1", RENDER_EXTERNAL_URL="no address")
    settings = host()
    assert (settings.render, settings.instance, settings.address) == (True, "srv-1", "")
    env(RENDER="perhaps")
    assert (host().render, host().instance) == (False, "srv-1")


def test_nothing_of_ours_is_written_to_a_hosts_own_folder(
    env: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    env(LOG_DIR=str(theirs), STATE_DIR=str(theirs))
    app = Flask("host")
    services = ProdFix(app).services

    @app.get("/")
    def fails() -> str:
        raise KeyError("x")

    assert app.test_client().get("/").status_code == 500
    services.close()
    assert list(theirs.iterdir()) == []
    assert (tmp_path / "var" / "log" / "error.log").read_text().count("\n") == 1  # the control


def test_the_served_application_reads_both_names_and_ours_first(env: Any, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PRODFIX_PORT=1111\nPORT=2222\nERROR_BURST=6\n")
    env(PORT="3333", ERROR_BURST="7", PRODFIX_ERROR_RATE="2", ERROR_RATE="3")
    settings = Settings.from_env(file)
    assert (settings.port, settings.error_burst, settings.error_rate) == (1111, 7, 2.0)


def test_a_value_that_fits_no_other_is_told_by_the_name_that_it_was_given_under(env: Any) -> None:
    env(PRODFIX_JWT_SECRET_KEY="short", APP_ENV="production")
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(served=True)
    assert set(caught.value.problems) == {"PRODFIX_JWT_SECRET_KEY"}


def test_what_a_host_keeps_under_no_text_is_not_ours(tmp_path: Path) -> None:
    settings = Settings.of_host(
        {7: "seven", ("a", "b"): None, "PRODFIX_ERROR_BURST": "8", "PRODFIX_STATE_DIR": str(tmp_path)}
    )
    assert settings.error_burst == 8


def test_by_keyword_nothing_is_read(env: Any) -> None:
    env(ERROR_BURST="7", PRODFIX_ERROR_BURST="8")
    assert Settings().error_burst == Settings.model_fields["error_burst"].default
    assert Settings.from_env().error_burst == 8
