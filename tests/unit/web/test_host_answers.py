"""Every 5xx is found by its ID, whoever answered it: with its exception where there was one, else thinly."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, abort, current_app
from pymongo.errors import DuplicateKeyError
from werkzeug.exceptions import InternalServerError

from prodfix import current_context, current_prodfix, uncounted
from prodfix.records.records import ErrorRecord
from prodfix.request.notes import Notes
from prodfix.signals import error_recorded
from prodfix.web.host_answers import RAISED, UNRECORDED


class Domain(Exception):
    """An error of the application's own."""


def made() -> Flask:
    app = Flask("host")
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/raise/<name>")
    def fail(name: str) -> None:
        raise {"defect": ValueError, "domain": Domain, "duplicate": DuplicateKeyError}[name]("canary")

    @app.get("/return/<int:status>")
    def answer(status: int) -> tuple[str, int]:
        return "the host's own", status

    @app.get("/caught")
    def caught() -> tuple[str, int]:
        try:
            fail("defect")
        except ValueError:
            return "caught", 503
        return "never", 200

    @app.get("/logged")
    def logged() -> tuple[str, int]:
        try:
            fail("defect")
        except ValueError as error:
            current_prodfix.errors.log.log_error(error)
        return "logged", 503

    @app.get("/stream")
    def stream() -> Response:
        return Response((part for part in (b"a", b"b")), 503)

    app.add_url_rule("/abort/<int:code>", "give_up", abort)
    app.add_url_rule("/response", "response", lambda: abort(Response("made", 502)))
    return app


class Seen:
    """One request, and what was recorded of it."""

    def __init__(self, app: Flask, path: str) -> None:
        records: list[ErrorRecord] = []
        log = app.extensions["prodfix"].errors.log
        with error_recorded.connected_to(lambda sender, record: records.append(record), sender=log):
            self.answer = app.test_client().get(path)
            self.text = self.answer.text
        self.records = records

    @property
    def told(self) -> list[tuple[str, int, str, str | None]]:
        """Of each record the kind, the status, the category, and who has answered."""
        return [
            (one.error_type, one.status, str(one.meaning.category), one.answered.by if one.answered else None)
            for one in self.records
        ]


@pytest.fixture
def host(adopt: Callable[..., Flask]) -> Iterator[Flask]:
    return adopt(made(), app_env="production")


def handle(status: int) -> Callable[[Any], tuple[str, int]]:
    return lambda error: ("mine", status)


@pytest.mark.parametrize("kind", [Exception, "own", 500, InternalServerError], ids=str)
@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize(
    ("name", "kind_of_error", "category"),
    [
        ("defect", ValueError, "unknown"),
        ("domain", Domain, "unknown"),
        ("duplicate", DuplicateKeyError, "duplicate_key"),
    ],
)
def test_a_hosts_handler_answers_and_its_exception_is_recorded_with_the_status_that_was_sent(
    host: Flask, kind: Any, status: int, name: str, kind_of_error: type[Exception], category: str
) -> None:
    kind = kind_of_error if kind == "own" else kind
    host.register_error_handler(kind, handle(status))
    seen = Seen(host, f"/raise/{name}")
    if kind_of_error is DuplicateKeyError and kind in (500, InternalServerError):
        # Such a handler is for what nobody handles, and this is handled: by us, with 409.
        assert seen.told == [("DuplicateKeyError", 409, category, "prodfix")]
        return
    assert (seen.answer.status_code, seen.text) == (status, "mine")
    assert seen.told == [(kind_of_error.__name__, status, category, "host")]
    (record,) = seen.records
    assert record.request_id == seen.answer.headers["X-Request-ID"]
    assert record.places[-1].endswith("test_host_answers.py:fail")
    assert (record.meaning.severity, record.disposition) == ("error", "stored")


@pytest.mark.parametrize("kind", [Exception, ValueError, Domain], ids=str)
def test_what_the_host_makes_no_failure_of_is_none(host: Flask, kind: type[Exception]) -> None:
    host.register_error_handler(kind, handle(409))
    for name in ("defect", "domain", "duplicate"):
        if issubclass({"defect": ValueError, "domain": Domain, "duplicate": DuplicateKeyError}[name], kind):
            seen = Seen(host, f"/raise/{name}")
            assert (seen.answer.status_code, seen.told) == (409, [])


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/return/500", [("Response", 500, "unknown", "host")]),
        ("/return/503", [("Response", 503, "unknown", "host")]),
        ("/return/599", [("Response", 599, "unknown", "host")]),
        ("/return/499", []),
        ("/return/200", []),
        ("/caught", [("Response", 503, "unknown", "host")]),
        ("/stream", [("Response", 503, "unknown", "host")]),
        ("/response", [("HTTPException", 502, "unknown", "host")]),
        ("/abort/503", [("ServiceUnavailable", 503, "unknown", "prodfix")]),
        ("/logged", [("ValueError", 500, "unknown", None)]),
        ("/nope", [("NotFound", 404, "client", "prodfix")]),
    ],
)
def test_what_a_view_answers_itself_is_recorded_once_if_it_is_a_failure(
    host: Flask, path: str, told: list[Any]
) -> None:
    assert Seen(host, path).told == told


def test_a_thin_record_has_the_request_and_what_it_asked_the_database(
    host: Flask, database_uri: str, until: Callable[..., Any]
) -> None:
    from pymongo import MongoClient

    services = host.extensions["prodfix"]
    with MongoClient(database_uri, event_listeners=[services.queries.interceptor]) as client:

        @host.get("/orders/<name>")
        def orders(name: str) -> tuple[str, int]:
            client.get_default_database().orders.find_one({"name": name})
            return "not now", 503

        seen = Seen(host, "/orders/canary-ada")
    (record,) = seen.records
    document = record.to_document()
    assert (document["status"], document["answeredBy"], document["code"]) == (503, "host", "HTTP_503")
    assert document["context"]["endpoint"] == "/orders/<name>"
    assert [one["operation"] for one in document["trail"]] == ["find"]
    assert record.title == "HTTP_503 (Response) in /orders/<name>"
    assert "canary" not in str(document)
    found = services.diagnostics.requests.find(seen.answer.headers["X-Request-ID"])
    assert (found.status, found.code, found.errors[0]["answeredBy"]) == (503, "HTTP_503", "host")
    # Each route has a group of its own.
    assert Seen(host, "/return/503").records[0].fingerprint != record.fingerprint


def test_the_counts_of_failed_requests_and_of_errors_agree(host: Flask) -> None:
    host.register_error_handler(Domain, handle(500))
    paths = [
        "/raise/defect",
        "/raise/domain",
        "/return/503",
        "/caught",
        "/logged",
        "/abort/500",
        "/stream",
        "/return/200",
    ]
    for path in paths:
        Seen(host, path)
    services = host.extensions["prodfix"]
    services.requests.counters.flush()
    found = services.requests.statistics.read("1h").statistics().to_json()
    assert (found["requests"], found["failedRequests"], found["totalErrors"]) == (8, 7, 7)


def test_a_health_check_that_says_503_of_others_is_no_error(host: Flask) -> None:
    @host.get("/health")
    def health() -> tuple[str, int]:
        uncounted()
        return "the database is away", 503

    assert Seen(host, "/health").told == []
    assert Seen(host, "/return/503").told  # the control


def test_what_nobody_counts_is_counted_if_we_are_to_blame_and_not_if_its_client_is(host: Flask) -> None:
    @host.get("/unseen/<int:status>")
    def unseen(status: int) -> None:
        uncounted()
        abort(status)

    counters = host.extensions["prodfix"].requests.counters

    def counted() -> tuple[int, int, int]:
        counters.flush()
        found = host.extensions["prodfix"].requests.statistics.read("1h").statistics().to_json()
        return found["requests"], found["failedRequests"], found["totalErrors"]

    for status in (400, 404, 405, 422):
        Seen(host, f"/unseen/{status}")
    assert counted() == (0, 0, 0)
    Seen(host, "/unseen/403")
    assert counted() == (1, 0, 1), "who was refused"
    Seen(host, "/unseen/500")  # the control
    assert counted() == (2, 1, 2)


def test_what_a_middleware_answers_has_an_id_too(adopt: Callable[..., Flask]) -> None:
    app = made()
    inner = app.wsgi_app

    def shedding(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/shed":
            return inner(environ, start_response)
        start_response("503 Service Unavailable", [("Content-Length", "4")])
        return [b"busy"]

    app.wsgi_app = shedding  # type: ignore[method-assign,assignment]
    seen = Seen(adopt(app), "/shed")
    assert (seen.text, seen.told) == ("busy", [("Response", 503, "unknown", "host")])
    assert seen.records[0].request_id == seen.answer.headers["X-Request-ID"]


def test_an_extension_with_its_own_way_with_errors_is_a_host_too(host: Flask) -> None:
    # As Flask-RESTful and -RESTX do: around what Flask does with an exception, after us.
    host.handle_user_exception = lambda error: current_app.make_response(("their own", 500))  # type: ignore
    seen = Seen(host, "/raise/domain")
    assert (seen.text, seen.told) == ("their own", [("Domain", 500, "unknown", "host")])


def test_switched_off_nothing_is_recorded(adopt: Callable[..., Flask]) -> None:
    app = adopt(made(), enable_error_handler=False)
    app.register_error_handler(Domain, handle(500))
    for path in ("/return/503", "/raise/domain", "/raise/defect"):
        assert Seen(app, path).told == []


def test_a_host_that_logs_in_its_handler_has_one_record(host: Flask) -> None:
    @host.errorhandler(Domain)
    def own(error: Domain) -> tuple[str, int]:
        current_prodfix.errors.log.log_error(error)
        return "mine", 500

    assert [one[0] for one in Seen(host, "/raise/domain").told] == ["Domain"]
    assert [one[0] for one in Seen(host, "/raise/domain").told] == ["Domain"]  # and so has its next request


def test_an_exception_that_is_raised_again_and_again_is_recorded_each_time(host: Flask) -> None:
    error = Domain("one for all")
    host.register_error_handler(Domain, handle(500))

    @host.get("/same")
    def same() -> None:
        raise error

    assert [Seen(host, "/same").told for _ in range(3)] == [[("Domain", 500, "unknown", "host")]] * 3


@pytest.mark.parametrize("path", ["/raise/defect", "/raise/domain", "/return/503", "/abort/404"])
def test_nothing_of_an_error_outlives_its_request(host: Flask, path: str) -> None:
    host.register_error_handler(Domain, handle(500))
    environs: list[dict[str, Any]] = []
    inner = host.wsgi_app
    host.wsgi_app = lambda environ, head: environs.append(environ) or inner(environ, head)  # type: ignore
    gc.collect()
    Seen(host, path)
    assert not {RAISED, UNRECORDED} & set(environs[0])


def test_what_cannot_be_looked_at_is_counted_and_the_answer_stands(
    host: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = host.extensions["prodfix"].errors.log

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(type(log), "log_answer", broken)
    before = log.failures
    assert Seen(host, "/return/503").answer.status_code == 503
    assert log.failures == before + 1


def test_a_request_that_goes_well_notes_nothing_of_this(host: Flask) -> None:
    kept: list[Notes] = []

    @host.get("/fine")
    def fine() -> str:
        context = current_context()
        assert context is not None
        kept.append(context.notes)
        return "fine"

    Seen(host, "/fine")
    assert "stored" not in vars(kept[0])
