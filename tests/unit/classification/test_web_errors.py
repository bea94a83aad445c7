"""HTTP, tokens, sockets and bodies: the client's, ours, or the network's; and each told from the other."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import struct
from collections.abc import Callable
from io import BytesIO, RawIOBase
from typing import Any

import flask_jwt_extended.exceptions as extended
import jwt
import pytest
from flask import Flask, request
from flask_jwt_extended import JWTManager, jwt_required
from gunicorn.http import errors as gunicorn
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import IterUnreader, SocketUnreader
from werkzeug import exceptions as http
from werkzeug.routing import BuildError, RequestRedirect
from werkzeug.wrappers import Response

from prodfix import classify
from prodfix.classification.classifier import Classifier
from prodfix.classification.web_errors import STATUSES
from prodfix.recovery.recovery import Recovery

# -- HTTP ------------------------------------------------------------------------------------------------------------------

CODES = {
    400: "MALFORMED_REQUEST",
    401: "AUTHENTICATION_REQUIRED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "VALIDATION_FAILED",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
}


@pytest.mark.parametrize("status", sorted(http.default_exceptions))
def test_an_http_error_is_what_its_status_is(status: int) -> None:
    error = http.default_exceptions[status](description="canary")
    meaning = classify(error)
    assert (meaning.status, meaning.code) == (status, CODES.get(status, f"HTTP_{status}"))
    assert (meaning.severity == "error") == (status >= 500)
    assert "canary" not in repr(meaning)
    assert set(STATUSES) == set(CODES)


class Odd(http.HTTPException):
    """An application's own, with a status that HTTP does not know."""

    code = 499
    name = "canary"


def test_odd_http_errors_have_a_meaning_too() -> None:
    assert (classify(Odd()).status, classify(Odd()).code) == (499, "HTTP_499")
    assert "canary" not in repr(classify(Odd()))
    assert classify(http.HTTPException()).code == "INTERNAL_ERROR"
    assert classify(http.HTTPException(response=Response("mine", 418))).status == 418
    assert classify(RequestRedirect("/there")).category == "client"
    assert classify(BuildError("view", {}, None, None)).code == "INTERNAL_ERROR"
    odd = Odd()
    odd.code = 1200
    assert classify(odd).status == 500


def test_what_flask_wrapped_is_what_it_wrapped() -> None:
    assert classify(http.InternalServerError(original_exception=socket.gaierror())).category == "network"
    assert classify(http.InternalServerError(original_exception=jwt.ExpiredSignatureError())).status == 401
    # A trapped HTTP error is a defect: the host asked for it.
    assert classify(http.InternalServerError(original_exception=http.NotFound())).status == 500


def test_who_says_when_to_come_back_may_be_asked_again() -> None:
    assert classify(http.ServiceUnavailable(retry_after=7)).retryable
    assert not classify(http.ServiceUnavailable()).retryable
    assert not classify(http.NotFound()).retryable


# -- tokens ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        extended.NoAuthorizationError("canary"),
        extended.RevokedTokenError({}, {}),
        extended.FreshTokenRequired("canary", {}, {}),
        extended.CSRFError("canary"),
        extended.UserLookupError("canary", {}, {}),
        jwt.ExpiredSignatureError("canary"),
        jwt.InvalidAlgorithmError("canary"),
        jwt.DecodeError("canary"),
        jwt.MissingRequiredClaimError("canary"),
        jwt.PyJWKClientError("canary"),
    ],
    ids=repr,
)
def test_a_users_token_is_a_401(error: Exception) -> None:
    meaning = classify(error)
    assert (meaning.status, meaning.code, meaning.category) == (401, "AUTHENTICATION_REQUIRED", "authentication")
    assert "canary" not in repr(meaning)


@pytest.mark.parametrize("error", [jwt.InvalidKeyError(), jwt.PyJWKError(), jwt.PyJWKSetError("x")], ids=repr)
def test_our_own_key_is_our_own_defect(error: Exception) -> None:
    assert (classify(error).status, classify(error).severity) == (500, "critical")


def test_an_issuer_that_cannot_be_reached_is_the_network() -> None:
    assert classify(jwt.PyJWKClientConnectionError("x")).category == "network"


def test_a_host_without_a_key_is_no_users_fault(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")
    JWTManager(app)
    app.add_url_rule("/", view_func=jwt_required()(lambda: "in"))
    client = adopt(app).test_client()
    token = jwt.encode({"sub": "me"}, "0123456789abcdef0123456789abcdef", "HS256")
    assert client.get("/").status_code == 401  # the host's own answer: no token
    assert client.get("/", headers={"Authorization": f"Bearer {token}"}).status_code == 500


# -- the network -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        BrokenPipeError(),
        TimeoutError(),
        socket.gaierror(),
        ssl.SSLError(),
        ssl.SSLEOFError(),
        OSError(errno.EHOSTUNREACH, "x"),
    ],
    ids=repr,
)
def test_a_call_to_the_outside_that_fails_is_the_network(error: Exception) -> None:
    meaning = classify(error)
    assert (meaning.category, meaning.status, meaning.code) == ("network", 500, "INTERNAL_ERROR")
    assert (meaning.transient, meaning.retryable, meaning.outcome) == (True, False, "unknown")


def test_a_certificate_does_not_become_right_by_asking_again() -> None:
    assert not classify(ssl.SSLCertVerificationError()).transient


def test_an_idempotent_call_to_the_outside_is_tried_again_and_another_is_not() -> None:
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionResetError
        return "there"

    recovery = Recovery(Classifier(), None, retries=3, base=1.0, sleep=lambda seconds: None)  # type: ignore[arg-type]
    assert recovery.run(call, idempotent=True) == "there"
    calls.clear()
    with pytest.raises(ConnectionResetError):
        recovery.run(call)
    assert calls == [1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EROFS])
def test_a_full_disk_or_table_of_files_is_critical(number: int) -> None:
    assert (classify(OSError(number, "x")).severity, classify(OSError(number, "x")).category) == ("critical", "unknown")


def test_a_missing_file_is_a_defect_and_no_memory_is_critical() -> None:
    assert classify(FileNotFoundError(errno.ENOENT, "x")).severity == "error"
    assert not classify(PermissionError()).transient
    assert classify(MemoryError()).severity == "critical"
    assert classify(RecursionError()).status == 500


# -- bodies ----------------------------------------------------------------------------------------------------------------


class Broken(RawIOBase):
    """A client whose connection breaks while its body is read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise self._error


@pytest.fixture
def host(adopt: Callable[..., Flask]) -> Any:
    app = Flask("host")

    @app.post("/<what>")
    def read(what: str) -> Any:
        if what == "call":  # reads the body, and then calls somebody who hangs up
            request.get_data()
            raise ConnectionResetError
        if what == "stream":
            return {"length": len(request.stream.read())}
        return {"value": str(request.get_json() if what == "json" else request.form)[:9]}

    return adopt(app, app_env="production").test_client()


def send(host: Any, path: str, stream: Any, *, length: int | None = None, kind: str = "application/json") -> Any:
    """Post with ``stream`` as the server's input; without a length it says itself where it ends."""
    end = {"wsgi.input_terminated": True} if length is None else {"CONTENT_LENGTH": str(length)}
    return host.post(path, content_type=kind, environ_overrides={"wsgi.input": stream, **end})


def reset_connection() -> socket.socket:
    """A socket whose other end has gone away with a reset."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    return ours


@pytest.mark.parametrize("path", ["/json", "/form", "/stream"])
@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), OSError()], ids=repr)
def test_a_client_that_goes_away_while_its_body_is_read_is_a_400(host: Any, path: str, error: Exception) -> None:
    kind = "application/x-www-form-urlencoded" if path == "/form" else "application/json"
    response = send(host, path, Broken(error), length=10, kind=kind)
    assert (response.status_code, response.get_json()["code"]) == (400, "MALFORMED_REQUEST")


def test_the_same_error_of_the_views_own_call_is_a_500(host: Any) -> None:
    # The control of the test above, behind the same view.
    assert send(host, "/call", BytesIO(b"{}"), length=2).status_code == 500


@pytest.mark.parametrize("data", [b"zz\r\n{}", b"2;\x00\r\n{}\r\n", b"2\r\n{}xx", b"5\r\n{}"])
def test_a_broken_chunk_in_a_host_is_a_400(host: Any, data: bytes) -> None:
    reader = ChunkedReader(type("Request", (), {"trailers": []})(), IterUnreader(iter([data])))
    stream = type("Input", (), {"read": lambda self, size=-1: reader.read(1024)})()
    response = send(host, "/stream", stream)
    assert response.headers["Connection"] == "close"  # what follows on it is no request
    assert (response.status_code, response.get_json()["code"]) == (400, "MALFORMED_REQUEST"), response.text


@pytest.mark.parametrize("path", ["/json", "/stream"])
@pytest.mark.parametrize("late", [False, True])
def test_gunicorns_readers_are_known_by_their_frames(host: Any, path: str, late: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = socket.create_connection(server.getsockname(), timeout=0.01)
        with silent, reset_connection() as gone:
            reader = SocketUnreader(silent if late else gone)
            response = send(host, path, Body(LengthReader(reader, 10)))
    assert (response.status_code, response.get_json()["code"]) == (400, "MALFORMED_REQUEST")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (gunicorn.NoMoreData(), 400),
        (gunicorn.InvalidChunkSize(b"canary"), 400),
        (gunicorn.ChunkMissingTerminator(b"canary"), 400),
        (gunicorn.ConfigurationProblem("x"), 500),
        (gunicorn.InvalidResponseHeader("x"), 500),
        (http.ClientDisconnected(), 400),
    ],
    ids=repr,
)
def test_gunicorns_own_errors_are_known_by_name(error: Exception, status: int) -> None:
    assert classify(error).status == status
    if status == 400:
        assert classify(error).category == "network"


def test_json_that_is_too_deep_is_a_400_in_a_host_and_any_other_recursion_is_not(host: Any) -> None:
    deep = b"[" * 200_000
    assert send(host, "/json", BytesIO(deep), length=len(deep)).status_code == 400
    assert send(host, "/json", BytesIO(b"[[1]]"), length=5).status_code == 200
    with pytest.raises(RecursionError) as caught:
        json.loads(deep)
    assert classify(caught.value).status == 500  # not of a request


def test_a_number_of_five_thousand_digits_is_a_400_in_a_host(host: Any) -> None:
    assert send(host, "/json", BytesIO(b"1" * 5000), length=5000).status_code == 400


@pytest.mark.parametrize(
    "body",
    ['{"$oid":"zz"}', '{"$binary":"a"}', '{"$numberDecimal":"NaNx"}', '{"$timestamp":{"t":"a"}}', '{"$dbPointer":1}'],
)
def test_what_flask_pymongos_json_cannot_read_is_the_clients(adopt: Callable[..., Flask], body: str) -> None:
    from flask_pymongo.helpers import BSONProvider

    app = Flask("host")
    app.json = BSONProvider(app)
    app.add_url_rule("/", view_func=lambda: str(request.get_json())[:3], methods=["POST"])
    client = adopt(app, app_env="production").test_client()
    assert client.post("/", data=body, content_type="application/json").status_code in (400, 422)
    assert client.post("/", data="{}", content_type="application/json").status_code == 200


def test_a_hosts_broken_reader_is_the_hosts_own_defect(adopt: Callable[..., Flask]) -> None:
    app = Flask("host")
    app.json.loads = lambda text, **_: {}["key"]  # type: ignore[method-assign,misc]
    app.add_url_rule("/", view_func=lambda: str(request.get_json())[:3], methods=["POST"])
    client = adopt(app, app_env="production").test_client()
    assert client.post("/", data="{}", content_type="application/json").status_code == 500
