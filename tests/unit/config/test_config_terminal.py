"""On a terminal: short lines for a person, and the whole log in a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from config.terminal import REPEATS, Relay, for_eyes, short

MOMENT = "2026-11-29T14:37:26.100Z"
ACCESS = {"timestamp": MOMENT, "level": "info", "event": "request", "method": "GET", "path": "/", "status": 200}
BOOT = {"timestamp": MOMENT, "level": "info", "message": "Booting worker with pid: 7", "logger": "gunicorn.error"}


class Kept:
    def __init__(self, error: OSError | None = None) -> None:
        self.data, self.error = b"", error

    def write(self, data: bytes) -> None:
        if self.error:
            raise self.error
        self.data += data


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def relayed() -> Callable[..., list[str]]:
    """What a terminal shows of ``lines``; ``file`` keeps them."""

    def run(*lines: dict[str, Any] | bytes, file: Kept | None = None, clock: Clock | None = None) -> list[str]:
        shown: list[str] = []
        relay = Relay(file or Kept(), shown.append, coloured=False, clock=clock or Clock())
        child = os.dup(relay.descriptor)
        relay.start()
        with os.fdopen(child, "wb") as out:
            for line in lines:
                out.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        relay.join(10)
        return shown

    return run


def event(level: str, message: str, **facts: Any) -> dict[str, Any]:
    return {"timestamp": MOMENT, "level": level, "event": "x", "message": message, "requestId": None, **facts}


def test_every_line_is_in_the_file_as_it_was(relayed: Callable[..., list[str]]) -> None:
    kept = Kept()
    lines = [ACCESS, BOOT, event("warn", "a"), event("warn", "a"), b"no JSON\n"]
    shown = relayed(*lines, file=kept)
    whole = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines]
    assert kept.data == b"".join(whole)
    assert len(shown) == 3, "the start of a worker and the repetition are in the file only"
    assert shown[-1] == "no JSON"


def test_how_workers_come_is_not_shown_and_what_goes_wrong_with_them_is(relayed: Callable[..., list[str]]) -> None:
    connected = event("info", "connection connected", event="connection")
    assert relayed(BOOT, connected) == []
    (line,) = relayed(BOOT | {"level": "error", "message": "Worker (pid:7) was sent SIGKILL!"})
    assert "SIGKILL" in line
    lost = event("critical", "connection disconnected", event="connection")
    assert [line.split()[-1] for line in relayed(lost, connected, connected)] == ["disconnected", "connected"]


def test_what_repeats_is_shown_once_in_a_while_but_never_a_request(relayed: Callable[..., list[str]]) -> None:
    clock = Clock()
    attempts = [event("warn", f"attempt {number} failed") for number in range(5)]
    assert len(relayed(*attempts, clock=clock)) == 1
    failed = event("error", "KeyError", requestId="a" * 32)
    assert len(relayed(ACCESS, ACCESS, failed, failed)) == 4

    class Later(Clock):
        def __call__(self) -> float:
            self.now += REPEATS
            return self.now

    assert len(relayed(*attempts, clock=Later())) == 5


def test_a_line_names_the_request_and_the_operation() -> None:
    entry = event("error", "KeyError", requestId="a" * 32, database={"operation": "find", "collection": "notes"})
    assert short(entry, coloured=False).endswith(f"ERROR    KeyError [find notes] request {'a' * 32}")
    assert short(ACCESS | {"durationMs": 3.1}, coloured=False).endswith(" GET / 200 3.1 ms")


@pytest.mark.parametrize("level", ["warn", "error", "critical"])
def test_what_matters_has_a_colour_that_ends_with_its_line(level: str) -> None:
    line = short(event(level, "x"), coloured=True)
    assert line.startswith("\x1b[")
    assert line.endswith("\x1b[0m")
    assert "\x1b" not in short(event(level, "x"), coloured=False)


def test_no_line_writes_to_the_terminal_what_moves_its_cursor(relayed: Callable[..., list[str]]) -> None:
    hostile = "\x1b[2J\r\x9b\u202e\u2028new"
    for line in relayed(event("warn", hostile), ACCESS | {"path": hostile}, f"{hostile}\n".encode()):
        assert line.isprintable()


def test_a_file_that_cannot_be_written_is_told_once_and_stops_nothing(relayed: Callable[..., list[str]]) -> None:
    shown = relayed(ACCESS, ACCESS, file=Kept(OSError(28, "No space left on device")))
    assert shown[0] == "service.log cannot be written: No space left on device"
    assert len(shown) == 3


@pytest.mark.parametrize(
    ("terminal", "asked", "short_form"),
    [
        (True, None, True),
        (True, "json", False),
        (True, " JSON ", False),
        (True, "%(message)s", True),
        (False, None, False),
    ],
)
def test_it_is_for_a_terminal_unless_somebody_wants_json(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, asked: str | None, short_form: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    if asked is not None:
        monkeypatch.setenv("LOG_FORMAT", asked)
    assert for_eyes() is short_form
