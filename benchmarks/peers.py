"""Other libraries that watch commands, requests and errors, each as its documentation says, with nothing sent anywhere.

They are in an environment of their own (requirements-peers.txt), which holds what production installs too, so that all that
is compared in one run has the same versions beneath it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from flask import request

from benchmarks.setups import EmptyListener, Setup, _database, events
from benchmarks.works import Work, Works, commands, flask_app, requests

TOGETHER = 50  # commands of one transaction: these libraries record nothing outside of one


class Described(EmptyListener):
    """Describes each command that ended, to ``write``: what a query log needs, and no values."""

    def __init__(self, write: Callable[..., object]) -> None:
        self._write = write
        self._command: Any = {}

    def started(self, event: Any) -> None:
        self._command = event.command

    def succeeded(self, event: Any) -> None:
        name = event.command_name
        found = self._command.get("filter") or self._command.get("documents", [{}])[0]
        self._write(
            "query",
            operation=name,
            collection=self._command.get(name),
            fields=[{key: type(value).__name__} for key, value in found.items()],
            micros=event.duration_micros,
            level="info",
            requestId="203f52442870a97a89598400e65bd712",
        )


def _works(database: Any, app: Any) -> Works:
    return {**commands(database), **requests(app)}


def _within(works: Works, transaction: Callable[[], AbstractContextManager[Any]]) -> Works:
    """The same works, so many pieces at a time in a transaction."""

    def divided(work: Work) -> Work:
        def run(times: int) -> None:
            for done in range(0, times, TOGETHER):
                with transaction():
                    work(min(TOGETHER, times - done))

        return run

    return {name: divided(work) for name, work in works.items()}


def prometheus(uri: str) -> Works:
    """A histogram and a counter for commands and requests, a counter for errors; nothing else of either."""
    from prometheus_client import Counter, Histogram

    seconds = Histogram("command_seconds", "of commands", ["command"])
    asked = Counter("requests_total", "requests", ["endpoint", "status"])
    failed = Counter("errors_total", "errors", ["type"])

    class Counted(EmptyListener):
        def succeeded(self, event: Any) -> None:
            seconds.labels(event.command_name).observe(event.duration_micros / 1e6)

    database = _database(uri, Counted())
    app = flask_app(lambda: database, lambda error: failed.labels(type(error).__name__).inc())

    @app.after_request
    def count(response: Any) -> Any:
        asked.labels(request.endpoint, response.status_code).inc()
        return response

    return _works(database, app)


def opentelemetry(uri: str) -> Works:
    """Spans for commands and requests, in batches to an exporter that forgets them; errors as events of the span."""
    from opentelemetry import trace
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.instrumentation.pymongo import CommandTracer, PymongoInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> Any:
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None: ...

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    PymongoInstrumentor().instrument(tracer_provider=provider)
    database = _database(uri)
    app = flask_app(lambda: database, lambda error: trace.get_current_span().record_exception(error))
    FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
    listener = CommandTracer(provider.get_tracer("bench"))
    return {**_works(database, app), **events(listener, ("normal",))}


def sentry(uri: str, **options: Any) -> Works:
    """Its Flask and PyMongo integrations as they come, errors captured, with a transport that forgets them."""
    import sentry_sdk
    from sentry_sdk.transport import Transport

    class Nowhere(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            for item in envelope.items:
                item.get_bytes()

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Nowhere, **options)
    from sentry_sdk.integrations.pymongo import CommandTracer

    database = _database(uri)

    def block() -> Any:
        return sentry_sdk.start_transaction(op="bench", name="a block")

    app = flask_app(lambda: database, sentry_sdk.capture_exception)
    observed = {**commands(database), **events(CommandTracer(), ("normal",))}
    return {**requests(app), **_within(observed, block)}


def loguru(uri: str, *, tuned: bool = True) -> Works:
    """A JSON line for each command and each error, to a file; tuned: without the values of variables."""
    from loguru import logger

    logger.remove()
    logger.add(open(os.dup(1), "w"), serialize=True, backtrace=not tuned, diagnose=not tuned, level="INFO")  # noqa: SIM115
    database = _database(uri, Described(lambda message, **facts: logger.bind(**facts).info(message)))
    silent = _database(uri)
    app = flask_app(lambda: silent, lambda error: logger.opt(exception=error).error("failed"))
    return _works(database, app)


def structlog(uri: str) -> Works:
    """A JSON line for each command and each error, to a file, as its page on performance says."""
    import orjson
    import structlog

    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(20),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=os.fdopen(os.dup(1), "wb")),
    )
    log = structlog.get_logger()
    database = _database(uri, Described(log.info))
    silent = _database(uri)
    app = flask_app(lambda: silent, lambda error: log.error("failed", exc_info=error))
    return _works(database, app)


def elastic(uri: str) -> Works:
    """Its Flask and PyMongo instrumentation, one transaction for each request, with a transport that forgets them."""
    import elasticapm
    from elasticapm.contrib.flask import ElasticAPM
    from elasticapm.transport.base import Transport

    class Nowhere(Transport):
        def send(self, *arguments: Any, **options: Any) -> None: ...

        def queue(self, *arguments: Any, **options: Any) -> None: ...

        def start_thread(self, *arguments: Any, **options: Any) -> None: ...

    globals()["Nowhere"] = Nowhere  # it is found by its path
    client = elasticapm.Client(
        service_name="bench", transport_class=f"{__name__}.Nowhere", central_config=False, metrics_interval="0s"
    )
    elasticapm.instrument()
    database = _database(uri)
    app = flask_app(lambda: database, lambda error: client.capture_exception((type(error), error, error.__traceback__)))
    ElasticAPM(app, client=client)

    @contextmanager
    def block() -> Any:
        client.begin_transaction("bench")
        yield
        client.end_transaction("a block", "ok")

    return {**requests(app), **_within(commands(database), block)}


PEERS: dict[str, Setup] = {
    "prometheus": prometheus,
    "opentelemetry": opentelemetry,
    "sentry": sentry,
    "sentry traced": lambda uri: sentry(uri, traces_sample_rate=1.0),
    "loguru": loguru,
    "loguru untuned": lambda uri: loguru(uri, tuned=False),
    "structlog": structlog,
    "elastic": elastic,
}
