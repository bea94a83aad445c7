"""A request's body, as gunicorn gives it: whole and untouched for whoever reads it, or refused before the view runs."""

from __future__ import annotations

import io
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from wsgiref.handlers import SimpleHandler

import pytest
from flask import Flask, Response, jsonify, redirect, request, request_started
from hypothesis import given
from hypothesis import strategies as st

from prodfix import deadline
from prodfix.web import inputs
from tests.support.gunicorn_exchange import NEXT, chunked, converse, host, post

LIMIT = 10_000
TEXT = b"row one\nrow two\nrow three\n" * 300
FORM = b"a=1&b=hello&c=" + b"x" * 5000
BOUNDARY = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n%s\r\n--b--\r\n'
MULTIPART = BOUNDARY % TEXT

PLAIN, FORMS, PARTS, JSON = (
    f"Content-Type: {kind}"
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "application/json",
    )
)


def mounted(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))]


def data() -> bytes:
    return request.get_data()


def stream() -> bytes:
    return request.stream.read()


def raw() -> bytes:
    return bytes(request.environ["wsgi.input"].read())


WAYS: dict[str, tuple[str, bytes, Callable[[], bytes]]] = {
    "get_data": (PLAIN, TEXT, data),
    "data twice": (PLAIN, TEXT, lambda: request.get_data() and request.get_data()),
    "stream": (PLAIN, TEXT, stream),
    "stream in pieces": (PLAIN, TEXT, lambda: b"".join(iter(lambda: request.stream.read(700), b""))),
    "stream in lines": (PLAIN, TEXT, lambda: b"".join(request.stream)),
    "stream as text": (PLAIN, TEXT, lambda: "".join(io.TextIOWrapper(request.stream, newline="")).encode()),  # type: ignore[type-var]
    "wsgi.input": (PLAIN, TEXT, raw),
    "wsgi.input in lines": (PLAIN, TEXT, lambda: b"".join(request.environ["wsgi.input"].readlines())),
    "another application": (PLAIN, TEXT, lambda: Response.from_app(mounted, request.environ).get_data()),
    "form": (FORMS, FORM, lambda: "&".join("=".join(pair) for pair in request.form.items()).encode()),
    "form after its bytes": (FORMS, FORM, lambda: request.get_data() and f"a=1&b=hello&c={request.form['c']}".encode()),
    "files": (PARTS, MULTIPART, lambda: BOUNDARY % request.files["f"].read()),
    "parts as a stream": (PARTS, MULTIPART, stream),
    "json": (JSON, b"[" + b"1," * 2000 + b"1]", lambda: str(request.get_json()).replace(" ", "").encode()),
}


class Seen:
    """An application with one view that reads the body in one way, and what it has read."""

    def __init__(self, adopt: Callable[..., Flask], way: str, *, exempt: bool = False, **options: Any) -> None:
        self.bodies: list[bytes] = []
        self.header, self.body, read = WAYS[way]

        def view() -> Any:
            body = read()
            self.bodies.append(body)
            return jsonify({"size": len(body)})

        self.app = host(("/read", deadline(None)(view) if exempt else view))
        self.app.config["MAX_CONTENT_LENGTH"] = self.app.config["MAX_FORM_MEMORY_SIZE"] = LIMIT
        adopt(self.app, **({"deadline": True} | options))

    def ask(self, sent: bytes) -> list[int]:
        return [answer.status for answer in converse(self.app, sent)]


@pytest.fixture
def seen(adopt: Callable[..., Flask]) -> Callable[..., Seen]:
    return lambda way="get_data", **options: Seen(adopt, way, **options)


# -- whole ------------------------------------------------------------------------------------------------------------------


# But for one that asks for a length, which chunks have not until they are read.
EVERY_WAY = [
    (way, chunks, exempt)
    for way in WAYS
    for chunks in (None, 1, 777, 2**20)
    for exempt in (False, True)
    if not (way == "another application" and chunks and exempt)
]


@pytest.mark.parametrize(("way", "chunks", "exempt"), EVERY_WAY)
def test_everybody_who_reads_it_gets_the_whole_and_so_does_the_next_request(
    seen: Callable[..., Seen], way: str, chunks: int | None, exempt: bool
) -> None:
    read = seen(way, exempt=exempt)
    sent = post("/read", read.body, read.header, chunks=chunks)
    assert read.ask(sent + NEXT + sent) == [200, 200, 200]
    assert read.bodies == [read.body] * 2


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("chunks", [None, 100])
def test_of_every_method_and_nothing_of_it_is_taken_for_the_next_request(
    seen: Callable[..., Seen], method: str, chunks: int | None
) -> None:
    read = seen("get_data")
    assert read.ask(post("/read", TEXT, method=method, chunks=chunks) + NEXT) == [200, 200]
    assert read.bodies == ([] if method == "OPTIONS" else [TEXT])


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
@pytest.mark.parametrize("header", [(), ("Content-Length: 0",), ("Transfer-Encoding: chunked",)])
def test_no_body_is_none(seen: Callable[..., Seen], method: str, header: tuple[str, ...]) -> None:
    head = "\r\n".join([f"{method} /read HTTP/1.1", "Host: localhost", *header]).encode() + b"\r\n\r\n"
    read = seen("get_data")
    assert read.ask(head + (b"0\r\n\r\n" if "Tr" in str(header) else b"") + NEXT) == [200, 200]
    assert read.bodies == [b""]


def test_what_was_chunked_has_a_length_afterwards(adopt: Callable[..., Flask]) -> None:
    def view() -> Any:
        return jsonify([request.content_length, request.headers.get("Transfer-Encoding"), len(request.get_data())])

    app = adopt(host(("/read", view)), deadline=True)
    (answer,) = converse(app, post("/read", TEXT, chunks=100))
    assert answer.json == [len(TEXT), None, len(TEXT)]


BODY = b"".join(bytes([number % 251]) for number in range(3000))


@given(
    size=st.integers(0, len(BODY)),
    chunks=st.none() | st.integers(1, 3001),
    piece=st.integers(1, 3001),
    read=st.integers(1, 3001),
)
def test_however_it_is_sent_and_read_it_is_the_same(size: int, chunks: int | None, piece: int, read: int) -> None:
    body, got = BODY[:size], []

    def view() -> str:
        inputs.read_whole(request)  # type: ignore[arg-type]
        got.append(b"".join(iter(lambda: request.stream.read(read), b"")))
        return ""

    app = host(("/read", view))
    app.config["MAX_CONTENT_LENGTH"] = len(BODY)
    assert [answer.status for answer in converse(app, post("/read", body, chunks=chunks) + NEXT, piece=piece)] == [
        200
    ] * 2
    assert got == [body]


class Middleware:
    """Between our WSGI layer and Flask: it looks at the body before and after, as loggers of requests do."""

    def __init__(self, app: Flask, *, replaces: bool = False) -> None:
        self.inner, self.replaces = app.wsgi_app, replaces
        self.before, self.after = b"", b""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if self.replaces:
            self.before = environ["wsgi.input"].read()
            environ["wsgi.input"] = io.BytesIO(self.before)
        answer = self.inner(environ, start_response)
        self.after = environ["wsgi.input"].read()
        return answer


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("chunks", [None, 100])
def test_a_middleware_within_sees_what_it_would_see_without_us(
    adopt: Callable[..., Flask], replaces: bool, chunks: int | None
) -> None:
    app = host(("/unread", lambda: "fine"))
    app.wsgi_app = middleware = Middleware(app, replaces=replaces)  # type: ignore[method-assign,assignment]
    adopt(app, deadline=True)
    assert [answer.status for answer in converse(app, post("/unread", TEXT, chunks=chunks) + NEXT)] == [200, 200]
    converse(app, post("/unread", TEXT, chunks=chunks))
    assert (middleware.before, middleware.after) == (TEXT if replaces else b"", TEXT)


@pytest.mark.parametrize("read", [data, lambda: request.form, lambda: request.stream.read(3)])
def test_what_somebody_has_begun_to_read_before_is_theirs(adopt: Callable[..., Flask], read: Callable[[], Any]) -> None:
    def view() -> Any:
        return jsonify([request.get_data().decode(), request.form.to_dict()])

    def early(sender: Flask, **_: Any) -> None:
        read()

    app, plain = adopt(host(("/read", view)), deadline=True), host(("/read", view))
    sent = post("/read", b"a=1&b=2", FORMS)
    with request_started.connected_to(early, app), request_started.connected_to(early, plain):
        ours, theirs = converse(app, sent), converse(plain, sent)
    assert ours[0].json == theirs[0].json


@pytest.mark.parametrize("code", [307, 308])
def test_a_redirect_that_repeats_the_request_repeats_its_body(adopt: Callable[..., Flask], code: int) -> None:
    app = host(("/old", lambda: redirect("/new", code)), ("/new", data))
    client = adopt(app, deadline=True).test_client()
    assert client.post("/old", data=TEXT, follow_redirects=True).data == TEXT
    assert client.post("/old", data={"a": "b"}, follow_redirects=True).data == b"a=b"


def test_a_host_that_asks_for_no_deadline_keeps_the_servers_own_stream(adopt: Callable[..., Flask]) -> None:
    given: list[Any] = []

    def view() -> Any:
        return jsonify([request.environ["wsgi.input"] is given[-1], "wsgi.input_terminated" in request.environ])

    app = host(("/plain", view), ("/long", deadline(30)(partial(view))), ("/exempt", deadline(None)(partial(view))))
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, head: given.append(environ["wsgi.input"]) or inner(environ, head)  # type: ignore
    adopt(app)
    answers = converse(app, b"".join(post(path, TEXT) for path in ("/plain", "/exempt", "/long")))
    assert [answer.json for answer in answers] == [[True, True], [True, True], [False, False]]


# -- memory -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, 2**16])
def test_a_large_body_is_on_the_disk_and_not_in_memory(adopt: Callable[..., Flask], chunks: int | None) -> None:
    size, block = 16 * 2**20, b"x" * 2**16
    app = adopt(
        host(("/read", lambda: str(sum(map(len, iter(lambda: request.stream.read(2**16), b"")))))), deadline=True
    )

    def arriving() -> Iterator[bytes]:
        yield (
            post("/read", b"", declared=size)
            if chunks is None
            else post("/read", b"", chunks=1).removesuffix(b"0\r\n\r\n")
        )
        for _ in range(size // 2**16):
            yield block if chunks is None else chunked(block, 2**16, last=False)
        yield b"" if chunks is None else b"0\r\n\r\n"

    tracemalloc.start()
    try:
        (answer,) = converse(app, arriving())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (answer.status, answer.body) == (200, str(size).encode())
    assert peak < 8 * 2**20


def test_a_disk_that_takes_no_body_is_no_fault_of_the_clients(
    adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = adopt(host(("/read", lambda: "fine")), deadline=True)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    answers = converse(app, post("/read", b"x" * (inputs.IN_MEMORY + 1)) + NEXT)
    assert [(answer.status, answer.json["code"]) for answer in answers] == [(500, "INTERNAL_ERROR")]
    assert answers[0].headers["Connection"] == "close"
    monkeypatch.undo()
    assert [answer.status for answer in converse(app, post("/read", b"x" * (inputs.IN_MEMORY + 1)))] == [200]


# -- too early --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("came", [0, 1, 500, len(TEXT) - 1])
@pytest.mark.parametrize("way", ["get_data", "stream in lines", "form", "files", "json"])
def test_a_body_that_ends_before_its_length_is_refused_and_no_view_runs(
    seen: Callable[..., Seen], way: str, came: int, method: str
) -> None:
    read = seen(way)
    sent = post("/read", read.body[:came], read.header, declared=len(read.body) + 1, method=method)
    answers = converse(read.app, sent)
    assert [(answer.status, answer.json["code"]) for answer in answers] == [(400, "MALFORMED_REQUEST")]
    assert (read.bodies, answers[0].headers["Connection"]) == ([], "close")


@pytest.mark.parametrize("way", ["get_data", "form", "json"])
def test_without_us_it_is_taken_as_whole(adopt: Callable[..., Flask], way: str) -> None:
    # The control.
    read = Seen(adopt, way, deadline=False)
    assert read.ask(post("/read", read.body, read.header, declared=len(read.body) + 500)) == [200]
    assert read.bodies == [read.body]


BROKEN = {
    "no last chunk": chunked(TEXT, 100, last=False),
    "within a chunk": chunked(TEXT, 100)[:-30],
    "within a size": chunked(TEXT, 100, last=False) + b"1",
    "no trailer's end": chunked(TEXT, 100, last=False) + b"0\r\n",
    "no size": b"zz\r\n" + TEXT,
    "longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "a negative size": b"-1\r\nabc\r\n0\r\n\r\n",
    "a bad trailer": chunked(TEXT, 100, last=False) + b"0\r\nno colon\r\n\r\n",
}


@pytest.mark.parametrize("exempt", [False, True])
@pytest.mark.parametrize("how", BROKEN)
def test_chunks_that_break_off_or_break_http_are_refused(seen: Callable[..., Seen], how: str, exempt: bool) -> None:
    read = seen("get_data", exempt=exempt)
    head = b"POST /read HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = converse(read.app, head + BROKEN[how])
    assert [(answer.status, answer.json["code"]) for answer in answers] == [(400, "MALFORMED_REQUEST")]
    assert (read.bodies, answers[0].headers["Connection"]) == ([], "close")


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("another application", "form after its bytes")])
def test_a_view_that_reads_it_itself_is_told_too(seen: Callable[..., Seen], way: str) -> None:
    read = seen(way, exempt=True)
    assert read.ask(post("/read", read.body[:-1], read.header, declared=len(read.body))) == [400]
    assert read.bodies == []


def test_also_one_that_asks_for_all_of_it_at_once(adopt: Callable[..., Flask]) -> None:
    app = host(("/read", deadline(None)(lambda: request.environ["wsgi.input"].read(len(TEXT)))))
    adopt(app, deadline=True)
    assert [one.status for one in converse(app, post("/read", TEXT[:-1], declared=len(TEXT)))] == [400]
    assert [one.body for one in converse(app, post("/read", TEXT))] == [TEXT]


def test_the_servers_own_buffers_are_measured(seen: Callable[..., Seen]) -> None:
    read = seen("get_data")
    client = read.app.test_client()
    short = {"CONTENT_LENGTH": "1000"}
    assert client.post("/read", data=b"row one", environ_overrides=short).status_code == 400
    assert client.post("/read", data=b"x" * 2000, environ_overrides=short).status_code == 200
    assert read.bodies == [b"x" * 1000]


# -- too long ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exempt", [False, True])
@pytest.mark.parametrize("chunks", [None, 777, 2**20])
@pytest.mark.parametrize("way", ["get_data", "stream", "stream in pieces", "stream in lines", "wsgi.input"])
def test_the_limit_is_fine_and_one_byte_more_is_not(
    seen: Callable[..., Seen], way: str, chunks: int | None, exempt: bool
) -> None:
    read = seen(way, exempt=exempt)
    for size, statuses in ((LIMIT - 1, [200, 200]), (LIMIT, [200, 200]), (LIMIT + 1, [413]), (20 * LIMIT, [413])):
        answered = read.ask(post("/read", b"x" * size, chunks=chunks) + NEXT)
        # Without gevent nothing could end the wait for the rest, so gunicorn reads it, and goes on.
        assert answered[: len(statuses)] == statuses, size
    assert [len(body) for body in read.bodies] == [LIMIT - 1, LIMIT]


@pytest.mark.parametrize("chunks", [None, 1000])
def test_a_form_of_just_the_limit_has_all_its_fields(seen: Callable[..., Seen], chunks: int | None) -> None:
    for way, filled in (
        ("form", FORM + b"x" * (LIMIT - len(FORM))),
        ("files", BOUNDARY % (b"x" * (LIMIT - len(BOUNDARY % b"")))),
    ):
        read = seen(way)
        assert len(filled) == LIMIT
        assert read.ask(post("/read", filled, read.header, chunks=chunks)) == [200]
        assert read.bodies == [filled]
        assert read.ask(post("/read", filled + b"x", read.header, chunks=chunks))[0] == 413


@pytest.mark.parametrize("way", ["get_data", "form"])
def test_without_us_it_is_cut(adopt: Callable[..., Flask], way: str) -> None:
    # The control.
    read = Seen(adopt, way, deadline=False)
    assert read.ask(post("/read", FORM + b"x" * LIMIT, read.header, chunks=1000)) == [200]
    assert len(read.bodies[0]) == LIMIT


def test_an_application_without_a_limit_has_ours(adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LARGEST", 5000)
    app = host(("/read", lambda: "fine"), ("/exempt", deadline(None)(lambda: str(len(request.get_data())))))
    adopt(app, deadline=True)
    for chunks in (None, 100):
        statuses = [converse(app, post("/read", b"x" * size, chunks=chunks))[0].status for size in (5000, 5001)]
        assert statuses == [200, 413]
        assert converse(app, post("/exempt", b"x" * 5001, chunks=chunks))[0].body == b"5001", "which reads it itself"


@pytest.mark.parametrize("chunks", [None, 100])
def test_a_limit_of_the_requests_own_still_holds(adopt: Callable[..., Flask], chunks: int | None) -> None:
    def view(most: int) -> Callable[[], str]:
        def read() -> str:
            request.max_content_length = most
            return str(len(request.get_data()))

        return read

    app = host(
        ("/less", view(100)), ("/more", deadline(None)(view(3 * LIMIT))), ("/less/exempt", deadline(None)(view(100)))
    )
    app.config["MAX_CONTENT_LENGTH"] = LIMIT
    adopt(app, deadline=True)
    for path, size, status in (
        ("/less", 100, 200),
        ("/less", 101, 413),
        ("/less/exempt", 100, 200),
        ("/less/exempt", 101, 413),
        ("/more", 3 * LIMIT, 200),
        ("/more", 3 * LIMIT + 1, 413),
    ):
        assert converse(app, post(path, b"x" * size, chunks=chunks))[0].status == status, (path, size)


# -- encoded ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "identity, gzip", "gzip,gzip", "unheard-of"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_an_encoded_body_is_refused_and_the_answer_says_what_is_not(
    seen: Callable[..., Seen], encoding: str, method: str
) -> None:
    read = seen()
    answer = converse(read.app, post("/read", TEXT, f"Content-Encoding: {encoding}", method=method))[0]
    assert (answer.status, answer.json["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert (answer.headers["Accept-Encoding"], read.bodies) == ("identity", [])


@pytest.mark.parametrize("encoding", ["identity", "Identity", "", " ", "identity, identity"])
def test_one_that_is_encoded_as_itself_is_not(seen: Callable[..., Seen], encoding: str) -> None:
    assert seen().ask(post("/read", TEXT, f"Content-Encoding: {encoding}")) == [200]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_a_body_there_is_nothing_to_decode(seen: Callable[..., Seen], method: str) -> None:
    assert seen().ask(post("/read", b"", "Content-Encoding: gzip", method=method)) == [200]


def test_views_that_decode_it_themselves_may_say_so(seen: Callable[..., Seen]) -> None:
    read = seen(body_encodings="GZIP, br")
    for encoding, status in (
        ("gzip", 200),
        ("x-gzip", 200),
        ("br, gzip", 200),
        ("deflate", 415),
        ("gzip, deflate", 415),
    ):
        answer = converse(read.app, post("/read", TEXT, f"Content-Encoding: {encoding}"))[0]
        assert answer.status == status, encoding
        assert answer.headers["Accept-Encoding"] == ("br, gzip, identity" if status == 415 else None)
    assert read.bodies == [TEXT] * 3
    assert seen(exempt=True).ask(post("/read", TEXT, "Content-Encoding: gzip")) == [200], "it reads the body itself"


def test_a_host_answers_such_a_body_in_its_own_way(adopt: Callable[..., Flask]) -> None:
    app = host(("/read", lambda: "fine"))
    app.register_error_handler(415, lambda error: ("no", 415, error.get_headers()))
    adopt(app, deadline=True)
    (answer,) = converse(app, post("/read", TEXT, "Content-Encoding: gzip"))
    assert (answer.body, answer.headers["Accept-Encoding"]) == (b"no", "identity")


# -- exempt -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exempt", [True, False])
@pytest.mark.parametrize("chunks", [None, 1000])
def test_of_a_view_without_a_deadline_nothing_is_read_ahead(
    adopt: Callable[..., Flask], chunks: int | None, exempt: bool
) -> None:
    events: list[str] = []

    def view() -> str:
        events.append("view")
        return "".join(iter(lambda: request.stream.read(1000).decode(), ""))

    def arriving() -> Iterator[bytes]:
        head, _, body = post("/read", b"x" * 9000, chunks=chunks).partition(b"\r\n\r\n")
        yield head + b"\r\n\r\n"
        for start in range(0, len(body), 500):
            events.append("came")
            yield body[start : start + 500]

    app = adopt(host(("/read", deadline(None)(view) if exempt else view)), deadline=True)
    (answer,) = converse(app, arriving())
    assert answer.body == b"x" * 9000
    assert events.index("view") == (0 if exempt else len(events) - 1)


# -- the connection ---------------------------------------------------------------------------------------------------------


def test_a_middleware_that_wraps_start_response_keeps_no_such_connection_either(seen: Callable[..., Seen]) -> None:
    def wrap(start_response: Any) -> Any:
        return partial(start_response)

    read = seen()
    sent = b"POST /read HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + NEXT
    assert [answer.status for answer in converse(read.app, sent, wrap=wrap)] == [400]


def test_servers_that_forbid_the_header_are_not_given_it(seen: Callable[..., Seen]) -> None:
    # wsgiref's and waitress raise for a hop-by-hop header (PEP 3333).
    out = io.BytesIO()
    length = {
        "CONTENT_LENGTH": "1000",
        "CONTENT_TYPE": "text/plain",
        "SERVER_SOFTWARE": "wsgiref",
        "PATH_INFO": "/read",
    }
    environ = {"REQUEST_METHOD": "POST", "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1"}
    SimpleHandler(io.BytesIO(b"row one"), out, sys.stderr, environ | length).run(seen().app)  # type: ignore[arg-type]
    assert out.getvalue().split(b"\r\n")[0].endswith(b"400 BAD REQUEST")
    assert b"MALFORMED_REQUEST" in out.getvalue()


def test_a_body_whose_end_nobody_can_tell_is_left_alone(adopt: Callable[..., Flask]) -> None:
    class Endless:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("nobody may read it")

    app = adopt(host(("/read", lambda: str(len(request.get_data())))), deadline=True)
    chunks = {"wsgi.input": Endless(), "HTTP_TRANSFER_ENCODING": "chunked", "HTTP_CONTENT_ENCODING": "gzip"}
    assert app.test_client().post("/read", environ_overrides=chunks).data == b"0"


# -- others, while it is read -------------------------------------------------------------------------------------------------

FAST = """
from gevent import monkey; monkey.patch_all()
import gevent, os, socket, time
from flask import Request
from werkzeug.test import create_environ
from prodfix.process.native import hub_held
from prodfix.web import incoming, inputs
gevent.setswitchinterval(60.0)  # for which it calls those that are ready before it looks: not 5 ms, on a busy machine
near, far = socket.socketpair()
order = []
def other():
    while far.recv(1): order.append("other")
gevent.spawn(other); gevent.sleep(0.01)
class Stream:
    left = 3 * 2**20
    def read(self, size):
        self.left -= (size := min(size, self.left))
        if order.count("piece") < 3:
            order.append("piece"); hub_held()
            end = time.monotonic() + 0.001
            while time.monotonic() < end: pass
            os.write(near.fileno(), b"x")  # comes meanwhile
        return bytes(size)
given = create_environ(method="POST") | {"CONTENT_LENGTH": str(Stream.left), "wsgi.input": Stream()}
"""


@pytest.mark.parametrize(
    "read", ["inputs.read_whole(Request(given))", "incoming.discard(incoming.Rest(given['wsgi.input'], True))"]
)
def test_while_a_body_is_read_that_never_keeps_one_waiting_others_are_served(
    python: Callable[..., str], read: str
) -> None:
    """The control: with sleep(0) they are not, as the hub does not look what has come."""
    shown = "; print(*order)"
    assert python(f"{FAST}{read}{shown}").split() == ["piece", "other"] * 3
    control = "incoming.give_way = inputs.give_way = lambda: time.sleep(0)\n"
    assert python(f"{FAST}{control}{read}{shown}").split()[:3] == ["piece"] * 3
