"""What is compared: nothing at all, the least that anything costs, and prodfix in its forms. Each is made by a worker.

This is the one file of the benchmarks that knows prodfix from inside; all else measures works by their names.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pymongo
from pymongo import monitoring

from benchmarks.wire import wire
from benchmarks.works import Work, Works, commands, flask_app, repeated, requests, routes

Setup = Callable[[str], Works]
FIELDS = (10, 100, 1_000, 10_000, 100_000)
DEPTHS = (1, 10, 100, 900)
TOKEN = "metrics-0123456789-abcdefghijklmnop"
SCRAPED = (8, 200, 500)  # workers, and in each so many routes and kinds of commands
CROWD = 200  # deferred writes that are put at once
AGENTS = (
    "Mozilla/5.0 (Linux; Android 14; SM-X{}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E{}",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.{}",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.{} Safari/605.1.15",
    "Notes/1.4.{} (Android 14) okhttp/4.12.0",
    "curl/8.9.{}",
    "Something/{} of nobody's",
)


class EmptyListener(monitoring.CommandListener):
    """The least that any listener costs: the driver builds its events for it."""

    def started(self, event: Any) -> None: ...

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


def _database(uri: str, *listeners: Any) -> Any:
    client: Any = pymongo.MongoClient(uri, event_listeners=list(listeners))
    return client.bench


def bare(uri: str) -> Works:
    """The driver and Flask, and nothing else."""
    database = _database(uri)
    app = flask_app(lambda: database)
    return {**commands(database), **requests(app), "wire": wire(app, ours=False)}


def empty(uri: str) -> Works:
    return commands(_database(uri, EmptyListener()))


def listener(uri: str) -> Works:
    """prodfix's listener alone, as an adopter would add it."""
    from prodfix import QueryInterceptor

    return commands(_database(uri, QueryInterceptor()))


def eager(uri: str) -> Works:
    """The seed's description word for word: sanitise each query when it starts."""
    from prodfix import redact_command

    class Eager(EmptyListener):
        def started(self, event: Any) -> None:
            redact_command(event.command)

    return commands(_database(uri, Eager()))


def _settings(uri: str, **others: Any) -> Any:
    from prodfix import Settings

    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    # An error beyond the burst of its kind is counted only: without end, so that each is recorded.
    given = {"error_burst": 1_000_000, "error_rate": 1_000_000.0, **others}
    if "heartbeatFrequencyMS" in uri:  # ours is given to the driver beside the URI
        given["db_heartbeat_ms"] = 600_000
    return Settings(
        app_env="production",  # type: ignore[arg-type]
        mongodb_uri=uri,  # type: ignore[arg-type]
        state_dir=folder,
        log_dir=folder / "log",
        jwt_secret_key="k" * 40,  # type: ignore[arg-type]
        **given,
    )


class Inside(NamedTuple):
    """The parts of an application's services that are measured one by one."""

    background: Any
    journal: Any
    breaker: Any
    errors: Any
    counters: Any
    deferred: Any
    backlog: Any


def inside(services: Any) -> Inside:
    """Where they are."""
    return Inside(
        services.runtime.background,
        services.runtime.journal,
        services.database.breaker,
        services.errors.log,
        services.requests.counters,
        services.deferral.queue,
        services.deferral.backlog,
    )


class Kind(NamedTuple):
    """A kind of error, as it is counted."""

    category: str
    device: str
    endpoint: str
    fingerprint: str
    title: str


def _hold(services: Any) -> None:
    """Let no loop of the background run: in a process that does one work after another, all would fire in one of them."""
    parts = inside(services)
    parts.background.hold()
    parts.journal.open()


def application(uri: str, **others: Any) -> Any:
    """The application as served, on settings of its own."""
    from prodfix import create_app

    app = create_app(_settings(uri, **others))
    _hold(app.extensions["prodfix"])
    return app


def served(uri: str, **others: Any) -> Works:
    """The application as served, with its own client."""
    app = application(uri, **others)
    services = app.extensions["prodfix"]
    routes(app, lambda: services.db)
    return {**commands(services.db), **requests(app), "wire": wire(app, ours=True)}


def extension(uri: str) -> Works:
    """An existing Flask application with ``ProdFix().init_app(app)``, and its client with our listeners."""
    from prodfix import ProdFix

    prodfix = ProdFix(settings=_settings(uri))
    database = _database(uri, *prodfix.listeners)
    app = flask_app(lambda: database)
    prodfix.init_app(app)
    _hold(prodfix.services)
    return {**commands(database), **requests(app)}


def parts(uri: str) -> Works:
    """Single parts of prodfix, each in a hot loop: what a slow or failed command costs, a device, the wrappers on success."""
    from flask import Flask

    from prodfix import ProdFix, device_type

    prodfix = ProdFix(Flask("parts"), settings=_settings(uri, slow_query_threshold_ms=1), served=True)
    services = prodfix.services
    seen = services.queries.interceptor
    _hold(services)
    agents = (kind.format(number) for number in itertools.count() for kind in AGENTS)
    recovery, breaker = services.recovery, inside(services).breaker

    def wrapped() -> None:
        breaker.call(_nothing)

    works: dict[str, Work] = {
        "device": repeated(lambda: device_type(next(agents))),
        "retry and breaker": repeated(lambda: recovery.run(wrapped)),
    }
    return works | events(seen, ("normal", "slow", "failed"))


def events(seen: Any, kinds: Iterable[str]) -> Works:
    """What a listener does with commands that end normally, slowly or in failure, of so many fields or levels: ``slow 10``."""
    documents = {str(size): _wide(size) for size in FIELDS} | {f"deep {depth}": _deep(depth) for depth in DEPTHS}
    return {
        f"{kind} {name}": repeated(_event(seen, document, 100.0 if kind == "slow" else 0.1, failed=kind == "failed"))
        for kind in kinds
        for name, document in documents.items()
    }


def kinds(uri: str) -> Works:
    """Errors of which no two are of one kind: counted as far as the bounds let them (``kind``), and recorded (``error``)."""
    parts, numbers = inside(application(uri).extensions["prodfix"]), itertools.count()

    def kind() -> None:
        mark = f"{next(numbers):016x}"
        parts.errors.storms.admit(mark, f"Kind{mark}")
        parts.counters.error(Kind("unknown", "mobile", "/boom", mark, f"Kind{mark}"))

    def error() -> None:
        parts.errors.log_error(type(f"Kind{next(numbers)}", (Exception,), {})("it does not work"))

    return {"kind": repeated(kind), "error": repeated(error)}


def backlog(uri: str) -> Works:
    """Deferred writes: ``fill`` keeps many at once, ``put`` one after another, ``look`` asks how many wait."""
    import gevent

    from prodfix import Insert, Write

    app = application(uri, deferred_max_entries=10_000_000, deferred_max_bytes=2**34)
    parts = inside(app.extensions["prodfix"])
    deferred = parts.deferred
    deferred.register("note", lambda arguments: [Insert("notes", arguments)])

    def put() -> None:
        deferred.put(Write("note", {"title": "A title", "body": "x" * 250}))

    def fill(times: int) -> None:
        for done in range(0, times, CROWD):
            gevent.joinall([gevent.spawn(put) for _ in range(min(CROWD, times - done))], raise_error=True)

    return {"fill": fill, "put": repeated(put), "look": repeated(parts.backlog.counts)}


def scrape(uri: str) -> Works:
    """``GET /metrics`` without its request: of so many workers, routes and kinds of commands."""
    import time

    import orjson

    from prodfix.journal.journal import Journal
    from prodfix.metrics.exposition import OPENMETRICS
    from prodfix.metrics.tallies import Tallies
    from prodfix.metrics.totals import TotalsJournal, by_text

    workers, routes_each, kinds_each = SCRAPED
    services = application(uri, metrics_token=TOKEN).extensions["prodfix"]
    own = inside(services).journal
    upsert = "INSERT INTO status (worker, at, entry) VALUES (?, ?, ?)"
    for number in range(workers):
        journal = Journal(own.folder) if number else own
        if number:
            journal.open()
        tallies = Tallies()
        for take in range(30):
            for route in range(routes_each):
                tallies.request("GET", f"/api/v1/things{route}/<identity>", 200, 1_000 + take * 29_000)
            for kind in range(kinds_each):
                tallies.command("find", f"collection_{kind}", 300 + take * 9_000)
        TotalsJournal(journal).write(by_text(tallies.tables), {})
        state = orjson.dumps(services.state().to_json() | {"pid": number})
        journal.write([(upsert, (journal.boot, time.time() + 3600, state))])
    return {"scrape": repeated(lambda: services.metrics.render(OPENMETRICS))}


def _nothing() -> None: ...


def _wide(size: int) -> dict[str, Any]:
    kinds: Iterator[Any] = itertools.cycle(("a text", 7, 1.5, True, None))
    return {f"field{number}": next(kinds) for number in range(size)}


def _deep(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {"last": 1}
    for _ in range(depth):
        document = {"inner": document}
    return document


def _event(seen: Any, document: Mapping[str, Any], millis: float, *, failed: bool) -> Callable[[], None]:
    """Starts and ends an insert of ``document`` that took so long, without a network."""
    from datetime import timedelta

    command = {"insert": "notes", "ordered": True, "documents": [document], "$db": "bench"}
    took, address, numbers = timedelta(milliseconds=millis), ("127.0.0.1", 27017), itertools.count(1)
    failure = {"ok": 0.0, "code": 112, "codeName": "WriteConflict", "errmsg": "Write conflict"}

    def once() -> None:
        number = next(numbers)
        seen.started(monitoring.CommandStartedEvent(dict(command), "bench", number, address, number))
        if failed:
            seen.failed(monitoring.CommandFailedEvent(took, failure, "insert", number, address, number))
        else:
            seen.succeeded(
                monitoring.CommandSucceededEvent(took, {"ok": 1.0, "n": 1}, "insert", number, address, number)
            )

    return once


SETUPS: dict[str, Setup] = {
    "bare": bare,
    "empty": empty,
    "listener": listener,
    "eager": eager,
    "extension": extension,
    "served": served,
    "off": lambda uri: served(uri, enable_query_logging=False),
    "metered": lambda uri: served(uri, metrics_token=TOKEN),
    "sampled": lambda uri: served(uri, query_log_sample=1.0),
    "debug": lambda uri: served(uri, log_level="debug"),
    "held": lambda uri: served(uri, error_burst=1, error_rate=1e-9),
    "parts": parts,
    "kinds": kinds,
    "backlog": backlog,
    "scrape": scrape,
}
