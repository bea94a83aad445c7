"""The image as it is run: its own command, as its own user, in a root where nothing but the volume can be written."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import ports
from prodfix import Settings
from tests.support import containers
from tests.support.containers import Container
from tests.support.served import JWT_SECRET_KEY
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(not containers.can_run(), reason="a root of its own wants root and util-linux"),
]


def asked(port: str, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except OSError:
        return 0, None
    finally:
        connection.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return containers.build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def container(files: Path, database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    port, name = str(ports.free_port()), secrets.token_hex(6)
    with Container(
        files,
        tmp_path_factory.mktemp("image"),
        PORT=port,
        MONGODB_URI=f"{database_server}image_{name}",
        JWT_SECRET_KEY=JWT_SECRET_KEY,
        STATE_DIR_DURABLE="true",
    ) as running:
        containers.wait_for(running, lambda: asked(port, "GET", "/health/startup")[0] == 200, "GET /health/startup")
        yield running


def test_it_serves_as_process_one_with_the_workers_that_are_asked_for(container: Container) -> None:
    processes = container.run("python", "-c", SHOWN)
    shown = json.loads(processes.stdout)
    assert shown["1"][0].endswith("/python"), processes.stderr
    assert "gunicorn" in shown["1"][1], "process 1 is gunicorn itself, and no shell"
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
    assert len(children) == int(container.environment["WEB_CONCURRENCY"])


SHOWN = """
import json, pathlib
lines = {p.parent.name: p.read_bytes().decode().split(chr(0)) for p in pathlib.Path("/proc").glob("[0-9]*/cmdline")}
print(json.dumps(lines))
"""


def test_it_writes_what_waits_into_its_volume_and_answers_from_the_database(container: Container) -> None:
    note = {"slug": secrets.token_hex(4), "title": "A", "body": "", "notebook": "n"}
    assert asked(container.environment["PORT"], "POST", "/api/v1/notes", note)[0] == 201
    assert list((container.volume / "journal").iterdir()) != []


def test_nothing_else_can_be_written_by_its_user(container: Container) -> None:
    tried = "import os, sys; print(os.getuid()); open(sys.argv[1], 'w')"
    user = container.image.last("USER").text.partition(":")[0]
    for place in ("/srv/prodfix/x", "/opt/venv/x", "/etc/x", "/x", "/tmp/x"):
        done = container.run("python", "-c", tried, place)
        assert (done.stdout.strip(), done.returncode) == (user, 1), place
    control = container.run("python", "-c", tried, f"{container.environment['STATE_DIR']}/x")
    assert (control.returncode, control.stderr) == (0, "")


def test_its_health_check_says_whether_it_is_well(container: Container) -> None:
    command = json.loads(container.image.last("HEALTHCHECK").text.partition(" CMD ")[2])
    well = container.run(*command)
    assert (well.returncode, well.stdout, well.stderr) == (0, "", "")
    control = container.run(*command[:-1], "/health/nowhere")
    assert control.returncode == 1
    assert control.stderr == f"GET /health/nowhere on port {container.environment['PORT']}: 404\n"


def test_the_commands_of_prodfix_run_in_it_as_its_user(container: Container) -> None:
    def told() -> str:
        done = container.run("flask", "--app", "wsgi", "prodfix", "health")
        return done.stdout if done.returncode == 0 else ""

    assert "connected" in until(told, limit=20, every=0.5, what="flask prodfix health")


def test_a_package_that_only_the_tests_need_is_not_in_it(container: Container) -> None:
    assert container.run("python", "-c", "import pytest").returncode == 1
    assert container.run("python", "-c", "import gevent, apprise, loguru, yaml").returncode == 0, "the control"


def test_what_waits_on_the_volume_when_it_is_stopped_is_applied_by_the_next_container(
    files: Path, tmp_path: Path
) -> None:
    """In an outage: SIGTERM ends it in time with code 0, as a deploy would; the note that was answered with 202 is there."""
    port, note = str(ports.free_port()), {"slug": secrets.token_hex(4), "title": "A", "body": "", "notebook": "waiting"}
    given = {"PORT": port, "JWT_SECRET_KEY": JWT_SECRET_KEY, "STATE_DIR_DURABLE": "true"}
    for name in ("first", "next"):
        (tmp_path / name).mkdir()
    with DatabaseServer(tmp_path / "data") as database:
        given["MONGODB_URI"] = f"{database.uri}waiting"
        with Container(files, tmp_path / "first", **given) as first:
            containers.wait_for(first, lambda: asked(port, "GET", "/health/startup")[0] == 200, "GET /health/startup")
            database.kill()
            answer = until(lambda: deferred(port, note), limit=20, what="202 for a note")
            assert answer["durability"] == "durable"
            begun = time.monotonic()
            assert first.stop(Settings().shutdown_limit_ms / 1000) == 0
            assert time.monotonic() - begun < Settings().graceful_timeout_ms / 1000
        assert "Shutting down" in first.output()
        database.start()

        def applied() -> bool:
            return asked(port, "GET", answer["statusUrl"])[1].get("status") == "applied"

        with Container(files, tmp_path / "next", volume=first.volume, **given) as following:
            containers.wait_for(following, lambda: asked(port, "GET", "/health/startup")[0] == 200, "the next one")
            until(applied, limit=30, what="the note in the database")
            shown = asked(port, "GET", "/api/v1/notes?notebook=waiting")[1]["notes"]
    assert [one["slug"] for one in shown] == [note["slug"]]


def deferred(port: str, note: dict[str, Any]) -> dict[str, Any] | None:
    status, answer = asked(port, "POST", "/api/v1/notes", note)
    return answer if status == 202 else None


def test_without_what_it_must_have_it_ends_at_once_and_names_it(files: Path, tmp_path: Path) -> None:
    uri = "mongodb://127.0.0.1:9/x"
    with Container(files, tmp_path, PORT=str(ports.free_port()), MONGODB_URI=uri) as container:
        assert container.wait(30) == 4
    assert "JWT_SECRET_KEY" in container.output()
