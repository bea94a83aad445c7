"""The wheel in environments that have what it asks for and no more: a host there is served, and is typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support import REPOSITORY
from tests.support.wheels import ADOPTER, Environment, built, run, settings_of

OPTIONAL = ("gevent", "gunicorn", "loguru", "flask_pymongo", "limits", "apprise", "cryptography")
REFUSED = """
import sys
from flask import Flask
from prodfix import *
host = Flask("host")
for attempt in (
    lambda: ProdFix().blueprints.diagnostics, lambda: ProdFix(host, logging=True), lambda: create_app(Settings.from_env()),
    lambda: RedactingSpanExporter(None),
):
    try:
        attempt()
    except ImportError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def least(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What any host gets."""
    return Environment(tmp_path_factory.mktemp("least") / "venv", wheel)


@pytest.fixture(scope="module")
def more(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("more") / "venv", wheel, "diagnostics")


def test_the_wheel_is_the_library_with_what_its_pages_need(wheel: Path) -> None:
    with ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
    sources = [
        path for path in (REPOSITORY / "prodfix").rglob("*") if path.is_file() and path.parent.name != "__pycache__"
    ]
    assert names == {str(path.relative_to(REPOSITORY)) for path in sources}
    assert {path.suffix for path in sources} == {".py", ".typed", ".html", ".css", ".js"}
    assert {name.partition("/")[0] for name in names} == {"prodfix"}


def test_a_host_of_threads_is_served_with_what_any_host_gets(
    least: Environment, tmp_path: Path, database_uri: str
) -> None:
    for name in OPTIONAL:
        missing = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is not None)"
        run([least.python, "-c", missing], tmp_path)
    told = least.adopter(tmp_path / "host", database_uri)
    assert Path(told["home"]).is_relative_to(least.folder), "and not the sources"
    replies = told["replies"]
    statuses = {path: reply[0] for path, reply in replies.items() if not path.startswith("/ops")}
    assert statuses == {"/hc/db": 200, "/things": 200, "/raise/stock": 409, "/raise/bug": 500, "/nope": 404}
    assert json.loads(replies["/hc/db"][2])["healthy"] is True
    assert json.loads(replies["/raise/stock"][2])["code"] == "OUT_OF_STOCK"
    assert json.loads(replies["/raise/bug"][2])["requestId"] == replies["/raise/bug"][1]
    assert {replies[path][0] for path in replies if path.startswith("/ops")} == {404}
    assert set(OPTIONAL).isdisjoint(told["loaded"])


def test_what_is_not_installed_is_named_with_its_extra(least: Environment, tmp_path: Path) -> None:
    told = run([least.python, "-c", REFUSED], tmp_path, **settings_of(tmp_path, "mongodb://127.0.0.1:9/"))
    assert told.splitlines() == [
        "the diagnostics need limits: pip install limits, or prodfix with its extra diagnostics",
        "logging that is prodfix's needs loguru: pip install loguru, or prodfix with its extra logging",
        "create_app needs Flask-PyMongo: pip install Flask-PyMongo, or prodfix with its extra served",
        "RedactingSpanExporter needs opentelemetry.sdk: pip install opentelemetry-sdk",
    ]


def test_its_commands_need_no_more(least: Environment, tmp_path: Path, database_uri: str) -> None:
    least_host = tmp_path / "host"
    least.adopter(least_host, database_uri)
    flask = [least.python, "-m", "flask", "--app", "adopter", "prodfix"]
    found = run([*flask, "errors", "tail", "--json"], least_host, **settings_of(least_host, database_uri))
    assert "KeyError" in found
    for words in (["doctor", "--help"], ["token", "--role", "admin"], ["queries"], ["deferred", "list", "--json"]):
        assert run([*flask, *words], least_host, **settings_of(least_host, database_uri))


def test_with_their_extra_the_diagnostics_are_there_with_page_and_assets(
    more: Environment, tmp_path: Path, database_uri: str
) -> None:
    replies = more.adopter(tmp_path / "host", database_uri)["replies"]
    asked = {path: reply[0] for path, reply in replies.items() if path.startswith("/ops")}
    assert asked == {"/ops/requests/ID": 200, "/ops": 200, "/ops/assets/diagnostics.css": 200, "/ops/sign-in": 200}
    assert json.loads(replies["/ops/requests/ID"][2])["errors"][0]["errorType"] == "KeyError"
    assert '<svg class="bars"' in replies["/ops"][2]
    assert {"limits"} <= more.names
    assert {"gevent", "loguru", "flask-pymongo"}.isdisjoint(more.names)


def test_a_hosts_file_passes_the_strictest_of_mypy_and_what_is_wrong_is_found(
    more: Environment, tmp_path: Path
) -> None:
    mypy = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--python-executable",
        more.python,
        "--cache-dir",
    ]
    host = tmp_path / "adopter.py"
    host.write_text(ADOPTER.read_text())
    assert run([*mypy, tmp_path / "cache", host], tmp_path).startswith("Success")
    host.write_text(
        "from prodfix import ProdFix, current_prodfix\n"
        "ProdFix(settings=3)\n"
        "ProdFix().blueprints.nothing\n"
        "current_prodfix.recovery.write('notes')\n"
    )
    with pytest.raises(AssertionError) as wrong:
        run([*mypy, tmp_path / "cache", host], tmp_path)
    assert [f"adopter.py:{line}: error" in str(wrong.value) for line in (1, 2, 3, 4)] == [False, True, True, True]


def test_the_extra_all_is_all_of_them(wheel: Path, tmp_path: Path) -> None:
    everything = Environment(tmp_path / "venv", wheel, "all")
    assert {name.replace("_", "-") for name in OPTIONAL} <= everything.names
