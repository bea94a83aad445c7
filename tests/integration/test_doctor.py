"""`flask prodfix doctor` and `health` as commands: on this repository's own application, on a stranger's, and in an outage."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from prodfix.doctor.checks import FAMILIES
from tests.support.served import INHERITED, REPOSITORY, Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

CANARY = "canary7f3a"
NOWHERE = f"mongodb://{CANARY}user:{CANARY}word@127.0.0.1:9/notes"
Done = subprocess.CompletedProcess[str]
Flask = Callable[..., Done]

ILL = """
import pymongo
from gevent import monkey

monkey.patch_all()

from flask import Flask, redirect, request, session
from prodfix import ProdFix
from prodfix.blueprints import health

app = Flask("shop")
app.secret_key = "canary7f3a"
client = pymongo.MongoClient(URI, connect=False)
ProdFix(uri=URI).init_app(app)
app.register_blueprint(health.blueprint)


@app.errorhandler(Exception)
def sorry(error):
    return "sorry", 500


@app.before_request
def log_in():
    if "user" not in session and request.path != "/login":
        return redirect("/login")
"""
WELL = """
from gevent import monkey

monkey.patch_all()

import pymongo
from flask import Flask
from prodfix import ProdFix
from prodfix.blueprints import health

app = Flask("shop")
prodfix = ProdFix(uri=URI)
client = pymongo.MongoClient(URI, connect=False, event_listeners=[*prodfix.listeners])
prodfix.init_app(app)
app.register_blueprint(health.blueprint)
"""
MISTAKES = {
    "exception-handlers": "warning",
    "health-routes": "error",
    "patch-order": "warning",
    "observed-clients": "warning",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the service is started: its files are this repository's, and no developer's ``.env`` is there."""
    place = tmp_path / "service"
    place.mkdir()
    for name in ("Procfile", "render.yaml", "config"):
        (place / name).symlink_to(REPOSITORY / name)
    return place


@pytest.fixture
def flask(folder: Path) -> Flask:
    """``flask("wsgi", "doctor", APP_ENV="production")``."""

    def run(app: str, *arguments: str, **variables: str) -> Done:
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {"PYTHONPATH": str(REPOSITORY), "APP_ENV": "development", **variables}
        if not app.startswith("wsgi"):
            environment["PRODFIX_APP_ENV"] = environment["APP_ENV"]
        command = [sys.executable, "-m", "flask", "--app", app, "prodfix", *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=90, check=False
        )

    return run


def levels(done: Done) -> Mapping[str, str]:
    """The worst level of each check."""
    answer = json.loads(done.stdout)
    assert set(answer) == {"findings", "errors", "warnings"}
    found: dict[str, str] = {}
    for finding in answer["findings"]:
        found.setdefault(finding["check"], finding["level"])
    return found


def test_this_repository_is_well_and_is_only_looked_at(flask: Flask, database_uri: str, folder: Path) -> None:
    done = flask("wsgi", "doctor", "--json", MONGODB_URI=database_uri)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["errors"]) == (0, 0), done.stdout + done.stderr
    found = levels(done)
    for check in (
        "database-reachable",
        "rights",
        "transactions",
        "patch-order",
        "preload",
        "gunicorn-limits",
        "health-path",
    ):
        assert found[check] == "ok", answer
    assert {finding["family"] for finding in answer["findings"]} == set(FAMILIES)
    assert {path.name for path in (folder / "var").iterdir()} == {"jwt.key"}  # which loading the settings makes
    shown = flask("wsgi", "doctor", MONGODB_URI=database_uri)
    assert shown.stdout.splitlines()[-1].startswith("0 errors, ")


def test_without_a_uri_it_is_no_error_in_development_and_one_in_production(flask: Flask) -> None:
    assert flask("wsgi", "doctor").returncode == 0
    key = secrets.token_urlsafe(48)
    production = flask("wsgi", "doctor", "--json", APP_ENV="production", JWT_SECRET_KEY=key)
    assert (production.returncode, levels(production)["database-reachable"]) == (1, "error")
    assert key not in production.stdout


def test_production_wants_its_indexes_and_has_them_after_apply(flask: Flask, database_uri: str) -> None:
    settings = {"APP_ENV": "production", "JWT_SECRET_KEY": secrets.token_urlsafe(48), "MONGODB_URI": database_uri}
    before = flask("wsgi", "doctor", "--json", "--only", "database", **settings)
    assert (before.returncode, levels(before)["model-indexes"]) == (1, "error")
    assert flask("wsgi", "indexes", "apply", **settings).returncode == 0
    after = flask("wsgi", "doctor", "--json", "--only", "database", **settings)
    assert (after.returncode, levels(after)["model-indexes"]) == (0, "ok")


def test_with_mongodb_down_it_ends_soon_and_reports_the_rest(flask: Flask) -> None:
    begun = time.monotonic()
    assert flask("wsgi", "doctor", "--only", "tokens", MONGODB_URI=NOWHERE).returncode == 0  # asks nobody anything
    start = time.monotonic() - begun
    done = flask("wsgi", "doctor", "--json", MONGODB_URI=NOWHERE)
    assert (
        time.monotonic() - begun - 2 * start < 15 - 2
    )  # a start takes two seconds, where nobody else uses the machine
    found = levels(done)
    assert (done.returncode, found["database-reachable"], found["clock"]) == (1, "error", "note")
    assert {found[check] for check in ("patch-order", "token-key-strength", "health-routes", "state-folder")} == {"ok"}
    assert CANARY not in done.stdout + done.stderr


def test_settings_that_are_not_usable_are_told_to_people_and_to_scripts(flask: Flask) -> None:
    wrong = {"APP_ENV": "production", "DB_POOL_SIZE": CANARY, "MONGODB_URI": NOWHERE}
    told = flask("wsgi", "doctor", **wrong)
    assert (told.returncode, told.stdout) == (1, "")
    assert "Error: The settings are not usable:\n  DB_POOL_SIZE: " in told.stderr
    assert "JWT_SECRET_KEY: is required in production" in told.stderr
    answer = flask("wsgi", "doctor", "--json", **wrong)
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert (found["errors"], found["warnings"]) == (2, 0)
    assert {finding["found"].split()[0] for finding in found["findings"]} == {"DB_POOL_SIZE", "JWT_SECRET_KEY"}
    other = flask("wsgi", "token", **wrong)
    assert (other.returncode, other.stdout) == (1, "")
    assert CANARY not in "".join(done.stdout + done.stderr for done in (told, answer, other))
    # The control: as a server it goes on to say so in its log, and to end with gunicorn's code.
    server = subprocess.run(
        [sys.executable, "-c", "import wsgi"],
        cwd=REPOSITORY,
        env=wrong,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (server.returncode, server.stderr) == (4, "")
    assert set(json.loads(server.stdout)["problems"]) == {"DB_POOL_SIZE", "JWT_SECRET_KEY"}


def test_a_host_is_told_its_mistakes_until_it_has_none(flask: Flask, database_uri: str, folder: Path) -> None:
    for name in ("Procfile", "render.yaml", "config"):
        (folder / name).unlink()
    (folder / "shop.py").write_text(ILL.replace("URI", repr(database_uri)))
    ill = flask("shop", "doctor", "--json")
    found = levels(ill)
    assert ill.returncode == 1
    assert {check: found[check] for check in MISTAKES} == MISTAKES
    assert found["database-reachable"] == "ok"
    assert CANARY not in ill.stdout
    (folder / "Procfile").write_text("web: gunicorn -k gevent --preload --graceful-timeout 20 shop:app\n")
    started = levels(flask("shop:app", "doctor", "--json", "--only", "process"))
    assert (started["patch-order"], started["preload"]) == ("error", "error")
    (folder / "Procfile").unlink()
    (folder / "shop.py").write_text(WELL.replace("URI", repr(database_uri)))
    well = flask("shop", "doctor", "--json")
    found = levels(well)
    assert {check: found[check] for check in MISTAKES} == dict.fromkeys(MISTAKES, "ok")
    assert well.returncode == 0, well.stdout


@pytest.mark.served
def test_both_see_the_workers_of_a_service_that_runs(flask: Flask, folder: Path, tmp_path: Path) -> None:
    with DatabaseServer() as server:
        uri = f"{server.uri}doctor_{secrets.token_hex(4)}"
        with Served(tmp_path / "served", uri) as served:
            shared = {
                "MONGODB_URI": uri,
                **{name: served.variables[name] for name in ("STATE_DIR", "LOG_DIR", "JWT_SECRET_KEY")},
            }
            said = until(lambda: two(flask("wsgi", "health", "--json", **shared)), limit=30, what="two healthy workers")
            pids = {worker["pid"] for worker in said["workers"]}
            assert pids == set(served.worker_pids())
            assert all(worker["memoryMb"] > 20 and worker["breaker"] == "closed" for worker in said["workers"])
            assert said["healthy"] is True
            journals = sorted((tmp_path / "served" / "state" / "journal").glob("*.db"))
            doctor = flask("wsgi", "doctor", "--json", MEMORY_LIMIT_MB="64", **shared)
            memory = next(one for one in json.loads(doctor.stdout)["findings"] if one["check"] == "memory")
            assert (memory["level"], memory["facts"]["measured"]) == ("error", True)
            assert sorted((tmp_path / "served" / "state" / "journal").glob("*.db")) == journals
            assert served.get("/health/db").status == 200

            server.kill()
            lost = flask("wsgi", "health", "--json", **shared)
            assert (lost.returncode, json.loads(lost.stdout)["healthy"]) == (1, False)
            server.start()


def two(done: Done) -> Any:
    answer = json.loads(done.stdout)
    return answer if done.returncode == 0 and len(answer["workers"]) == 2 else None
