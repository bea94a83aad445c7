"""What is said before there is an application's log: one line of JSON each, and no secret in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.logs import lines
from tests.support.servers import REPOSITORY

SECRETS = (
    "cannot reach mongodb://app:{}@db.example.org/x",
    "mongodb+srv://app:pa/ss{}@db/x?authSource=admin",
    "password={}",
    "{{'api_key': '{}'}}",
    "Authorization: Bearer {}",
    "the value of the environment is {}, which no pattern knows",
)


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_in_a_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://app:canary%217f3a@h/x")
    monkeypatch.setenv("JWT_SECRET_KEY", "canary!7f3a-0123456789")
    for canary in ("canary%217f3a", "canary!7f3a"):
        told = text.format(canary)
        data = lines.line("error", told, error=lines.described(ValueError(told)))
        assert canary in told
        assert b"7f3a" not in data


def test_what_is_no_secret_stays() -> None:
    text = "Listening at: http://127.0.0.1:10000 (7), using worker: gevent, the author's monkey took the keyboard"
    assert lines.redacted(text) == text


@given(text=st.text(st.characters(), max_size=3000), name=st.text(st.characters(), max_size=20))
def test_any_text_is_one_short_line(text: str, name: str) -> None:
    data = lines.line("info", text, **{"x" + name: text, "stack": text})
    assert len(data) <= 4096
    assert data.isascii()
    assert data[:-1].decode().isprintable()
    assert json.loads(data)["level"] == "info"


@pytest.mark.parametrize("kind", ["json", "plain"])
def test_the_control_is_two_lines(kind: str) -> None:
    text = {"json": json.dumps({"a": "b\u2028c"}, ensure_ascii=False), "plain": "a\nb"}[kind]
    assert len(text.splitlines()) == 2


STUCK = """
import os, sys, time
from prodfix.logs import lines
reader, writer = os.pipe()
os.dup2(writer, 1)
os.set_blocking(writer, False)
try:
    while os.write(writer, b"x" * 4096): pass
except BlockingIOError:
    os.set_blocking(writer, True)
begun = time.monotonic()
lines.tell("info", "nobody reads this")
print(time.monotonic() - begun, file=sys.stderr)
"""


def test_a_pipe_that_nobody_reads_does_not_hold_the_arbiter() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stderr) < 5


def test_a_stack_names_places_and_causes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(value: str) -> Any:
        raise ValueError(value)

    try:
        fail("canary7f3a")
    except ValueError as cause:
        error = RuntimeError("canary7f3a")
        error.__cause__ = cause
        shown = lines.places(error)
    assert shown.splitlines()[0] == "ValueError"
    assert shown.splitlines()[-2:] == ["which led to", "RuntimeError"]
    assert "in fail" in shown
    assert "canary7f3a" not in shown


def test_hostile_texts_are_redacted_in_bounded_time() -> None:
    for piece in ("a://", "password=", "x@", "eyJ" + "a" * 9, "Bearer a", "a.b@a.b", "a" * 50):
        begun = time.process_time()
        lines.redacted(piece * 8000)
        assert time.process_time() - begun < 1.0, piece


def test_an_error_without_a_text_is_named() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert lines.described(Rude()) == "Rude: "
    assert os.getpid() == json.loads(lines.line("info", "x"))["pid"]
