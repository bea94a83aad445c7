"""The outermost layer: streams and teardown functions that fail, in the served application and in a host."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from flask import Flask, Response
from flask.sessions import SecureCookieSessionInterface

from blueprints import notes
from prodfix import make_token
from prodfix.blueprints import diagnostics, health, operations
from prodfix.request import deadlines
from prodfix.request.context import current_context
from prodfix.web.application import Application


class Asked:
    """One request straight into the WSGI application, as a server makes it."""

    def __init__(self, app: Flask, path: str) -> None:
        self.heads: list[tuple[str, dict[str, str]]] = []
        self.parts: list[bytes] = []
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.input": io.BytesIO(),
            "wsgi.url_scheme": "http",
            "HTTP_X_REQUEST_ID": "request-1",
        }
        body = app(environ, self._start)
        try:
            for part in body:
                self.parts.append(part)
        finally:
            getattr(body, "close", lambda: None)()

    def _start(self, status: str, headers: list[tuple[str, str]], error: Any = None) -> None:
        self.heads.append((status, dict(headers)))

    @property
    def answer(self) -> Any:
        return orjson.loads(b"".join(self.parts))


def failing_stream(parts: int) -> Callable[[], Response]:
    def view() -> Response:
        def made() -> Iterator[bytes]:
            for _ in range(parts):
                yield b"part"
            raise ValueError("in the stream")

        return Response(made())

    return view


def plug(app: Flask) -> Flask:
    app.add_url_rule("/stream/0", "stream0", failing_stream(0))
    app.add_url_rule("/stream/1", "stream1", failing_stream(1))
    app.add_url_rule("/fine", "fine", lambda: "fine")
    app.add_url_rule("/list", "list", lambda: Response([b"a", b"b"]))
    app.add_url_rule("/generated", "generated", lambda: Response(part for part in (b"a", b"b")))
    app.add_url_rule("/empty", "empty", lambda: Response(iter(())))
    return app


@pytest.fixture
def served(serve: Callable[..., Application]) -> Flask:
    return plug(serve([], app_env="production"))


@pytest.fixture
def host(adopt: Callable[..., Flask]) -> Flask:
    return plug(adopt(enable_diagnostics=False))


def errors(app: Flask) -> dict[str, int]:
    by_endpoint: dict[str, int] = (
        app.extensions["prodfix"].requests.statistics.read("1h").statistics().to_json()["errorsByEndpoint"]
    )
    return by_endpoint


@pytest.mark.parametrize(
    ("path", "body"), [("/fine", b"fine"), ("/list", b"ab"), ("/generated", b"ab"), ("/empty", b"")]
)
def test_what_does_not_fail_is_as_without_us(served: Flask, path: str, body: bytes) -> None:
    asked = Asked(served, path)
    assert [head[0] for head in asked.heads] == ["200 OK"]
    assert (b"".join(asked.parts), asked.heads[0][1]["X-Request-ID"]) == (body, "request-1")


def test_a_stream_that_fails_at_once_becomes_an_answer(served: Flask) -> None:
    asked = Asked(served, "/stream/0")
    ((status, headers),) = asked.heads
    assert (status, headers["Content-Type"]) == (
        "500 INTERNAL SERVER ERROR".title().replace("Server", "Server"),
        "application/json",
    )
    assert (asked.answer["code"], asked.answer["requestId"]) == ("INTERNAL_ERROR", "request-1")
    assert headers["X-Request-ID"] == "request-1"
    assert errors(served) == {"/stream/0": 1}


def test_a_stream_that_fails_later_is_cut(served: Flask) -> None:
    with pytest.raises(ConnectionResetError) as cut:
        Asked(served, "/stream/1")
    assert isinstance(cut.value.__cause__, ValueError)
    assert errors(served) == {"/stream/1": 1}


@pytest.mark.parametrize("path", ["/stream/0", "/stream/1"])
def test_in_a_host_the_exception_goes_on_and_is_recorded(host: Flask, path: str) -> None:
    with pytest.raises(ValueError, match="in the stream"):
        Asked(host, path)
    assert errors(host) == {path: 1}


@pytest.mark.parametrize("switch", ["TESTING", "DEBUG", "PROPAGATE_EXCEPTIONS"])
def test_where_flask_lets_exceptions_through_so_do_we(served: Flask, switch: str) -> None:
    served.config[switch] = True
    with pytest.raises(ValueError, match="in the stream"):
        Asked(served, "/stream/0")


def test_a_teardown_function_that_fails_leaves_the_answer_alone(served: Flask) -> None:
    @served.teardown_request
    def fail(error: BaseException | None) -> None:
        raise ValueError("at the end")

    asked = Asked(served, "/fine")
    assert (asked.heads[0][0], asked.parts) == ("200 OK", [b"fine"])
    assert errors(served) == {"/fine": 1}


def test_in_a_host_a_teardown_function_fails_as_without_us(host: Flask) -> None:
    @host.teardown_appcontext
    def fail(error: BaseException | None) -> None:
        raise ValueError("at the end")

    with pytest.raises(ValueError, match="at the end"):
        Asked(host, "/fine")
    assert errors(host) == {"/fine": 1}


@pytest.mark.parametrize("application", ["served", "host"])
def test_nothing_of_a_request_stays_whatever_its_teardown_does(
    application: str, request: pytest.FixtureRequest
) -> None:
    app: Flask = request.getfixturevalue(application)
    app.teardown_request(lambda error: 1 / 0)
    try:
        Asked(app, "/fine")
    except ZeroDivisionError:
        assert application == "host"
    assert (current_context(), deadlines.remaining()) == (None, None)


def test_parts_are_made_in_the_context_of_their_request_and_nothing_of_it_stays(served: Flask) -> None:
    seen: list[Any] = []

    @served.get("/context")
    def view() -> Response:
        def made() -> Iterator[bytes]:
            for _ in range(2):
                context = current_context()
                seen.append(context.request_id if context else None)
                yield b"."

        response = Response(made())
        response.call_on_close(lambda: seen.append(bool(current_context())))
        return response

    Asked(served, "/context")
    assert (seen, current_context()) == (["request-1", "request-1", True], None)


def view_of(served: Flask, path: str, view: Callable[[], Any]) -> None:
    served.add_url_rule(path, path.strip("/"), view)


@pytest.mark.parametrize("kind", [BaseException, SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_no_exception_is_answered_and_recorded_too(
    served: Flask, kind: type[BaseException], streamed: bool
) -> None:
    def view() -> Any:
        def made() -> Iterator[bytes]:
            raise kind("out")
            yield b""

        return Response(made()) if streamed else next(made())

    view_of(served, "/out", view)
    asked = Asked(served, "/out")
    assert (asked.heads[0][0], asked.answer["code"]) == ("500 Internal Server Error", "INTERNAL_ERROR")
    assert errors(served) == {"/out": 1}


def test_a_worker_that_ends_is_not_kept_from_it(served: Flask) -> None:
    def view() -> Any:
        raise SystemExit

    view_of(served, "/out", view)
    served.extensions["prodfix"].start(serving=lambda: False)
    with pytest.raises(SystemExit):
        Asked(served, "/out")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("header", [("X-Name", "\u65e5\u672c"), ("X Name", "a"), ("X-Name", "a\x7f")])
def test_a_header_that_cannot_be_sent_is_an_answer_with_its_own_headers_only(
    served: Flask, header: tuple[str, str], streamed: bool
) -> None:
    def view() -> Response:
        response = Response(iter([b"part"]) if streamed else b"whole")
        response.headers.add(*header)
        return response

    view_of(served, "/header", view)
    asked = Asked(served, "/header")
    ((status, headers),) = asked.heads
    assert (status, headers["Content-Length"]) == ("500 Internal Server Error", str(len(b"".join(asked.parts))))
    assert (asked.answer["requestId"], errors(served)) == ("request-1", {"/header": 1})


def test_a_part_that_is_not_bytes_is_an_error_before_anything_is_sent(served: Flask) -> None:
    def view() -> Response:
        response = Response()
        response.response, response.direct_passthrough = iter([{"a": 1}]), True  # type: ignore[assignment]
        return response

    view_of(served, "/odd", view)
    assert Asked(served, "/odd").answer["code"] == "INTERNAL_ERROR"


@pytest.mark.parametrize("application", ["served", "host"])
def test_each_request_is_counted_once_with_the_status_that_was_sent(
    application: str, request: pytest.FixtureRequest
) -> None:
    app: Flask = request.getfixturevalue(application)

    @app.after_request
    def fail(response: Response) -> Response:
        raise ValueError("after the view")

    for path in ("/fine", "/stream/0", "/nowhere"):
        try:
            Asked(app, path)
        except ValueError:
            assert application == "host"
    del app.after_request_funcs[None][-1]
    for path in ("/stream/0", "/generated"):
        try:
            Asked(app, path)
        except ValueError:
            assert application == "host"
    services = app.extensions["prodfix"]
    services.requests.counters.flush()
    answer = services.requests.statistics.read("1h").statistics().to_json()
    assert (answer["requests"], answer["failedRequests"]) == (5, 4)


@pytest.mark.parametrize(
    ("path", "status", "failed"), [("/fine", "200 OK", 0), ("/generated", "200 OK", 0), ("/sick", "503", 1)]
)
def test_a_middleware_that_is_a_generator_is_asked_for_its_first_part_before_its_status_is_known(
    adopt: Callable[..., Flask], path: str, status: str, failed: int
) -> None:
    host = plug(Flask("host"))
    host.add_url_rule("/sick", "sick", lambda: ("sick", 503))
    inner, closed = host.wsgi_app, []

    def lazy(environ: Any, start_response: Any) -> Iterator[bytes]:
        body = inner(environ, start_response)
        try:
            yield from body
        finally:
            closed.append(path)

    host.wsgi_app = lazy  # type: ignore[method-assign,assignment]
    asked = Asked(adopt(host, enable_diagnostics=False), path)
    assert asked.heads[0][0].startswith(status)
    assert asked.heads[0][1]["X-Request-ID"] == "request-1"
    assert asked.parts == {"/fine": [b"fine"], "/generated": [b"a", b"b"], "/sick": [b"sick"]}[path]
    assert closed == [path]
    services = host.extensions["prodfix"]
    services.requests.counters.flush()
    answer = services.requests.statistics.read("1h").statistics().to_json()
    assert (answer["requests"], answer["failedRequests"], answer["totalErrors"]) == (1, failed, failed)


def test_until_something_is_sent_a_stream_has_its_requests_deadline(python: Callable[..., str]) -> None:
    printed = python("""
        from gevent import monkey; monkey.patch_all()
        import io, json, sys, tempfile, time
        from pathlib import Path
        from flask import Blueprint, Response
        from prodfix import Settings, create_app, deadline

        blueprint = Blueprint("slow", __name__)
        def slow(first, then):
            def view():
                def made():
                    time.sleep(first)
                    yield b"part"
                    time.sleep(then)
                    yield b"end"
                return Response(made())
            return view
        blueprint.add_url_rule("/late", "late", slow(30, 0))
        blueprint.add_url_rule("/early", "early", slow(0, 0.6))
        blueprint.add_url_rule("/exempt", "exempt", deadline(None)(slow(0.6, 0)))
        folder = Path(tempfile.mkdtemp())
        app = create_app(Settings(app_env="production", state_dir=folder, log_dir=folder / "log", request_deadline_ms=300,
                                  jwt_secret_key="k" * 40), [blueprint])
        app.extensions["prodfix"].logs.sinks.replace(type("Null", (), {"name": "console", "write": lambda s, d: None})())
        def ask(path):
            begun, heads = time.monotonic(), []
            environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "x", "SERVER_PORT": "80",
                       "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.input": io.BytesIO(), "wsgi.url_scheme": "http"}
            body = b"".join(app(environ, lambda *head: heads.append(head[0])))
            print(heads[0][:3], body[:8].decode() if b"code" not in body else json.loads(body)["code"],
                  time.monotonic() - begun < 10)
        for path in ("/late", "/early", "/exempt"):
            ask(path)
        app.extensions["prodfix"].close()
    """)
    assert printed.splitlines() == ["504 DEADLINE_EXCEEDED True", "200 partend True", "200 partend True"]


# -- what is counted --------------------------------------------------------------------------------------------------------


def counted(app: Flask) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Requests and failed ones, and errors, of each endpoint."""
    services = app.extensions["prodfix"]
    services.requests.counters.flush()
    counts = services.requests.statistics.read("1h").counts
    return {name: [one.requests, one.failed] for name, one in counts.routes.items()}, counts.errors_by(2)


def test_an_applications_own_routes_below_health_are_counted_and_health_checks_are_not(
    serve: Callable[..., Application],
) -> None:
    app = serve([health])
    app.add_url_rule("/health/steps/<int:day>", "steps", lambda day: f"{day}")
    app.add_url_rule("/health/boom", "boom", lambda: 1 / 0)
    client = app.test_client()
    for path in ("live", "ready", "startup", "db"):
        for method in ("GET", "HEAD", "OPTIONS"):
            client.open(f"/health/{path}", method=method)
    assert counted(app) == ({}, {})
    for path in ("steps/1", "steps/2", "boom"):
        client.get(f"/health/{path}")
    assert counted(app) == ({"/health/steps/<int:day>": [2, 0], "/health/boom": [1, 1]}, {"/health/boom": 1})


def test_a_health_check_that_is_refused_is_an_error_of_a_request(serve: Callable[..., Application]) -> None:
    app = serve([health])
    for path in ("live?verbose", "db?verbose", "live"):
        app.test_client().get(f"/health/{path}")
    assert counted(app) == ({"/health/live": [1, 0], "/health/db": [1, 0]}, {"/health/live": 1, "/health/db": 1})


@pytest.mark.parametrize("blueprints", [[diagnostics, health, operations, notes], [health]])
def test_there_are_no_errors_without_requests(serve: Callable[..., Application], blueprints: list[Any]) -> None:
    app = serve(blueprints)
    app.add_url_rule("/boom", "boom", lambda: 1 / 0)
    client, token = (
        app.test_client(),
        make_token(app.extensions["prodfix"].settings, role="admin", lifetime=timedelta(minutes=5)),
    )
    headers = ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {token}"})
    paths = ("/", "/boom", "/health/live?verbose", "/health/nothing", "/api/v1/diagnostics", "/api/v1/diagnostics/nothing",
             "/api/v1/diagnostics/errors?timeRange=2h", "/api/v1/diagnostics/errors", "/diagnostics/sign-in",
             "/api/v1/operations/x", "/api/v1/notes")  # fmt: skip
    for path in paths:
        for method in ("GET", "POST", "DELETE"):
            for who in headers:
                client.open(path, method=method, headers=who, data={"token": "x"} if "sign-in" in path else None)
    requests, failures = counted(app)
    assert all(requests[endpoint][0] >= number for endpoint, number in failures.items())
    assert sum(failures.values()) >= 20


def session_that_cannot_be_opened(app: Flask) -> None:
    class Sessions(SecureCookieSessionInterface):
        def open_session(self, app: Any, request: Any) -> Any:
            raise RuntimeError("no store of sessions")

    app.session_interface = Sessions()


def preprocessor_that_fails(app: Flask) -> None:
    @app.url_value_preprocessor
    def fail(endpoint: str | None, values: Any) -> None:
        raise RuntimeError("before our hook")


@pytest.mark.parametrize("prepare", [session_that_cannot_be_opened, preprocessor_that_fails])
def test_what_fails_before_our_hook_is_a_failed_request_too(
    serve: Callable[..., Application], prepare: Callable[[Flask], None]
) -> None:
    app = plug(serve([], app_env="production"))
    prepare(app)
    app.extensions["prodfix"].start()
    assert Asked(app, "/fine").heads[0][0].startswith("500")
    requests, failures = counted(app)
    assert requests in ({"unmatched": [1, 1]}, {"/fine": [1, 1]})
    assert sum(failures.values()) == 1
