from __future__ import annotations

import json
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter

from tests.support.servers import REPOSITORY

PATH = REPOSITORY / "config" / "gunicorn.conf.py"


class Services:
    def __init__(self, mongodb_uri: str | None) -> None:
        self.settings = SimpleNamespace(mongodb_uri=mongodb_uri)
        self.logs = self
        self.calls: list[str] = []
        self.entries: list[dict[str, Any]] = []

    def start(self, serving: Callable[[], bool]) -> None:
        self.calls.append("start")
        self.serving = serving

    def close(self) -> None:
        self.calls.append("close")

    def emit(self, severity: str, entry: dict[str, Any]) -> None:
        self.entries.append(entry)


class Worker:
    def __init__(self, services: Services) -> None:
        self.wsgi = SimpleNamespace(extensions={"prodfix": services})
        self.log = self
        self.alive = True

    def hand_over(self, emit: Any) -> None:
        self.emit = emit


@pytest.fixture
def conf() -> dict[str, Any]:
    return runpy.run_path(str(PATH))


def start_command() -> str:
    return (REPOSITORY / "Procfile").read_text().strip().removeprefix("web: ")


@pytest.mark.parametrize(("given", "seconds"), [(None, 25), ("", 25), ("soon", 25), ("40500", 40), ("10", 1)])
def test_a_worker_that_ends_has_as_long_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, given: str | None, seconds: int
) -> None:
    monkeypatch.delenv("GRACEFUL_TIMEOUT_MS", raising=False)
    if given is not None:
        monkeypatch.setenv("GRACEFUL_TIMEOUT_MS", given)
    assert runpy.run_path(str(PATH))["graceful_timeout"] == seconds


def test_a_worker_starts_its_services_and_hands_its_access_lines_over(conf: dict[str, Any]) -> None:
    services = Services("mongodb://127.0.0.1/x")
    worker = Worker(services)
    conf["post_worker_init"](worker)
    assert services.calls == ["start"]
    assert services.serving()
    worker.alive = False  # as gunicorn says when it has SIGTERM
    assert not services.serving()
    worker.emit({"event": "request", "path": "/users/max@example.com"})
    assert services.entries == [{"event": "request", "path": "/users/***"}]


def test_without_a_database_the_server_does_not_even_start(
    conf: dict[str, Any], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MONGODB_URI", raising=False)
    with pytest.raises(SystemExit) as end:
        conf["on_starting"](None)
    assert end.value.code == Arbiter.APP_LOAD_ERROR
    (line,) = capfd.readouterr().out.splitlines()
    assert json.loads(line)["message"].startswith("MONGODB_URI is not set")
    (tmp_path / ".env").write_text("MONGODB_URI=mongodb://127.0.0.1/x\n")
    conf["on_starting"](None)


def test_a_worker_that_ends_closes_its_services(conf: dict[str, Any]) -> None:
    services = Services("mongodb://127.0.0.1/x")
    conf["worker_exit"](None, Worker(services))
    assert services.calls == ["close"]


def test_a_worker_that_never_loaded_the_application_can_end(conf: dict[str, Any]) -> None:
    conf["worker_exit"](None, SimpleNamespace())
    conf["worker_exit"](None, SimpleNamespace(wsgi=None))


def test_the_arbiter_reads_it_without_loading_the_application_or_the_driver() -> None:
    heavy = "{'prodfix.services', 'prodfix.operations.shapes', 'pymongo', 'bson', 'flask', 'pydantic', 'loguru', 'gevent', 'ssl'}"
    script = (
        f"import runpy, sys; runpy.run_path({str(PATH)!r}); import config.access_log; print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    # gunicorn itself imports ssl; only classes made of it by pymongo or PyJWT before patching do harm.
    assert done.stdout.strip() in ("set()", "{'ssl'}")


def test_render_starts_what_the_procfile_starts() -> None:
    lines = [line.strip() for line in (REPOSITORY / "render.yaml").read_text().splitlines()]
    assert f"startCommand: {start_command()}" in lines
    assert "healthCheckPath: /health/startup" in lines


def test_the_start_command_says_the_same_as_the_configuration(conf: dict[str, Any]) -> None:
    words = shlex.split(start_command())
    assert words[:4] == ["env", "-u", "GUNICORN_CMD_ARGS", "gunicorn"]
    assert words[-3:] == ["-c", "config/gunicorn.conf.py", "wsgi:app"]
    given = {
        "worker_class": words[words.index("-k") + 1],
        "timeout": int(words[words.index("--timeout") + 1]),
        "keepalive": int(words[words.index("--keep-alive") + 1]),
        "accesslog": words[words.index("--access-logfile") + 1],
        "control_socket_disable": "--no-control-socket" in words,
    }
    assert given == {name: conf[name] for name in given}
    assert "--graceful-timeout" not in words, "it would win over GRACEFUL_TIMEOUT_MS"


FORKED = """
import os, runpy, signal, sys, time
from types import SimpleNamespace

conf = runpy.run_path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: None)  # as the arbiter's, which queues it


def spawn():
    child = os.fork()
    if not child:
        time.sleep(0.5)  # the moment between the fork and its hook
        conf["post_fork"](None, SimpleNamespace(init_process=None))
        time.sleep(0.5)
        os._exit(7)
    return child


server = SimpleNamespace(reap_workers=None, spawn_worker=spawn)
if sys.argv[2] == "shielded":
    conf["on_starting"](server)
child = server.spawn_worker()
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


@pytest.mark.parametrize(("how", "code"), [("shielded", "-15"), ("bare", "7")])
def test_a_worker_is_ended_also_between_its_fork_and_its_hook(how: str, code: str) -> None:
    """Bare, as the control, it runs the arbiter's handler, and the signal is lost."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(PATH), how],
        cwd=REPOSITORY,
        env={"MONGODB_URI": "mongodb://127.0.0.1:9/x", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == ([code, "set()"], ""), "nothing stays held back in the arbiter"
