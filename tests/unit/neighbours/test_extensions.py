"""Extensions that other hosts have, each attached before and after prodfix: as without us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, jsonify, request
from flask.views import MethodView

from prodfix import ProdFix
from tests.unit.neighbours.comparing import ask_all, ask_recorded, neighbour

pytestmark = pytest.mark.filterwarnings("ignore")  # of theirs

ORIGIN = {"Origin": "https://app.example"}
COMMON: list[dict[str, Any]] = [
    {"path": "/plain"},
    {"path": "/plain", "method": "HEAD"},
    {"path": "/plain", "method": "DELETE"},
    {"path": "/stream"},
    {"path": "/upload", "method": "POST", "data": b"x" * 5000},
    {"path": "/form", "method": "POST", "data": {"a": "1"}},
    {"path": "/abort/404"},
    {"path": "/abort/503"},
    {"path": "/return/503"},
    {"path": "/defect"},
    {"path": "/nowhere"},
]
Attach = Callable[[Flask], list[dict[str, Any]]]


def host() -> Flask:
    app = Flask("host")
    app.config.update(PROPAGATE_EXCEPTIONS=False, SECRET_KEY="the host's")
    app.logger.disabled = True
    app.add_url_rule("/plain", "plain", lambda: "a plain answer, which is long enough to be compressed; " * 40)
    app.add_url_rule("/stream", "stream", lambda: Response(f"{n};" for n in range(3)))
    app.add_url_rule("/upload", "upload", lambda: str(len(request.stream.read())), methods=["POST"])
    app.add_url_rule("/form", "form", lambda: request.form["a"], methods=["POST"])
    app.add_url_rule("/abort/<int:code>", "abort", abort)
    app.add_url_rule("/return/<int:status>", "return", lambda status: ("its own", status))
    app.add_url_rule("/defect", "defect", lambda: 1 // 0)
    return app


def nothing(app: Flask) -> list[dict[str, Any]]:
    return []


def cors(app: Flask) -> list[dict[str, Any]]:
    neighbour("flask_cors").CORS(app, origins=["https://app.example"], supports_credentials=True)
    preflight = {**ORIGIN, "Access-Control-Request-Method": "POST"}
    return [
        {"path": "/plain", "headers": ORIGIN},
        {"path": "/defect", "headers": ORIGIN},
        {"path": "/nowhere", "headers": ORIGIN},
        {"path": "/form", "method": "OPTIONS", "headers": preflight},
    ]


def limiter(app: Flask) -> list[dict[str, Any]]:
    limits = neighbour("flask_limiter").Limiter(lambda: "one", storage_uri="memory://")
    limits.init_app(app)
    app.add_url_rule("/limited", "limited", limits.limit("2/hour")(lambda: "fine"))
    return [{"path": "/limited"}] * 3


def compress(app: Flask) -> list[dict[str, Any]]:
    neighbour("flask_compress").Compress(app)
    app.config["COMPRESS_STREAMS"] = True
    packed = {"Accept-Encoding": "gzip"}
    return [{"path": path, "headers": packed} for path in ("/plain", "/stream", "/defect", "/nowhere")]


def socketio(app: Flask) -> list[dict[str, Any]]:
    sockets = neighbour("flask_socketio").SocketIO(app, async_mode="threading")
    sockets.on_event("ping", lambda: "pong")
    return [{"path": "/socket.io/?EIO=4&transport=nonsense"}]


def exporter(app: Flask) -> list[dict[str, Any]]:
    prometheus = neighbour("prometheus_client")
    neighbour("prometheus_flask_exporter").PrometheusMetrics(app, registry=prometheus.CollectorRegistry())
    return []


def restx(app: Flask) -> list[dict[str, Any]]:
    package = neighbour("flask_restx")
    api = package.Api(app, prefix="/x", doc=False)

    class Things(package.Resource):  # type: ignore[misc,name-defined]
        def get(self, what: str) -> Any:
            return WHATS[what]()

    api.add_resource(Things, "/things/<what>")
    return [{"path": f"/x/things/{what}"} for what in WHATS] + [{"path": "/x/things/fine", "method": "PUT"}]


def restful(app: Flask) -> list[dict[str, Any]]:
    package = neighbour("flask_restful")
    api = package.Api(app, prefix="/f")

    class Things(package.Resource):  # type: ignore[misc,name-defined]
        def get(self, what: str) -> Any:
            return WHATS[what]()

    api.add_resource(Things, "/things/<what>")
    return [{"path": f"/f/things/{what}"} for what in WHATS] + [{"path": "/f/things/fine", "method": "PUT"}]


WHATS: dict[str, Callable[[], Any]] = {
    "fine": lambda: {"fine": True},
    "half": lambda: ({"half": True}, 503),
    "gone": lambda: abort(410, "in its own words"),
    "busy": lambda: abort(503),
    "defect": lambda: {}["missing"],
}


def smorest(app: Flask) -> list[dict[str, Any]]:
    package, marshmallow = neighbour("flask_smorest"), neighbour("marshmallow")
    app.config.update(API_TITLE="Host", API_VERSION="1", OPENAPI_VERSION="3.0.3")
    api, plug_in = package.Api(app), package.Blueprint("pets", "pets", url_prefix="/pets")
    schema = marshmallow.Schema.from_dict({"name": marshmallow.fields.Str(required=True)})

    class Pets(MethodView):
        @plug_in.arguments(schema)  # type: ignore[untyped-decorator]
        @plug_in.response(201, schema)  # type: ignore[untyped-decorator]
        def post(self, pet: Any) -> Any:
            return pet if pet["name"] != "none" else package.abort(404, message="no such pet")

    plug_in.add_url_rule("", view_func=Pets.as_view("pets"))
    api.register_blueprint(plug_in)
    return [
        {"path": "/pets", "method": "POST", "json": body} for body in ({"name": "Rex"}, {"name": "none"}, {}, {"a": 1})
    ]


def injector(app: Flask) -> list[dict[str, Any]]:
    neighbour("flask_injector").FlaskInjector(app=app, modules=[])
    return []


ATTACH: dict[str, Attach] = {
    "nothing": nothing,
    "Flask-CORS": cors,
    "Flask-Limiter": limiter,
    "Flask-Compress": compress,
    "Flask-SocketIO": socketio,
    "prometheus_flask_exporter": exporter,
    "Flask-RESTX": restx,
    "Flask-RESTful": restful,
    "flask-smorest": smorest,
    "Flask-Injector": injector,
}


@pytest.fixture
def extend(make_settings: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    made: list[ProdFix] = []

    def attach(app: Flask, *, deadline: bool = True, **settings: Any) -> None:
        made.append(ProdFix(app, settings=make_settings(app_env="production", **settings), deadline=deadline))

    yield attach
    for one in made:
        one.services.close()


def shown(given: dict[str, Any]) -> str:
    return f"{given.get('method', 'GET')} {given['path']}"


@pytest.mark.parametrize("ours_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("name", ATTACH)
def test_with_it_all_answers_are_what_they_are_without_us(
    extend: Callable[..., None], name: str, ours_first: bool
) -> None:
    plain, app = host(), host()
    requests = [*COMMON, *ATTACH[name](plain)]
    if ours_first:
        extend(app, answers="none")
    ATTACH[name](app)
    if not ours_first:
        extend(app, answers="none")
    before, (after, records) = ask_all(plain, requests), ask_recorded(app, requests)
    for given, old, new in zip(requests, before, after, strict=True):
        assert new.plain == old.plain, shown(given)
    failed = sorted((str(reply.request_id), reply.status) for reply in after if reply.status >= 500)
    assert sorted((one.request_id, one.status) for one in records if one.status >= 500) == failed
    kinds = {one.error_type for one in records if one.status >= 500}
    assert {"ServiceUnavailable", "Response", "ZeroDivisionError"} <= kinds
    assert ("KeyError" in kinds) is (name in ("Flask-RESTX", "Flask-RESTful"))  # their own handle_error had it


@pytest.mark.parametrize("ours_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("name", ATTACH)
def test_with_it_what_the_host_leaves_open_is_answered_by_us(
    extend: Callable[..., None], name: str, ours_first: bool
) -> None:
    plain, app = host(), host()
    requests = [*COMMON, *ATTACH[name](plain)]
    if ours_first:
        extend(app)
    ATTACH[name](app)
    if not ours_first:
        extend(app)
    for given, old, new in zip(requests, ask_all(plain, requests), ask_all(app, requests), strict=True):
        assert new.status == old.status, shown(given)
        assert new.request_id or given["path"].startswith("/socket.io"), shown(given)  # which is no request of Flask's
        if "text/html" not in dict(old.headers).get("Content-Type", "") or old.status < 400:
            assert new.plain == old.plain, shown(given)


def test_apiflask_is_a_flask_of_its_own(extend: Callable[..., None]) -> None:
    package = neighbour("apiflask")

    def made() -> Flask:
        app: Flask = package.APIFlask("host", docs_path=None)
        app.config["PROPAGATE_EXCEPTIONS"] = False
        app.logger.disabled = True

        class Pet(package.Schema):  # type: ignore[misc,name-defined]
            name = package.fields.String(required=True)

        @app.post("/pets")
        @app.input(Pet)  # type: ignore[attr-defined,untyped-decorator]
        def add(json_data: Any) -> Any:
            return json_data

        app.add_url_rule("/fail", "fail", lambda: package.abort(503, "later"))
        app.add_url_rule("/defect", "defect", lambda: 1 // 0)
        return app

    requests = [
        {"path": "/pets", "method": "POST", "json": {"name": "Rex"}},
        {"path": "/pets", "method": "POST", "json": {}},
        {"path": "/openapi.json"},
        {"path": "/fail"},
        {"path": "/defect"},
        {"path": "/nowhere"},
    ]
    app = made()
    extend(app)
    before, (after, records) = ask_all(made(), requests), ask_recorded(app, requests)
    # It answers its own errors, 404 and 500 of its own pages too, and all of them in its own words.
    assert [reply.plain for reply in after] == [reply.plain for reply in before]
    assert sorted(one.status for one in records if one.status >= 500) == [500, 503]
    assert {reply.request_id for reply in after if reply.status >= 500} == {
        one.request_id for one in records if one.status >= 500
    }


def test_blueprints_errors_of_a_host_with_all_of_them_are_found(extend: Callable[..., None]) -> None:
    app = host()
    extend(app)
    for attach in (cors, compress, restx):
        attach(app)
    plug_in = Blueprint("plug_in", __name__)
    plug_in.add_url_rule("/late", view_func=lambda: {}["missing"])
    plug_in.register_error_handler(KeyError, lambda error: (jsonify(mine=True), 502))
    app.register_blueprint(plug_in)
    (reply,), (record,) = ask_recorded(app, [{"path": "/late", "headers": ORIGIN}])
    assert (reply.status, record.status, record.error_type) == (502, 502, "KeyError")
    assert (record.answered.by if record.answered else None, record.request_id) == ("host", reply.request_id)
    assert dict(reply.headers)["Access-Control-Allow-Origin"] == "https://app.example"
