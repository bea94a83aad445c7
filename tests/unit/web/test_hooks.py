"""Before, after and at the end of a request: an ID for every answer, and nothing of it is left for the next one."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, request
from pymongo import _csot

from prodfix import current_context, deadline
from prodfix.request import deadlines


@pytest.fixture
def host(adopt: Callable[..., Flask]) -> Flask:
    app = Flask("host")

    @app.route("/notes/<name>", methods=["GET", "POST"])
    def show(name: str) -> dict[str, Any]:
        context = current_context()
        assert context is not None
        return {**context.to_json(), "remaining": deadlines.remaining(), "driver": _csot.remaining()}

    @app.get("/fail")
    def fail() -> None:
        raise ValueError

    return app


@pytest.fixture
def client(host: Flask, adopt: Callable[..., Flask]) -> Any:
    return adopt(host).test_client()


@pytest.mark.parametrize("path", ["/notes/a", "/fail", "/nowhere", "/static/none", "/notes"])
def test_every_answer_has_an_identity_of_its_own(client: Any, path: str) -> None:
    first, second = (client.get(path).headers["X-Request-ID"] for _ in range(2))
    assert first != second
    assert len(first) == 32


@pytest.mark.parametrize("offered", ["12345678", "a.b_c-D9", "f" * 64])
def test_a_good_identity_is_kept(client: Any, offered: str) -> None:
    response = client.get("/notes/a", headers={"X-Request-ID": offered})
    assert response.headers["X-Request-ID"] == response.get_json()["requestId"] == offered


@pytest.mark.parametrize(
    "offered", ["", "short", "f" * 65, "with space", "line%0abreak", "<script>alert", "12345678\u00e9"]
)
def test_a_bad_one_is_replaced_and_never_refused(client: Any, offered: str) -> None:
    response = client.get("/notes/a", headers={"X-Request-ID": offered})
    assert (response.status_code, response.headers["X-Request-ID"] == offered) == (200, False)


def test_the_context_has_the_routes_template_and_never_its_values(client: Any) -> None:
    seen = client.get("/notes/canary", headers={"User-Agent": "okhttp/4.12", "X-App-Version": "1.2"}).get_json()
    assert (seen["endpoint"], seen["method"], seen["deviceType"]) == ("/notes/<name>", "GET", "mobile")
    assert "canary" not in str(seen)


def test_a_trace_that_comes_along_is_gone_on_with(client: Any) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    parent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert client.get("/notes/a", headers=parent).get_json()["traceId"] == trace
    assert client.get("/notes/a").get_json()["traceId"] != trace


@pytest.mark.parametrize("path", ["/notes/a", "/fail", "/nowhere"])
def test_nothing_is_left_after_a_request(host: Flask, adopt: Callable[..., Flask], path: str) -> None:
    client = adopt(host, deadline=True).test_client()
    client.get(path)
    assert (current_context(), deadlines.remaining(), _csot.remaining()) == (None, None, None)


def test_without_the_reset_the_next_one_would_see_it(host: Flask, adopt: Callable[..., Flask]) -> None:
    # The control of the test above.
    def leaky() -> object:
        adopt(host)
        del host.do_teardown_request
        host.wsgi_app = host.wsgi_app._inner  # the boundary would do it
        host.test_client().get("/notes/a")
        return current_context()

    assert contextvars.Context().run(leaky) is not None
    assert current_context() is None


def test_a_request_within_a_request_gives_the_outer_one_back(host: Flask, adopt: Callable[..., Flask]) -> None:
    @host.get("/outer")
    def outer() -> list[Any]:
        before = current_context()
        host.test_client().get("/notes/a", headers={"X-Request-ID": "inner-request"})
        assert current_context() is before
        return [before.request_id if before else None]

    client = adopt(host).test_client()
    assert client.get("/outer", headers={"X-Request-ID": "outer-request"}).get_json() == ["outer-request"]
    assert current_context() is None


def test_it_comes_before_the_hosts_own_hooks(host: Flask, adopt: Callable[..., Flask]) -> None:
    seen: list[Any] = []
    host.before_request(lambda: seen.append(current_context()))
    adopt(host).test_client().get("/notes/a")
    assert seen[0] is not None


# -- deadlines --------------------------------------------------------------------------------------------------------------


def test_an_adopting_host_has_no_deadline_until_it_asks_for_one(client: Any) -> None:
    assert client.get("/notes/a").get_json()["remaining"] is None


@pytest.mark.parametrize(("agent", "seconds"), [("curl/8", 10), ("okhttp/4.12", 20)])
def test_mobile_devices_get_more_time(host: Flask, adopt: Callable[..., Flask], agent: str, seconds: int) -> None:
    client = adopt(host, deadline=True, request_deadline_ms=10_000).test_client()
    seen = client.get("/notes/a", headers={"User-Agent": agent}).get_json()
    assert seconds - 1 < seen["remaining"] <= seconds
    assert seen["remaining"] - 0.6 < seen["driver"] < seen["remaining"]  # what is kept for the journal


def test_the_driver_is_cut_with_the_request(host: Flask, adopt: Callable[..., Flask], database: Any, fail: Any) -> None:
    host.add_url_rule("/find", view_func=lambda: str(database.notes.find_one()), endpoint="find")
    fail("find", times=1, blockConnection=True, blockTimeMS=2000)
    client = adopt(host, deadline=True, request_deadline_ms=600).test_client()
    response = client.get("/find")
    assert (response.status_code, response.get_json()["code"]) == (504, "DATABASE_TIMEOUT")


def asked(host: Flask, adopt: Callable[..., Flask], milliseconds: str, **headers: str) -> float:
    client = adopt(host, deadline=True, request_deadline_ms=10_000).test_client()
    sent = {"X-Request-Timeout-Ms": milliseconds, **headers}
    return float(client.get("/notes/a", headers=sent).get_json()["remaining"])


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [("3000", 3), ("0", 0.05), ("49", 0.05), ("10000", 10), ("999999999", 10)]
)
def test_a_client_may_shorten_its_deadline_and_nothing_else(
    host: Flask, adopt: Callable[..., Flask], milliseconds: str, seconds: float
) -> None:
    assert seconds - 0.5 < asked(host, adopt, milliseconds) <= seconds


@pytest.mark.parametrize("nonsense", ["", "-1", "1e3", "3000.5", "soon", "3 000", "\u0663", "9" * 5000])
def test_a_deadline_that_is_none_is_passed_over(host: Flask, adopt: Callable[..., Flask], nonsense: str) -> None:
    assert 9 < asked(host, adopt, nonsense) <= 10


@pytest.mark.parametrize(("milliseconds", "seconds"), [("15000", 15), ("25000", 20)])
def test_a_mobile_client_may_shorten_its_longer_one(
    host: Flask, adopt: Callable[..., Flask], milliseconds: str, seconds: float
) -> None:
    phone = {"User-Agent": "okhttp/4.12"}
    assert seconds - 1 < asked(host, adopt, milliseconds, **phone) <= seconds


def seen() -> dict[str, Any]:
    return {"remaining": deadlines.remaining(), "driver": _csot.remaining()}


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("above", [True, False])
def test_a_view_may_have_a_deadline_of_its_own_or_none(
    adopt: Callable[..., Flask], everywhere: bool, above: bool
) -> None:
    app, blueprint = Flask("host"), Blueprint("reports", __name__, url_prefix="/reports")
    for name, seconds in (("long", 300), ("none", None)):
        route, own = blueprint.get(f"/{name}", endpoint=name), deadline(seconds)

        def view() -> dict[str, Any]:
            return seen()

        own(route(view)) if above else route(own(view))
    app.register_blueprint(blueprint)
    app.add_url_rule("/plain", view_func=seen)
    client = adopt(app, deadline=everywhere, request_deadline_ms=10_000).test_client()
    long = client.get("/reports/long").get_json()
    assert 299 < long["remaining"] <= 300
    assert 298.5 < long["driver"] < 299.6
    assert client.get("/reports/none").get_json() == {"remaining": None, "driver": None}
    assert client.get("/reports/none", headers={"X-Request-Timeout-Ms": "100"}).get_json()["remaining"] is None
    assert (client.get("/plain").get_json()["remaining"] is not None) == everywhere
    assert client.get("/nowhere").status_code == 404


def test_a_views_deadline_ends_it_under_gevent_in_any_host_and_an_exempt_one_is_not_ended(
    python: Callable[..., str], tmp_path: Any
) -> None:
    code = """
    from gevent import monkey; monkey.patch_all()
    import logging, sys, time
    from flask import Flask
    from prodfix import ProdFix, Settings, deadline

    logging.disable()
    app = Flask("host")

    def wait():
        time.sleep(0.4)
        return "waited"

    for name, seconds in (("cut", 0.2), ("long", 5), ("exempt", None)):
        app.add_url_rule("/" + name, name, deadline(seconds)(lambda: wait()))
    app.add_url_rule("/plain", "plain", wait)
    for everywhere in (False, True):
        settings = Settings(app_env="development", state_dir=sys.argv[1], log_dir=sys.argv[1], request_deadline_ms=200)
        host = Flask("host")
        for rule in ("cut", "long", "exempt", "plain"):
            host.add_url_rule("/" + rule, rule, app.view_functions[rule])
        extension = ProdFix(host, settings=settings, deadline=everywhere)
        print([host.test_client().get(path).status_code for path in ("/cut", "/long", "/exempt", "/plain")])
        extension.services.close()
    """
    assert python(code, tmp_path).splitlines()[-2:] == ["[504, 200, 200, 200]", "[504, 200, 200, 504]"]


class Broken:
    """A request's body that ends too soon, as gunicorn tells it."""

    def read(self, size: int = -1) -> bytes:
        raise OSError("InvalidChunkSize")

    readline = read


def test_a_body_that_breaks_off_is_the_clients_fault(host: Flask, adopt: Callable[..., Flask]) -> None:
    client = adopt(host, deadline=True).test_client()
    response = client.post("/notes/a", environ_overrides={"wsgi.input": Broken(), "CONTENT_LENGTH": "10"})
    assert (response.status_code, response.get_json()["code"]) == (400, "MALFORMED_REQUEST")
    assert response.headers["Connection"] == "close"
    assert response.headers["X-Request-ID"]


def test_a_body_is_read_before_the_view_and_still_there_for_it(host: Flask, adopt: Callable[..., Flask]) -> None:
    host.add_url_rule("/echo", view_func=lambda: bytes(request.get_data()), methods=["POST"], endpoint="echo")
    host.add_url_rule("/form", view_func=lambda: request.form["a"], methods=["POST"], endpoint="form")
    client = adopt(host, deadline=True).test_client()
    assert client.post("/echo", data=b"hello").data == b"hello"
    assert client.post("/form", data={"a": "b"}).data == b"b"


def test_a_body_that_does_not_arrive_is_given_up_under_gevent(python: Callable[..., str], tmp_path: Any) -> None:
    code = """
    from gevent import monkey; monkey.patch_all()
    import sys, time, gevent
    from flask import Flask
    from prodfix import ProdFix, Settings

    class Slow:
        def read(self, size=-1):
            gevent.sleep(20)
        readline = read

    app = Flask("host")
    app.add_url_rule("/", view_func=lambda: "read", methods=["POST"])
    settings = Settings(app_env="development", state_dir=sys.argv[1], log_dir=sys.argv[1], body_timeout_ms=200)
    extension = ProdFix(app, settings=settings, deadline=True)
    begun = time.monotonic()
    response = app.test_client().post("/", environ_overrides={"wsgi.input": Slow(), "CONTENT_LENGTH": "10"})
    print(response.status_code, response.get_json()["code"], response.headers["Connection"], time.monotonic() - begun < 10)
    extension.services.close()
    """
    assert python(code, tmp_path).split() == ["408", "REQUEST_TIMEOUT", "close", "True"]
    hurried = code.replace("body_timeout_ms=200", "body_timeout_ms=5000, request_deadline_ms=200")
    assert python(hurried, tmp_path).split() == ["408", "REQUEST_TIMEOUT", "close", "True"], (
        "it spends from the deadline"
    )
