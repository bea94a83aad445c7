"""The commands as an admin runs them beside the service: the same words with and without MongoDB."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from prodfix import ProdFix, Settings
from prodfix.cli.read_only import words
from tests.support.served import INHERITED, REPOSITORY, Served, whole
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = pytest.mark.served

DIAGNOSTICS = "/api/v1/diagnostics"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    with DatabaseServer(tmp_path_factory.mktemp("database") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def served(database: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    uri = f"{database.uri}commands_{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("served")
    with Served(folder, uri, application="tests.hosts.broken:app", SLOW_QUERY_THRESHOLD_MS="0") as application:
        yield application


def command(served: Served, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", "wsgi", "prodfix", *arguments]


def environment(served: Served) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | served.variables | {"COLUMNS": "200"}


def run(served: Served, *arguments: str, code: int = 0) -> Result:
    """The command in this process, as a host's: a new one for each takes seconds."""
    app = Flask("host")
    names = Settings.model_fields
    known: dict[str, Any] = {key.lower(): value for key, value in served.variables.items() if key.lower() in names}
    ProdFix(app, settings=Settings(**known))
    done = app.test_cli_runner(env={"COLUMNS": "200"}).invoke(args=["prodfix", *arguments])
    assert done.exit_code == code, done.output
    return done


def as_json(served: Served, *arguments: str) -> Any:
    return json.loads(run(served, *arguments, "--json").stdout)


@pytest.fixture
def failed(served: Served, database: DatabaseServer) -> str:
    whole(database, served)
    request_id = str(served.get("/broken/view").headers["X-Request-ID"])
    until(
        lambda: request_id in str(served.get(f"{DIAGNOSTICS}/errors/records", served.bearer()).body),
        what="the error's record",
    )
    return request_id


def test_what_fails_is_shown_from_the_kind_to_the_request(served: Served, failed: str) -> None:
    top = as_json(served, "errors", "top", "--category", "unknown")
    (group,) = [one for one in top["groups"] if "view" in one["message"]]
    assert (top["scope"], group["count"] >= 1, group["status"]) == ("all", True, "open")
    assert group["fingerprint"] in run(served, "errors", "top").stdout
    shown = as_json(served, "errors", "show", group["fingerprint"])
    assert failed in {record["requestId"] for record in shown["records"]}
    assert "INTERNAL_ERROR" in run(served, "errors", "show", group["fingerprint"]).stdout
    assert "no kind of error" in run(served, "errors", "show", "0" * 16, code=1).stderr

    tail = [json.loads(line) for line in run(served, "errors", "tail", "--json").stdout.splitlines()]
    assert failed in {record["requestId"] for record in tail}
    assert [record["timestamp"] for record in tail] == sorted(record["timestamp"] for record in tail)

    found = as_json(served, "request", failed)
    assert found["errors"][0]["errorType"] == "Failure"
    words = run(served, "request", failed).stdout
    assert "tests/hosts/broken.py" in words
    assert "500 INTERNAL_ERROR" in words
    assert "nothing is known" in run(served, "request", "nobodys-request", code=1).stderr


def test_queries_are_those_of_the_workers(served: Served) -> None:
    served.post("/api/v1/notes", {"slug": f"n-{secrets.token_hex(4)}", "title": "A", "body": "", "notebook": "n"})
    until(lambda: as_json(served, "queries", "--operation", "insert")["total"] == 1, what="the insert", every=0.5)
    assert "insert notes" in run(served, "queries").stdout
    assert as_json(served, "queries", "--collection", "nothing")["queries"] == []


def test_the_tail_goes_on_with_what_comes_until_it_is_ended(served: Served, failed: str) -> None:
    with subprocess.Popen(
        command(served, "errors", "tail", "--follow", "--json", "--interval", "0.2"),
        cwd=REPOSITORY,
        env=environment(served) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []

        def reads_until(wanted: str) -> None:
            for line in process.stdout or ():
                lines.append(line)
                if wanted in line:
                    return

        try:
            reads_until(failed)
            later = str(served.get("/broken/view/7").headers["X-Request-ID"])
            reads_until(later)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0, process.stderr and process.stderr.read()
        finally:
            process.kill()
    identities = [json.loads(line)["id"] for line in lines]
    assert len(identities) == len(set(identities))


def test_no_text_of_a_user_moves_the_terminals_cursor() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 \u202e\u2028 plain \u00e9"
    assert words(evil).plain == "\\x1b[2J\\x1b]0;owned\\x07 \\u202e\\u2028 plain \u00e9"


# -- the last: it kills the database of this file ----------------------------------------------------------------------------


def test_without_mongodb_they_say_what_this_host_knows(served: Served, database: DatabaseServer, failed: str) -> None:
    database.kill()
    until(lambda: served.all_say(503), what="/health/db -> 503 from both")
    lost = str(served.get("/api/v1/notes").headers["X-Request-ID"])
    for arguments in (("errors", "top"), ("errors", "tail"), ("queries",), ("request", lost), ("request", failed)):
        done = run(served, *arguments)
        assert "MongoDB does not answer" in done.stderr
        assert done.stdout
    assert as_json(served, "errors", "top")["scope"] == "instance"
    found = as_json(served, "request", lost)
    assert found["code"] == "DATABASE_UNAVAILABLE"
    assert [incident["cause"] for incident in found["incidents"]] in ([], ["database_lost"])
    told = run(served, "health", code=1)
    assert "not connected" in told.stdout
    before = sorted(path.name for path in Path(served.variables["STATE_DIR"], "journal").glob("*.db"))
    run(served, "errors", "top")
    assert sorted(path.name for path in Path(served.variables["STATE_DIR"], "journal").glob("*.db")) == before
