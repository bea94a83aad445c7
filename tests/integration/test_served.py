"""How gunicorn serves: what config/gunicorn.conf.py and config/access_log.py promise, seen from outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.processes import alive
from tests.support.served import REPOSITORY, START_LIMIT, Served
from tests.support.waiting import until

pytestmark = pytest.mark.served


def test_a_worker_that_is_killed_is_replaced_also_when_preloading_is_asked_for(
    tmp_path: Path, database_uri: str
) -> None:
    with Served(tmp_path, database_uri, options=("--preload",)) as served:
        before = until(lambda: len(served.worker_pids()) == 2 and served.worker_pids(), what="two workers")
        assert before
        os.kill(before[0], signal.SIGKILL)
        until(
            lambda: len(served.worker_pids()) == 2 and before[0] not in served.worker_pids(),
            what="a worker in the place of the killed one",
        )
        assert served.get("/health/live").status == 200
    assert "--preload is ignored" in served.stdout()


def test_a_request_leaves_one_line_with_the_request_id_of_its_answer(tmp_path: Path, database_uri: str) -> None:
    with Served(tmp_path, database_uri) as served:
        answer = served.get("/no/such/max@example.com?password=hidden")
        health = served.get("/health/live")
        operation = served.get("/api/v1/operations/6b04b5b15a6ac5fe35860f00")

        def lines() -> list[dict[str, object]]:
            return [line for line in served.stdout_lines() if line.get("event") == "request"]

        until(lambda: len(lines()) == 2, what="the access lines")
    line, other = lines()
    assert line["requestId"] == answer.headers["X-Request-ID"] != health.headers["X-Request-ID"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/no/such/***", 404)
    assert line["ip"] == "127.0.0.1"
    assert "hidden" not in served.stdout()
    # An operation's ID is all that one needs to ask for it: the line has the route's template.
    assert (other["path"], other["requestId"]) == ("/api/v1/operations/<identity>", operation.headers["X-Request-ID"])
    assert "6b04b5b15a6ac5fe35860f00" not in served.stdout()


def test_without_a_database_the_server_halts_with_one_reason(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with code 4"):
        Served(tmp_path, None).start()
    assert (tmp_path / "stdout.txt").read_text().count("MONGODB_URI is not set") == 1


FAILURES = {
    "import": ("raise ValueError('cannot reach mongodb://app:canary7f3a@db.example.org/x')", 3),
    # Before it has imported anything of prodfix: the forms that only the library's own redactor knows.
    "import with tokens": (
        "raise RuntimeError('storage refuses key AKIAIOSFODNN7EXAMPLQ, token ghp_' + 'canary7f3a' * 4 + ', hook '"
        "'https://hooks.slack.com/services/T00000000/B00000000/canary7f3a0123456789 of card 4111 1111 1111 1111')",
        3,
    ),
    "settings": ("from wsgi import app", 4),
    "no application": ("", 4),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_worker_that_cannot_boot_ends_the_server_and_tells_no_secret(
    tmp_path: Path, database_uri: str, failure: str
) -> None:
    """Three workers that fail at once: gunicorn's arbiter alone would stumble over the second one."""
    code, expected = FAILURES[failure]
    (tmp_path / "failing.py").write_text(code)
    served = Served(
        tmp_path,
        "mongodb://app:canary7f3a@127.0.0.1:9/x",
        workers=3,
        application="failing:app",
        APP_ENV="production",
        JWT_SECRET_KEY="canary7f3a",
        PYTHONPATH=f"{REPOSITORY}:{tmp_path}",
    )
    served.launch()
    assert served._process is not None
    try:
        assert served._process.wait(START_LIMIT) == expected
    finally:
        served.stop(limit=5)
    printed = served.stdout()
    assert len(served.stdout_lines()) == len(printed.splitlines())
    reasons = [line for line in served.stdout_lines() if line["level"] == "critical"]
    assert 1 <= len(reasons) <= 3
    assert all(line["requestId"] is None and line["timestamp"].endswith("Z") for line in served.stdout_lines())
    for secret in ("canary7f3a", "AKIA", "4111"):
        assert secret not in printed + (tmp_path / "stderr.txt").read_text()
    assert (tmp_path / "stderr.txt").read_text() == ""


CONF = """
import pathlib, runpy, time
real = runpy.run_path({path!r})
worker_class, logger_class = real["worker_class"], real["logger_class"]

def post_fork(server, worker):
    real["post_fork"](server, worker)
    pathlib.Path("booting").touch()
    while True:
        time.sleep(0.05)
"""


def test_a_worker_that_has_no_handlers_yet_ends_on_sigterm(tmp_path: Path, database_uri: str) -> None:
    conf = tmp_path / "conf.py"
    conf.write_text(CONF.format(path=str(REPOSITORY / "config" / "gunicorn.conf.py")))
    served = Served(tmp_path, database_uri, workers=1, options=("-c", str(conf)))
    served.launch()
    try:
        until((tmp_path / "booting").exists, limit=START_LIMIT, what="a worker between fork and its handlers")
        (worker,) = served.worker_pids()
    finally:
        code = served.stop(limit=20)  # below the arbiter's own patience
    assert code == 0, "the arbiter waited for a worker that had lost the signal"
    assert not alive(worker)


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO"])
def test_nobody_says_by_a_header_where_the_application_is(served: Served, name: str) -> None:
    answer = served.get("/health/nowhere", {name: "/elsewhere", "Accept": "application/json"})
    assert (answer.status, answer.body["code"]) == (404, "NOT_FOUND")
