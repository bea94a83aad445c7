"""The end of a process that has no hook of ours, a worker of another kind or a test run: what is no failure is not told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import ports
from tests.support import REPOSITORY
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

HOST = """
import logging, os, sys
from flask import Flask
from pymongo import MongoClient
from prodfix import ProdFix

logging.basicConfig(format="%(name)s %(message)s", level=logging.INFO, stream=sys.stderr)
app = Flask("host")
app.config["MONGO_URI"] = os.environ["URI"]
prodfix = ProdFix()
prodfix.observe()
client = MongoClient(os.environ["URI"], connect=False)
prodfix.init_app(app)


@app.get("/")
def index():
    return str(client.get_default_database().things.count_documents({}))
"""
TESTS = """
import time
import pytest
from host import app

app.testing = {testing}


@pytest.mark.parametrize("number", range(5))
def test_it(number):
    assert app.test_client().get("/").status_code == 200
    time.sleep(0.3)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    with DatabaseServer() as made:
        yield made


@pytest.fixture
def environment(server: DatabaseServer, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "host.py").write_text(HOST)
    own = {"URI": f"{server.uri}life", "PYTHONPATH": str(REPOSITORY), "PRODFIX_STATE_DIR": str(tmp_path / "var")}
    return os.environ | own | {"PRODFIX_LOG_DIR": str(tmp_path / "log")}


def alarms(text: str) -> list[str]:
    words = ("failed", "RuntimeError", "Traceback", "Exception", "connection disconnected", '"event":"reconnect"')
    return [line for line in text.splitlines() if any(word in line for word in words)]


@pytest.mark.served
@pytest.mark.parametrize("kind", [["sync"], ["gthread", "--threads", "4"]])
def test_a_worker_without_our_hooks_ends_quietly(environment: dict[str, str], tmp_path: Path, kind: list[str]) -> None:
    port = ports.free_port()
    command = [sys.executable, "-m", "gunicorn", "-k", *kind, "-w", "2", "-b", f"127.0.0.1:{port}", "host:app"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=said, stderr=said)

    def ask() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    try:
        until(ask, limit=60, what="GET / -> 200")
        for _ in range(20):
            assert ask()
        connected = "connection connected"
        until(lambda: connected in (tmp_path / "said").read_text(), limit=60, what="the pinger")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert alarms((tmp_path / "said").read_text()) == []


@pytest.mark.served
@pytest.mark.parametrize("testing", [True, False])
def test_a_test_run_ends_quietly(environment: dict[str, str], tmp_path: Path, testing: bool) -> None:
    (tmp_path / "test_host.py").write_text(TESTS.format(testing=testing))
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", "no:logging", "test_host.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, alarms(done.stdout + done.stderr)) == (0, []), done.stdout + done.stderr
    assert ("connection connected" in done.stderr) is not testing  # the control: the pinger ran
    assert (tmp_path / "var").exists() is not testing
