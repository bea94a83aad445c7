"""A port for the metrics: one worker has it, it speaks little HTTP, and nobody keeps it busy."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from config.ports import free_port
from prodfix.metrics import port as module
from prodfix.metrics.admission import REFUSALS, SCRAPES, Admission, Verdict
from prodfix.metrics.port import LARGEST, MOST, MetricsPort

TOKEN = "a-token-of-32-characters-or-more"
Make = Callable[..., MetricsPort]


@pytest.fixture
def number() -> int:
    return free_port()


@pytest.fixture
def make(number: int) -> Iterator[Make]:
    made: list[MetricsPort] = []

    def port(*, judge: Callable[[str | None], Verdict] = lambda header: "admitted", **options: Any) -> MetricsPort:
        render = options.pop("render", lambda accept: (f"for {accept}\n".encode(), "text/plain"))
        made.append(MetricsPort("127.0.0.1", options.pop("number", number), judge=judge, render=render, **options))
        return made[-1]

    yield port
    for one in made:
        one.close()


def ask(number: int, method: str = "GET", path: str = "/metrics", **headers: str) -> tuple[int, Any, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", number, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_it_answers_who_scrapes(make: Make, number: int) -> None:
    make().look()
    status, headers, body = ask(number, Accept="text/plain")
    assert (status, body, headers["Content-Type"]) == (200, b"for text/plain\n", "text/plain")
    assert headers["Connection"] == "close"
    assert headers["Cache-Control"] == "no-store"
    assert ask(number, path="/metrics?x=y")[0] == 200
    assert ask(number, "HEAD")[::2] == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/metrics", 405), ("GET", "/", 404), ("GET", "/metrics/x", 404)]
)
def test_it_has_nothing_else(make: Make, number: int, method: str, path: str, status: int) -> None:
    make().look()
    assert ask(number, method, path)[0] == status


def test_a_token_is_asked_for_where_there_is_one(make: Make, number: int) -> None:
    refused: list[str] = []
    make(judge=Admission(TOKEN).judge, refused=refused.append).look()
    assert ask(number, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert refused == []
    for given in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"):
        status, headers, _ = ask(number, Authorization=given)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert refused == ["127.0.0.1"] * 6


def test_one_has_it_and_another_takes_over(make: Make, number: int, until: Callable[..., Any]) -> None:
    one, other = make(), make(taken=lambda: one.serving)
    one.look()
    other.look()
    assert (one.serving, other.serving) == (True, False)
    one.close()
    until(lambda: other.look() or other.serving, limit=5)
    assert ask(number)[0] == 200


def test_that_nobody_of_ours_can_have_it_is_told_once(make: Make, number: int) -> None:
    told: list[str] = []
    with socket.create_server(("127.0.0.1", number)):
        port = make(tell=told.append)
        for _ in range(module.FOREIGN - 1):
            port.look()
        assert told == [], "a sibling may just have taken it"
        for _ in range(30):
            port.look()
        assert told == ["EADDRINUSE"]
    port.look()
    assert port.serving


def test_that_a_sibling_has_it_is_not_told(make: Make, number: int) -> None:
    told: list[str] = []
    with socket.create_server(("127.0.0.1", number)):
        port = make(tell=told.append, taken=lambda: True)
        for _ in range(30):
            port.look()
    assert told == []


def test_a_request_that_does_not_come_is_given_up(make: Make, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.3)
    make().look()
    with socket.create_connection(("127.0.0.1", number), timeout=10) as slow:
        begun = time.monotonic()
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < 5:
                slow.sendall(b"X: y\r\n")  # a byte now and then does not keep it open
                if not _open(slow):
                    break
        assert time.monotonic() - begun < 3


def _open(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return bool(connection.recv(1))
    except TimeoutError:
        return True


@pytest.mark.parametrize(
    "sent",
    [
        b"X" * (LARGEST + 1),
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET /metrics SPDY/3\r\n\r\n",
        b"GET\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_so(make: Make, number: int, sent: bytes) -> None:
    make().look()
    with socket.create_connection(("127.0.0.1", number), timeout=10) as connection:
        connection.sendall(sent)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_connections_at_once_are_few(make: Make, number: int, until: Callable[..., Any]) -> None:
    make().look()
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(socket.create_connection(("127.0.0.1", number), timeout=10))
        until(lambda: _refused(number), limit=5)
    until(lambda: not _refused(number), limit=5)


def _refused(number: int) -> bool:
    try:
        return ask(number)[0] != 200
    except (OSError, http.client.HTTPException):
        return True


def test_what_fails_within_closes_its_connection_and_no_more(
    make: Make, number: int, until: Callable[..., Any]
) -> None:
    def fail(accept: str | None) -> tuple[bytes, str]:
        raise RuntimeError("a path, a name")

    port = make(render=fail)
    port.look()
    for asked in range(1, MOST + 3):
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(number)
        until(lambda asked=asked: port.errors == asked, limit=5)


def test_without_a_thread_one_connection_is_closed_and_the_port_stays(
    make: Make, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = make()
    port.look()
    assert ask(number)[0] == 200
    started = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    for _ in range(MOST + 1):
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(number)
    other = make(number=free_port())
    other.look()
    assert not other.serving
    monkeypatch.setattr(threading.Thread, "start", started)
    assert (ask(number)[0], port.serving, port.errors) == (200, True, MOST + 1)
    other.look()
    assert other.serving


def test_a_child_lets_go_of_its_parents(python: Callable[..., str]) -> None:
    code = """
        import os, sys, warnings
        from config.ports import free_port
        from prodfix.metrics.port import MetricsPort

        number = free_port()
        port = MetricsPort("127.0.0.1", number, judge=lambda header: "admitted", render=lambda accept: (b"", ""))
        port.look()
        warnings.simplefilter("ignore")
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        port.close()
        port.look()
        print(port.serving)
        os.close(write)
        os.waitpid(child, 0)
    """
    assert python(code) == "True\n"


# -- who may, and how often ---------------------------------------------------------------------------------------------------


def test_refusals_are_soon_not_told_and_shut_out_nobody_who_has_the_token() -> None:
    now = [0.0]
    admission = Admission(TOKEN, clock=lambda: now[0])
    assert [admission.judge("Bearer wrong") for _ in range(REFUSALS + 2)] == ["refused"] * REFUSALS + ["limited"] * 2
    assert admission.judge(f"bearer  {TOKEN} ") == "admitted"
    now[0] += 6.0
    assert [admission.judge(None) for _ in range(2)] == ["refused", "limited"]


def test_who_has_the_token_may_not_ask_without_end() -> None:
    now = [0.0]
    admission = Admission(None, clock=lambda: now[0])
    assert [admission.judge(None) for _ in range(SCRAPES + 1)] == ["admitted"] * SCRAPES + ["limited"]
    now[0] += 1.0
    assert [admission.judge(None) for _ in range(2)] == ["admitted", "limited"]
