"""Bodies over real connections: whole, or refused before a view runs; and what comes next on the same connection."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gunicorn_exchange import chunked, post
from tests.support.served import Served

pytestmark = pytest.mark.served

LIMIT = 100_000
CUT = 0.7  # seconds; the body's time


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database_server: str) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("receiver")
    uri = f"{database_server.rstrip('/')}/receiver"
    limits = {"MAX_BODY_BYTES": str(LIMIT), "BODY_TIMEOUT_MS": str(int(CUT * 1000)), "REQUEST_DEADLINE_MS": "4000"}
    with Served(
        folder, uri, application="tests.hosts.receiver:app", SEEN=str(folder / "seen"), **limits
    ) as application:
        yield application


class Line:
    """One connection. Each of its requests has an ID, by which :meth:`ran` knows whether a view has seen it."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.socket = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        self.id = ""

    def send(self, way: str, body: bytes, *headers: str, **options: Any) -> None:
        self.id = f"body-{secrets.token_hex(8)}"
        self.socket.sendall(post(f"/bodies/{way}", body, f"X-Request-ID: {self.id}", *headers, **options))

    def send_chunks(self, way: str, raw: bytes) -> None:
        """A chunked body, byte by byte as it is given."""
        self.id = f"body-{secrets.token_hex(8)}"
        head = [f"POST /bodies/{way} HTTP/1.1", "Host: x", f"X-Request-ID: {self.id}", "Transfer-Encoding: chunked"]
        self.socket.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + raw)

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self) -> tuple[http.client.HTTPResponse, Any]:
        response = http.client.HTTPResponse(self.socket, method="POST")
        with response:
            response.begin()
            body = response.read()
        return response, json.loads(body) if response.headers.get_content_subtype().endswith("json") else body

    @property
    def ran(self) -> bool:
        seen = Path(self._served.variables["SEEN"])
        return seen.exists() and self.id in seen.read_text()

    def goes_on(self) -> bool:
        """Whether the connection is still one, on which the next request is answered as its own."""
        try:
            self.send("whole/data", b"the next one")
            return bool(self.answer()[1]["size"] == 12)
        except (OSError, http.client.HTTPException):
            return False


@pytest.fixture
def line(served: Served) -> Iterator[Line]:
    line = Line(served)
    with contextlib.closing(line.socket):
        yield line


TEXT = b"row one\nrow two\nrow three\n" * 200
FORMS = "Content-Type: application/x-www-form-urlencoded"


@pytest.mark.parametrize("chunks", [None, 500])
@pytest.mark.parametrize("way", ["data", "stream", "pieces", "lines", "input", "mounted"])
def test_every_way_to_read_a_body_gets_all_of_it(line: Line, way: str, chunks: int | None) -> None:
    for mode in ("whole", "exempt"):
        if (mode, way) == ("exempt", "mounted") and chunks:
            continue  # it asks for a length, which chunks have not until they are read
        line.send(f"{mode}/{way}", TEXT, "Content-Type: text/plain", chunks=chunks)
        answered = line.answer()[1]
        assert (answered["size"], answered["sha"]) == (len(TEXT), hashlib.sha256(TEXT).hexdigest()), mode
    assert line.goes_on()


EARLY: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "data": (b"row one\nrow two\nrow thr", ("Content-Type: text/plain",)),
    "form": (b"a=1&b=hel", (FORMS,)),
    "json": (b'{"complete": "as it happens"}', ("Content-Type: application/json",)),
    "files": (
        b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx',
        ("Content-Type: multipart/form-data; boundary=b",),
    ),
    "nothing": (b"", ()),
}


@pytest.mark.parametrize("mode", ["whole", "exempt"])
@pytest.mark.parametrize("way", EARLY)
def test_one_that_ends_before_its_length_is_refused(line: Line, way: str, mode: str) -> None:
    body, headers = EARLY[way]
    line.send(f"{mode}/{way}", body, *headers, declared=1000)
    line.end()
    response, answered = line.answer()
    if (mode, way) == ("exempt", "nothing"):
        assert (response.status, line.ran) == (200, True), "a view that reads nothing misses nothing"
        return
    assert (response.status, answered["code"]) == (400, "MALFORMED_REQUEST")
    assert response.headers["Connection"] == "close"
    assert line.ran == (mode == "exempt")


def test_the_control_is_taken_as_what_it_is(line: Line) -> None:
    body = EARLY["data"][0]
    line.send("whole/data", body, "Content-Type: text/plain")
    line.end()
    assert (line.answer()[1]["size"], line.ran) == (len(body), True)


@pytest.mark.parametrize("broken", [chunked(TEXT, 100, last=False), chunked(TEXT, 100)[:-40], b"zz\r\n"])
def test_chunks_without_their_end_are_refused(line: Line, broken: bytes) -> None:
    line.send_chunks("whole/data", broken)
    line.end()
    response, answered = line.answer()
    assert (response.status, answered["code"], response.headers["Connection"]) == (400, "MALFORMED_REQUEST", "close")
    assert not line.ran


@pytest.mark.parametrize("chunks", [None, 4096, 10**6])
@pytest.mark.parametrize("way", ["data", "pieces", "stream"])
@pytest.mark.parametrize("mode", ["whole", "exempt"])
def test_the_limit_is_fine_and_one_byte_more_is_refused(
    served: Served, mode: str, way: str, chunks: int | None
) -> None:
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        line = Line(served)
        with contextlib.closing(line.socket):
            line.send(f"{mode}/{way}", b"x" * size, chunks=chunks)
            response, answered = line.answer()
            assert response.status == status
            assert answered["size" if status == 200 else "code"] == (size if status == 200 else "PAYLOAD_TOO_LARGE")
            assert line.ran == (status == 200 or mode == "exempt")
            assert line.goes_on() == (status == 200)


def test_a_form_that_is_too_long_loses_no_field(line: Line) -> None:
    line.send("whole/form", b"a=1&b=" + b"x" * LIMIT + b"&last=1", FORMS, chunks=4096)
    response, answered = line.answer()
    assert (response.status, answered["code"], line.ran) == (413, "PAYLOAD_TOO_LARGE", False)


def test_who_sends_much_too_much_still_gets_the_answer(served: Served) -> None:
    # A connection that is closed while bytes arrive is reset, and what was answered is lost with it.
    for chunks in (None, 2**16):
        line = Line(served)
        with contextlib.closing(line.socket):
            line.send("whole/data", b"x" * (8 * 2**20), chunks=chunks)
            response, answered = line.answer()
            assert (response.status, answered["code"]) == (413, "PAYLOAD_TOO_LARGE")
            assert line.socket.recv(1) == b""


def test_who_never_stops_is_left(served: Served) -> None:
    line = Line(served)
    sent, end = 0, time.monotonic() + 20
    with contextlib.closing(line.socket), contextlib.suppress(ConnectionError):
        line.send("whole/data", b"", declared=10**12)
        while time.monotonic() < end:
            sent += line.socket.send(b"x" * 2**16)
    assert (time.monotonic() < end, sent < 10**9) == (True, True), "the connection was closed"
    assert served.get("/health/live").status == 200


def test_one_that_is_encoded_is_refused_and_the_answer_says_what_is_not(line: Line) -> None:
    line.send("whole/json", gzip.compress(b"{}"), "Content-Encoding: gzip", "Content-Type: application/json")
    response, answered = line.answer()
    assert (response.status, answered["code"], line.ran) == (415, "UNSUPPORTED_MEDIA_TYPE", False)
    assert (response.headers["Accept-Encoding"], response.headers["Connection"]) == ("identity", "close")
    assert line.socket.recv(1) == b""


@pytest.mark.parametrize("how", ["with a length", "in chunks"])
def test_one_that_does_not_arrive_ends_its_connection(line: Line, how: str) -> None:
    begun = time.monotonic()
    if how == "in chunks":
        line.send_chunks("whole/data", b"a\r\n0123456789\r\n3e8\r\n")
    else:
        line.send("whole/data", b"0123456789", declared=1010)
    response, answered = line.answer()
    assert (response.status, answered["code"], line.ran) == (408, "REQUEST_TIMEOUT", False)
    assert response.headers["Connection"] == "close"
    assert CUT * 0.9 < time.monotonic() - begun < CUT + 2
    # What arrives too late is not taken for a request.
    line.id = f"body-{secrets.token_hex(8)}"
    with contextlib.suppress(OSError):
        line.socket.sendall(
            f"GET /bodies/whole/nothing HTTP/1.1\r\nHost: x\r\nX-Request-ID: {line.id}\r\n\r\n".encode()
        )
    with contextlib.suppress(ConnectionResetError):
        assert line.socket.recv(1) == b""
    assert not line.ran


def test_bodies_of_requests_that_are_sent_at_once_stay_their_own(line: Line) -> None:
    sent = [(number, chunks) for number in range(1, 20) for chunks in (None, 7)]
    line.socket.sendall(
        b"".join(post("/bodies/whole/stream", b"y" * number * 100, chunks=chunks) for number, chunks in sent)
    )
    line.end()
    answered = b"".join(iter(lambda: line.socket.recv(2**16), b""))
    assert re.findall(rb'"size":(\d+)', answered) == [b"%d" % (number * 100) for number, _ in sent]


@pytest.mark.parametrize("size", [1000, LIMIT + 1])
def test_a_client_that_asks_before_it_sends_is_told_to(line: Line, size: int) -> None:
    line.send("whole/data", b"", "Expect: 100-continue", declared=size)
    assert (
        line.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    )  # gunicorn's own, before anybody has seen the request
    line.socket.sendall(b"x" * size)
    assert line.answer()[0].status == (200 if size < LIMIT else 413)


def test_a_view_without_a_deadline_reads_as_it_arrives(line: Line) -> None:
    line.send("exempt/pieces", b"x" * 7000, declared=14_000)
    deadline = time.monotonic() + 5
    while not line.ran and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert line.ran, "it runs while half of the body is still to come"
    time.sleep(CUT + 0.3)  # longer than any other body may take
    line.socket.sendall(b"x" * 7000)
    assert line.answer()[1]["size"] == 14_000
    assert line.goes_on()


def test_a_redirect_that_repeats_the_request_finds_the_connection_clean(line: Line) -> None:
    line.send("moved/data", TEXT)
    response, _ = line.answer()
    assert (response.status, response.headers["Location"]) == (307, "/bodies/whole/data")
    line.send("whole/data", TEXT)
    assert line.answer()[1]["size"] == len(TEXT)
