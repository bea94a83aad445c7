"""Settings, the connection string and the key: what each check finds, and where it is silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr

from prodfix import deadline
from prodfix.doctor import token_key, uri
from prodfix.doctor.deployment import Deployment
from prodfix.doctor.launch import Launched
from tests.support.doctor_cases import GUNICORN, Case, command, findings, ids, judge

PRODUCTION = {"app_env": "production"}
HERE = "mongodb://127.0.0.1:9/notes?"
RANDOM = "q8Vb3mXw-2LrT7hZpK0sYd_N4cJfUaE6"


def uri_of(options: str, database: str = "/notes") -> dict[str, Any]:
    return {"mongodb_uri": SecretStr(f"mongodb://127.0.0.1:9{database}?{options}")}


def configured(**values: Any) -> Callable[[Flask], object]:
    return lambda app: app.config.update(values)


def with_gunicorn(**options: Any) -> Launched:
    return Launched(replace(GUNICORN, **options), called=True)


def with_view(seconds: float | None) -> Callable[[Flask], object]:
    return lambda app: app.add_url_rule("/export", "export", deadline(seconds)(lambda: ""))


FOUND = [
    Case("variable-names", "warning", "MONGO_URL (MONGODB_URI?)", environ={"MONGO_URL": "x"}, served=True),
    Case("variable-names", "warning", "DB_POOLSIZE (DB_POOL_SIZE?)", environ={"DB_POOLSIZE": "5"}, served=True),
    Case(
        "variable-names", "warning", "PRODFIX_MONGO_URL (MONGODB_URI?)", environ={"PRODFIX_MONGO_URL": "x"}, served=True
    ),
    Case(
        "variable-names", "warning", "PRODFIX_DB_POOLSIZE (PRODFIX_DB_POOL_SIZE?)", environ={"PRODFIX_DB_POOLSIZE": "5"}
    ),
    Case("variable-names", "warning", "PRODFIX_ODD (no setting?)", prepare=configured(PRODFIX_ODD=1)),
    Case("variable-names", "warning", "`MONGODB_URI` is set in the environment", environ={"MONGODB_URI": "x"}),
    Case("variable-names", "note", "none in a host: `DB_POOL_SIZE`", environ={"DB_POOL_SIZE": "5"}),
    Case("environment-name", "warning", "APP_ENV has a value", PRODUCTION, {"APP_ENV": "prod"}, served=True),
    Case("environment-name", "warning", "PRODFIX_APP_ENV has a value", PRODUCTION, {"PRODFIX_APP_ENV": "prod"}),
    Case("rollback-switches", "note", "ENABLE_ERROR_RECOVERY", PRODUCTION | {"enable_error_recovery": False}),
    Case("log-level", "warning", "PRODFIX_LOG_LEVEL is debug", PRODUCTION | {"log_level": "debug"}),
    Case("diagnostics-open", "error", "whoever", PRODUCTION | {"diagnostics_auth_required": False}),
    Case("diagnostics-open", "note", "whoever", {"diagnostics_auth_required": False}),
    Case("deadline-order", "error", "20 s, and a worker that ends gives it 15 s", {"graceful_timeout_ms": 15_000}),
    Case("deadline-order", "error", "the host kills it", {"graceful_timeout_ms": 30_000}),
    Case("view-deadlines", "warning", "1 view may take longer", prepare=with_view(13)),
    Case("health-age", "error", "looks lost", {"health_max_age_ms": 500}),
    Case("health-age", "warning", "asks too late", {"health_max_age_ms": 1_500}),
    Case("retries-fit", "warning", "of 5 retries at most 3", {"max_retry_attempts": 5}),
    Case("waits-fit", "note", "SLOW_QUERY_THRESHOLD_MS", {"slow_query_threshold_ms": 9_500}),
    Case("connection-total", "note", "free or shared", {"db_pool_size": 300}),
    Case("connection-total", "warning", "smallest dedicated", {"db_pool_size": 800}),
    Case("connection-total", "warning", "on 40 instances", deployment=Deployment(instances=40)),
    Case("uri-source", "warning", "`MONGODB_URI`), and is", uri_of(""), environ={"MONGODB_URI": "old"}, served=True),
    Case("uri-source", "warning", "application's code; another", uri_of(""), environ={"PRODFIX_MONGODB_URI": "old"}),
    Case("write-concern", "error", "w=0", uri_of("w=0")),
    Case("write-concern", "warning", "w=1", uri_of("w=1")),
    Case("write-concern", "warning", "journal=false", uri_of("journal=false")),
    Case("retryable", "warning", "retryWrites=false", uri_of("retryWrites=false")),
    Case("retryable", "note", "no effect", uri_of("retryReads=false"), served=True),
    Case("primary", "note", "directConnection", uri_of("directConnection=true")),
    Case("primary", "warning", "directConnection", uri_of("directConnection=true") | PRODUCTION),
    Case("primary", "warning", "readPreference", uri_of("readPreference=secondaryPreferred")),
    Case("certificates", "error", "need not be valid", uri_of("tls=true&tlsInsecure=true") | PRODUCTION),
    Case("certificates", "warning", "", uri_of("tls=true&tlsAllowInvalidCertificates=true")),
    Case("database-name", "note", "`prodfix`", uri_of("", "/")),
    Case("authentication-source", "note", "authSource", {"mongodb_uri": SecretStr("mongodb://u:p@127.0.0.1:9/notes")}),
    Case("overruled-options", "warning", "DB_SOCKET_TIMEOUT_MS", uri_of("socketTimeoutMS=9"), served=True),
    Case("overruled-options", "warning", "timeoutMS", uri_of("timeoutMS=900")),
    Case("unknown-options", "warning", "wrong: retryWrite", uri_of("retryWrite=true")),
    Case("unknown-options", "warning", "wrong: maxPoolSize", uri_of("maxPoolSize=many")),
    Case("token-key-length", "error", "has 7 bytes", {"jwt_secret_key": SecretStr("k8Vb3mX")}),
    Case("token-key-strength", "error", "guessed", PRODUCTION | {"jwt_secret_key": SecretStr("changeme" * 4)}),
    Case("token-key-strength", "note", "guessed", {"jwt_secret_key": SecretStr("changeme" * 4)}),
    Case("metrics-token-strength", "error", "guessed", PRODUCTION | {"metrics_token": SecretStr("change-me-now-" * 3)}),
    Case("metrics-token-strength", "note", "guessed", {"metrics_token": SecretStr("change-me-now-" * 3)}),
    Case(
        "metrics-port-open", "warning", "other machines", PRODUCTION | {"metrics_port": 9100, "metrics_host": "0.0.0.0"}
    ),
    Case("metrics-port-open", "note", "other machines", {"metrics_port": 9100, "metrics_host": "::"}),
    Case("start-commands", "note", "different", deployment=Deployment((command(), command("-w 3 wsgi:app", "render")))),
    Case("gunicorn-limits", "error", "kills after", served=True, launched=with_gunicorn(graceful_timeout=30)),
    Case("gunicorn-limits", "warning", "kills after", launched=with_gunicorn(graceful_timeout=30)),
    Case("gunicorn-limits", "error", "may take 20 s", served=True, launched=with_gunicorn(graceful_timeout=20)),
    Case("gunicorn-limits", "warning", "GRACEFUL_TIMEOUT_MS is 25000", launched=with_gunicorn(graceful_timeout=24)),
    Case("gunicorn-limits", "warning", "30 s, and count", launched=with_gunicorn(keepalive=30)),
    Case(
        "gunicorn-limits",
        "error",
        "sync worker is killed",
        served=True,
        launched=with_gunicorn(worker_class="sync", timeout=20),
    ),
    Case("worker-class", "warning", "gthread", served=True, launched=with_gunicorn(worker_class="gthread")),
    Case("worker-class", "note", "gthread", launched=with_gunicorn(worker_class="gthread")),
]
SILENT = [
    Case(
        "variable-names",
        "ok",
        environ={"MONGODB_URI": "x", "MONGO_URL": "x", "PATH": "x", "RENDER_GIT_BRANCH": "x"},
        served=True,
    ),
    Case("variable-names", "ok", "", uri_of(""), environ={"MONGO_URI": "the host's own name of it"}, served=True),
    Case(
        "variable-names",
        "ok",
        environ={
            "MONGO_URL": "x",
            "DB_POOLSIZE": "x",
            "LOG_LEVEL": "CRITICAL",
            "PRODFIX_DB_POOL_SIZE": "5",
            "RENDER": "1",
        },
    ),
    Case("environment-name", "ok", environ={"APP_ENV": " Staging "}, served=True),
    Case("environment-name", "ok", environ={"APP_ENV": "the host's own"}),
    Case("rollback-switches", "ok", settings=PRODUCTION),
    Case("log-level", "ok", settings={"log_level": "debug"}),
    Case("diagnostics-open", "ok", settings=PRODUCTION),
    Case("deadline-order", "ok"),
    Case("view-deadlines", "ok", prepare=with_view(12)),
    Case("view-deadlines", "ok", prepare=with_view(None)),
    Case("health-age", "ok"),
    Case("retries-fit", "ok", settings={"max_retry_attempts": 3}),
    Case("retries-fit", "ok", settings={"max_retry_attempts": 9, "enable_error_recovery": False}),
    Case("waits-fit", "ok"),
    Case("connection-total", "ok"),
    Case("uri-source", "ok", "in the application's code", uri_of("")),
    Case(
        "uri-source",
        "ok",
        "in the environment (`PRODFIX_MONGODB_URI`)",
        uri_of(""),
        environ={"PRODFIX_MONGODB_URI": HERE},
    ),
    Case("uri-source", "ok", "in app.config (`MONGO_URI`)", uri_of(""), prepare=configured(MONGO_URI=HERE)),
    Case("uri-source", "ok", "application's code", uri_of(""), prepare=configured(MONGO_URI="the host's other one")),
    Case("uri-source", "", settings={"mongodb_uri": None}),
    Case("write-concern", "ok", "", uri_of("w=majority&journal=true")),
    Case("write-concern", "", settings={"mongodb_uri": None}),
    Case("retryable", "ok", "", uri_of("retryWrites=true")),
    Case("primary", "ok", "", uri_of("readPreference=primary&replicaSet=rs0")),
    Case("certificates", "ok", "", uri_of("tls=true")),
    Case("database-name", "ok", "", uri_of("")),
    Case(
        "authentication-source",
        "ok",
        "",
        {"mongodb_uri": SecretStr("mongodb://u:p@127.0.0.1:9/notes?authSource=admin")},
    ),
    Case("authentication-source", "ok", "", {"mongodb_uri": SecretStr("mongodb+srv://u:p@c.example.net/notes")}),
    Case("overruled-options", "ok", "", uri_of("socketTimeoutMS=9")),
    Case("overruled-options", "ok", "", uri_of("retryWrites=true"), served=True),
    Case(
        "unknown-options",
        "ok",
        "",
        uri_of("ssl=true&tlsCAFile=/dev/null&W=majority&wTimeoutMS=9&readConcernLevel=local"),
    ),
    Case(
        "unknown-options", "ok", "", {"mongodb_uri": SecretStr("mongodb+srv://c.example.net/?srvMaxHosts=2&w=majority")}
    ),
    Case("token-key-length", "ok"),
    Case("token-key-strength", "ok", settings=PRODUCTION | {"jwt_secret_key": SecretStr(RANDOM)}),
    Case("metrics-token-strength", "ok", settings=PRODUCTION | {"metrics_token": SecretStr(RANDOM)}),
    Case("metrics-token-strength", ""),
    Case("metrics-port-open", "ok", settings=PRODUCTION | {"metrics_port": 9100}),
    Case("metrics-port-open", "ok", settings={"metrics_port": 9100, "metrics_host": "localhost"}),
    Case(
        "metrics-port-open",
        "ok",
        settings={"metrics_port": 9100, "metrics_host": "0.0.0.0", "metrics_token": SecretStr(RANDOM)},
    ),
    Case("metrics-port-open", ""),
    Case("start-commands", "ok", deployment=Deployment((command(), command(source="render.yaml")))),
    Case("start-commands", ""),
    Case("gunicorn-limits", "ok", served=True),
    Case("gunicorn-limits", "", launched=Launched(None, called=True)),
    Case("worker-class", "ok", served=True),
]


@pytest.fixture
def look(adopt: Callable[..., Flask], serve: Callable[..., Flask]) -> Callable[[Case], Any]:
    def found(case: Case) -> Any:
        return findings(case, serve(**case.settings) if case.served else adopt(**case.settings))

    return found


@pytest.mark.parametrize("case", FOUND, ids=ids)
def test_what_is_wrong_is_found_with_what_to_do(look: Callable[[Case], Any], case: Case) -> None:
    judge(case, look(case))


@pytest.mark.parametrize("case", SILENT, ids=ids)
def test_what_is_right_is_left_alone(look: Callable[[Case], Any], case: Case) -> None:
    judge(case, look(case))


def test_a_command_that_looks_at_another_module_than_gunicorn_loads_says_so(look: Callable[[Case], Any]) -> None:
    other = replace(Case("start-commands", "note", "gunicorn loads other"), deployment=Deployment((command(),)))
    judge(other, look(replace(other, launched=Launched(GUNICORN, called=True, target="other:app"))))


# -- the key ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "changeme-changeme-changeme-changeme",
        "x" * 64,
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "0123456789abcdef0123456789abcdef",
        "k7k7k7k7k7k7k7k7k7k7k7k7k7k7k7k7k7",
        "the quick brown fox jumps over the lazy dog",
        "My-Super-Secret-Key-For-Production",
        "aabbaabbccaabbaaccbbaabbaaccaabb",
    ],
)
def test_a_key_that_somebody_has_typed_is_told_from_a_random_one(key: str) -> None:
    assert token_key.weakness(key) is not None


@pytest.mark.parametrize("kind", ["token_urlsafe", "token_hex", "base64"])
def test_a_random_key_is_never_called_weak(kind: str) -> None:
    import base64
    import random

    chance = random.Random(7)
    for _ in range(2000):
        data = chance.randbytes(32)
        text = data.hex() if kind == "token_hex" else base64.b64encode(data).decode()
        assert token_key.weakness(text.replace("+", "-") if kind == "token_urlsafe" else text) is None


def test_the_key_that_was_made_for_development_is_known_again(
    look: Callable[[Case], Any], make_settings: Callable[..., Any]
) -> None:
    path = make_settings().state_dir / "jwt.key"
    path.parent.mkdir(parents=True)
    path.write_text(RANDOM)
    staging = {"app_env": "staging", "jwt_secret_key": SecretStr(RANDOM)}
    judge(Case("token-key-own", "warning"), look(Case("token-key-own", "warning", settings=staging)))
    given = Case("token-key-own", "error", "made for development", staging, {"PRODFIX_JWT_SECRET_KEY": RANDOM})
    judge(given, look(given))
    other = Case("token-key-own", "ok", settings=staging | {"jwt_secret_key": SecretStr(RANDOM[::-1])})
    judge(other, look(other))
    here = Case("token-key-own", "", settings={"jwt_secret_key": SecretStr(RANDOM)})
    judge(here, look(here))


# -- the connection string --------------------------------------------------------------------------------------------------


def test_nothing_is_read_of_user_password_and_host() -> None:
    read = uri.read("mongodb://canary7f3a:canary7f3a@canary7f3a.example.org/app?authSource=canary7f3a&w=1&canary=1")
    assert "canary7f3a" not in f"{read._replace(options={})}"
    assert (read.user, read.database, read.names) == (True, "app", ("authSource", "w", "canary"))


def test_an_option_name_that_looks_like_data_is_masked(look: Callable[[Case], Any]) -> None:
    (finding,) = look(Case("unknown-options", "warning", settings=uri_of(f"{'a1' * 40}=1")))
    assert "a1a1" not in str(finding)
    assert "?key" in finding.found


@pytest.mark.parametrize(
    ("environ", "file", "level", "words"),
    [
        ({}, HERE, "ok", "in .env (`MONGODB_URI`)"),
        ({"MONGODB_URI": HERE}, HERE, "ok", "in .env (`MONGODB_URI`)"),  # flask has put it there
        (
            {"MONGODB_URI": HERE},
            "mongodb://old/x",
            "warning",
            "in the environment (`MONGODB_URI`); another one is set in .env",
        ),
    ],
)
def test_a_uri_from_a_file_is_told_to_be(
    look: Callable[[Case], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    file: str,
    level: str,
    words: str,
) -> None:
    (tmp_path / ".env").write_text(f"MONGODB_URI={file}\n")
    monkeypatch.chdir(tmp_path)
    case = Case("uri-source", level, words, uri_of(""), environ=environ, served=True)
    found = look(case)
    judge(case, found)
    assert "127.0.0.1" not in str(found)
    assert "old/x" not in str(found)
