"""Beside OpenTelemetry's instrumentations of Flask and PyMongo, attached before and after us."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.neighbours.comparing import neighbour

# Its arguments: when Flask is instrumented, whose application it is, a folder, and a URI.
SCRIPT = """
    import json, sys, time, warnings
    warnings.simplefilter("ignore")
    from pathlib import Path
    order, kind, folder, uri = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    PymongoInstrumentor().instrument()

    import logging, os
    logging.getLogger("prodfix").addHandler(logging.NullHandler())
    from flask import Flask, Response, request
    from pydantic import SecretStr
    from pymongo import MongoClient
    from prodfix import ProdFix, Settings, create_app, current_prodfix
    from prodfix.logs.sinks import Console
    from prodfix.signals import error_recorded

    settings = Settings(app_env="production", state_dir=folder / "var", log_dir=folder / "log", mongodb_uri=SecretStr(uri),
                        jwt_secret_key=SecretStr("0" * 32), health_ping_interval_ms=50)
    if kind == "served":
        app = create_app(settings)
    else:
        app = Flask("host")
        app.config["PROPAGATE_EXCEPTIONS"] = False
        app.logger.disabled = True
        if order == "before":
            FlaskInstrumentor().instrument_app(app)
        if kind == "adopted":
            ProdFix(app, settings=settings)
    if order == "after":
        FlaskInstrumentor().instrument_app(app)
    services = app.extensions.get("prodfix")
    records = {}
    def keep(sender, record):
        records[record.context.endpoint] = record.context.trace_id
    if services is not None:
        services.logs.sinks.replace(Console(os.open(os.devnull, os.O_WRONLY)))
        error_recorded.connect(keep)

    client = MongoClient(uri)
    def find():
        client.get_default_database().things.find_one()
        return "found"
    app.add_url_rule("/find", "find", find)
    app.add_url_rule("/stream", "stream", lambda: Response(part for part in (b"a", b"b")))
    app.add_url_rule("/busy", "busy", lambda: Response((part for part in (b"a", b"b")), 503))
    app.add_url_rule("/defect", "defect", lambda: 1 // 0)
    app.add_url_rule("/return", "return", lambda: ("x", 503))
    web, parent = app.test_client(), "0af7651916cd43dd8448eb211c80319c"
    for path in ("/find", "/stream", "/busy", "/defect", "/return"):
        web.get(path).get_data()
    web.get("/defect?parent", headers={"traceparent": f"00-{parent}-b7ad6b7169203331-01"})
    followed = records.get("/defect") == parent
    web.get("/defect")
    if services is not None:
        end = time.monotonic() + 20
        while time.monotonic() < end and (
            services.database.monitor._seen.pings < 3 or services.database.clients.own_db.error_log.count_documents({}) < 2
        ):
            time.sleep(0.05)
        pings = services.database.monitor._seen.pings
        stored = services.database.clients.own_db.error_log.count_documents({})
    else:
        pings = stored = 9
    finished = spans.get_finished_spans()  # before the clients tell the server which sessions are over
    if services is not None:
        services.close()
    client.close()
    seen, traces = [], {}
    for span in finished:
        seen.append([span.name, span.attributes.get("http.status_code"), span.parent is None])
        traces[span.name] = format(span.context.trace_id, "032x")
    same = {path: traces["GET " + path] == found for path, found in records.items()}
    print(json.dumps({"spans": seen, "same": same, "followed": followed, "worked": pings >= 3 and stored >= 2}))
"""


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    for package in ("flask", "pymongo"):
        neighbour(f"opentelemetry.instrumentation.{package}")
    neighbour("opentelemetry.sdk.trace")


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("kind", ["plain", "adopted", "served"])
def test_its_spans_are_those_without_us_and_our_records_are_of_its_traces(
    python: Callable[..., str], tmp_path: Path, database_uri: str, kind: str, order: str
) -> None:
    if (kind, order) == ("served", "before"):
        pytest.skip("create_app makes the application: it is instrumented afterwards")
    found: dict[str, Any] = orjson.loads(python(SCRIPT, order, kind, tmp_path, database_uri))
    assert found["worked"]  # pings and writes of ours, of which there is no span
    commands = [span for span in found["spans"] if not span[0].startswith("GET ")]
    assert [(name.rpartition(".")[2], root) for name, _, root in commands] == [("find", False)]  # within its request
    assert [span for span in found["spans"] if span[0].startswith("GET ")] == [
        ["GET /find", 200, True],
        ["GET /stream", 200, True],
        ["GET /busy", 503, True],
        ["GET /defect", 500, True],
        ["GET /return", 503, True],
        ["GET /defect", 500, False],
        ["GET /defect", 500, True],
    ]
    assert found["same"] == ({} if kind == "plain" else {"/busy": True, "/defect": True, "/return": True})
    assert found["followed"] is (kind != "plain")


def test_the_control_a_client_that_tells_of_its_commands_has_spans(
    python: Callable[..., str], tmp_path: Path, database_uri: str
) -> None:
    loud = SCRIPT.replace(
        "settings = Settings(",
        "from prodfix.connection import clients\n    clients.keep_listeners = lambda client, wanted: None\n"
        "    settings = Settings(",
    )
    found = orjson.loads(python(loud, "after", "adopted", tmp_path, database_uri))
    names = {span[0].rpartition(".")[2] for span in found["spans"] if not span[0].startswith("GET ")}
    assert {"ping", "insert"} <= names
