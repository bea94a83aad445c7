"""``GET /metrics`` of an application: there with a token, for who has it, in the format that he asks for; else not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from prodfix import Settings, SettingsError
from prodfix.blueprints import metrics
from prodfix.metrics.admission import REFUSALS
from prodfix.signals import error_recorded
from tests.support.scrapes import problems, scrape

TOKEN = "metrics-0123456789-abcdefghijklmnop"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Make = Callable[..., Any]


@pytest.fixture
def app(serve: Make) -> Any:
    found = serve([metrics], metrics_token=TOKEN)
    found.testing = True

    @found.get("/notes/<identity>")
    def note(identity: str) -> Any:
        if identity == "broken":
            raise RuntimeError("postgres://user:secret@host/db")
        return {"id": identity}

    return found


def test_whoever_has_the_token_is_told_in_the_format_he_asks_for(app: Any) -> None:
    client = app.test_client()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    for identity in ("one", "two", "broken"):
        client.get(f"/notes/{identity}", headers={"X-Request-ID": "ada@example.org"})
    answer = client.get("/metrics", headers=BEARER)
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert problems(answer.text) == []
    found = scrape(answer.text)
    requests = "http_server_request_duration_seconds_count"
    ok = {"http_request_method": "GET", "http_route": "/notes/<identity>", "http_response_status_code": "200"}
    assert found.value(requests, **ok) == 2
    failed = {**ok, "http_response_status_code": "500", "error_type": "500"}
    assert found.value(requests, **failed) == 1
    assert found.total("prodfix_errors_total") == 1
    other = client.get("/metrics", headers={**BEARER, "Accept": "application/openmetrics-text"})
    assert other.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert problems(other.text) == []


def test_no_receiver_that_raises_keeps_an_error_from_the_metrics(app: Any) -> None:
    """Receivers of a signal are called in no order, and none is after one that has raised."""
    client, log = app.test_client(), app.extensions["prodfix"].errors.log
    app.config["PROPAGATE_EXCEPTIONS"] = False
    called: list[int] = []

    def broken(number: int) -> Callable[..., None]:
        def receiver(*_: Any, **__: Any) -> None:
            called.append(number)
            raise RuntimeError

        return receiver

    receivers = [broken(number) for number in range(20)]
    for receiver in receivers:
        error_recorded.connect(receiver, sender=log)
    client.get("/notes/broken")
    for receiver in receivers:
        error_recorded.disconnect(receiver)
    assert (len(called), log.failures) == (1, 1), "the control: what is a receiver is not always called"
    assert scrape(client.get("/metrics", headers=BEARER).text).total("prodfix_errors_total") == 1


def test_no_value_of_a_user_is_told(app: Any) -> None:
    client = app.test_client()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    secrets = ("ada@example.org", "hunter2", "Zebra-Agent", "203.0.113.9")
    for path in ("/notes/ada@example.org", "/notes/broken?password=hunter2", "/ada@example.org"):
        client.get(path, headers={"User-Agent": "Zebra-Agent", "X-Forwarded-For": "203.0.113.9"})
    client.open("/notes/one", method="HUNTER2")
    text = client.get("/metrics", headers=BEARER).text
    assert scrape(text).total("http_server_request_duration_seconds_count", http_route="/notes/<identity>") >= 2
    assert not [secret for secret in (*secrets, "secret", "postgres", "HUNTER2") if secret in text]


def test_scrapes_are_no_requests_of_the_application(app: Any) -> None:
    client = app.test_client()
    client.get("/metrics", headers=BEARER)
    found = scrape(client.get("/metrics", headers=BEARER).text)
    assert found.total("http_server_request_duration_seconds_count") == 0
    assert found.value("prodfix_scrapes_total", result="admitted") == 2


def test_without_the_token_nothing_is_told_and_soon_nothing_is_written_down(app: Any) -> None:
    client = app.test_client()
    wrong = [{}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"}]
    answers = [client.get("/metrics", headers=wrong[number % 3]) for number in range(REFUSALS + 3)]
    assert [answer.status_code for answer in answers] == [401] * REFUSALS + [429] * 3
    assert answers[-1].headers["Retry-After"]
    assert "http_server" not in "".join(answer.text for answer in answers)
    found = scrape(client.get("/metrics", headers=BEARER).text)
    assert found.value("prodfix_scrapes_total", result="refused") == REFUSALS
    assert found.value("prodfix_scrapes_total", result="limited") == 3


def test_without_a_token_and_without_a_port_there_is_no_route(serve: Make) -> None:
    assert serve([metrics]).test_client().get("/metrics", headers=BEARER).status_code == 404


def test_with_a_port_the_application_has_no_route(serve: Make) -> None:
    app = serve([metrics], metrics_token=TOKEN, metrics_port=9_100)
    assert app.test_client().get("/metrics", headers=BEARER).status_code == 404
    assert app.extensions["prodfix"].metrics is not None


def test_a_host_registers_it_where_it_likes(adopt: Make) -> None:
    app = adopt(Flask("host"), metrics_token=TOKEN)
    app.register_blueprint(metrics.blueprint, url_prefix="/internal/metrics")
    app.testing = True
    client = app.test_client()
    assert client.get("/internal/metrics").status_code == 401
    client.get("/")
    found = scrape(client.get("/internal/metrics", headers=BEARER).text)
    assert found.total("http_server_request_duration_seconds_count", http_route="unmatched") == 1


def test_a_host_that_gives_no_token_has_nothing_there(adopt: Make) -> None:
    app = adopt(Flask("host"))
    app.register_blueprint(metrics.blueprint)
    assert app.test_client().get("/metrics", headers=BEARER).status_code == 404


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("short", "32 random characters"),
        ("x" * 40, "32 random characters"),
        ("a token with spaces, which is long", "letters, digits"),
        ("é" * 40, "letters, digits"),
    ],
)
def test_a_token_that_could_be_guessed_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, token: str, problem: str
) -> None:
    monkeypatch.setenv("METRICS_TOKEN", token)
    with pytest.raises(SettingsError) as refused:
        Settings.from_env()
    assert problem in refused.value.problems["METRICS_TOKEN"]
    assert token not in str(refused.value)


def test_the_metrics_port_is_another_one_than_the_applications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.setenv("METRICS_PORT", "8123")
    monkeypatch.setenv("APP_ENV", "development")
    monkeypatch.setenv("JWT_SECRET_KEY", "k" * 40)
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(served=True)
    assert list(refused.value.problems) == ["METRICS_PORT"]


def test_nothing_of_it_is_loaded_where_nobody_asked(python: Callable[..., str], tmp_path: Any) -> None:
    code = """
        import sys
        from pathlib import Path
        from flask import Flask
        from prodfix import ProdFix, Settings

        folder = Path(sys.argv[1])
        given = {"metrics_token": sys.argv[2]} if sys.argv[2] else {}
        app = Flask("host")
        prodfix = ProdFix(app, settings=Settings(state_dir=folder, log_dir=folder, **given))
        app.register_blueprint(prodfix.blueprints.metrics)
        app.test_client().get("/anything")
        app.extensions["prodfix"].close()
        print(sorted(name for name in sys.modules if name.startswith(("prodfix.metrics", "prodfix.web.measured"))))
    """
    assert python(code, tmp_path, "") == "[]\n"
    # The control.
    assert "'prodfix.metrics.tallies'" in python(code, tmp_path, TOKEN)
