"""Lines of every kind, each made by the code that has it to say."""

from __future__ import annotations

import ast
import json
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, jsonify
from gunicorn.config import Config
from jsonschema import Draft202012Validator
from loguru import logger
from pymongo.errors import AutoReconnect, DuplicateKeyError

from blueprints import BLUEPRINTS
from config.access_log import AccessLog
from prodfix import Document, current_prodfix, make_token
from prodfix.assistants.assistant_calls import AssistantCalls
from prodfix.assistants.tools import ToolRefused
from prodfix.cli.audit import audit
from prodfix.cli.mcp_command import audit_of_tools
from prodfix.deferral.writes import Insert
from prodfix.errors import ConcurrentModification, Severity, ValidationFailed
from prodfix.incidents.incident_log import Incident
from prodfix.journal.quarantine import DamageReport
from prodfix.logs import lines
from prodfix.logs.sinks import Console
from prodfix.queries.advice import QueryAdvice
from prodfix.request.context import new_context
from tests.support import REPOSITORY
from tests.support.deferred_notes import note

DOCUMENT = json.loads((REPOSITORY / "docs" / "reference" / "log-line.schema.json").read_text())


def problems(entry: dict[str, Any]) -> list[str]:
    """What is wrong with a line, by the part of the schema that is for its kind."""
    kind = entry.get("event", "log")
    if f"line-{kind}" not in DOCUMENT["$defs"]:
        return [f"no kind of line is {kind}"]
    part = {**DOCUMENT, "oneOf": [{"$ref": f"#/$defs/line-{kind}"}]}
    return [
        f"{kind}: {error.json_path}: {error.message}"
        for found in Draft202012Validator(part).iter_errors(entry)
        for error in (found.context or [found])
    ]


class Shelf(Document, collection="shelves"):
    name: str
    size: int = 0


def kinds_in_code() -> frozenset[str]:
    """Each ``event`` that the library's source gives a line: the argument of a log's ``event``, and an ``"event": "x"``."""
    found: set[str] = set()
    for folder in ("prodfix", "config"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            if path.name in ("log_schema.py", "translation.py", "lookup.py", "record_indexes.py"):  # names of fields
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                found.update(_named(node))
    return frozenset(found)


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "event" and isinstance(value, ast.Constant):
                yield str(value.value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "event":
        first, *rest = node.args or [None]
        if rest and isinstance(rest[0], ast.Constant) and isinstance(first, (ast.Attribute, ast.Name, ast.IfExp)):
            yield str(rest[0].value)


def blueprint() -> Blueprint:
    made = Blueprint("kinds", __name__)

    @made.get("/kinds/<int:number>")
    def defect(number: int) -> str:
        raise KeyError(number)

    @made.get("/kinds/missing")
    def missing() -> None:
        abort(404)

    @made.get("/kinds/duplicate")
    def duplicate() -> None:
        raise DuplicateKeyError("x", 11000, {"keyPattern": {"email": 1}})

    @made.get("/kinds/invalid")
    def invalid() -> None:
        raise ValidationFailed("x")

    @made.get("/kinds/said")
    def said() -> str:
        logger.bind(status="none", event="request", count=3).info("said in a request")
        logging.getLogger("lib").warning("said by a library")
        try:
            int("text")
        except ValueError:
            logger.exception("failed")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return "said"

    @made.get("/kinds/queries")
    def queries() -> str:
        things = current_prodfix.db.things
        for number in range(4):
            things.find_one({"n": number})
        return "asked"

    _add_database(made)
    return made


def _add_database(made: Blueprint) -> None:
    failures = [AutoReconnect("gone")]

    @made.get("/kinds/saved")
    def saved() -> str:
        def work() -> str:
            if failures:
                raise failures.pop()
            return "done"

        return current_prodfix.recovery.run(work, idempotent=True)

    @made.get("/kinds/nan")
    def nan() -> Response:
        return jsonify({"a": float("nan")})

    @made.get("/kinds/conflict")
    def conflict() -> str:
        shelves = current_prodfix.documents.collection(Shelf)
        made = shelves.insert({"name": "a"})
        shelves.patch(made["_id"], {"size": 1}, version=made["version"])
        shelves.patch(made["_id"], {"size": 2}, version=made["version"])
        return "never"

    @made.get("/kinds/transaction")
    def transaction() -> str:
        def work(session: Any) -> None:
            current_prodfix.db.things.insert_one({"a": 1}, session=session)
            current_prodfix.db.others.insert_one({"a": 1})
            raise ValueError

        current_prodfix.database.transactions.run(work)
        return "never"


def _requests(app: Any, token: str) -> None:
    web = app.test_client()
    for name in ("1", "2", "3", "missing", "duplicate", "invalid", "said", "queries", "saved", "nan"):
        web.get(f"/kinds/{name}", headers={"User-Agent": "okhttp/4.9"})
    for name in ("conflict", "transaction"):
        web.get(f"/kinds/{name}")
    web.get("/api/v1/diagnostics/errors")
    assert web.get("/api/v1/diagnostics/errors", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def _background(app: Any) -> None:
    """What happens beside requests, by the parts that tell of it."""
    services = app.extensions["prodfix"]
    engine = services._parts.engine
    background = services.runtime.background
    now = datetime.now(UTC)
    services.errors.log.tell_of_storms()
    background._loop_failed("writer", ValueError("x"))
    background._loop_recovered("writer")
    background._tell()
    engine.breaker.on_change("closed", "open", engine.breaker.status().to_json())
    engine.reports.idempotency("answers cannot be stored", {"error": "AutoReconnect"})
    engine.reports.advice(
        QueryAdvice("f", "find", "things", ("n",), "COLLSCAN", ("COLLSCAN",), ("_id_",), 3, (["n", 1],))
    )
    engine.reports.attempt(4, 2, "AutoReconnect")
    for reason in ("DISK_FULL", None):
        engine.reports.refused(reason)
    kind = {"fingerprint": "f", "message": "m", "releases": ["1"]}
    engine.reports.regression(kind)
    kind |= {"headline": "KeyError: 'price'", "place": "shop.py:show", "code": "INTERNAL_ERROR", "category": "unknown"}
    engine.reports.new_kind(kind)
    engine.reports.escalation({**kind, "escalation": {"seen": 90, "expected": 1.5, "bound": 20}})
    engine.reports.unignored({**kind, "ignoredUntil": "100 more errors"})
    engine.reports.alarm(Severity.ERROR, "the pool is empty", {"alarm": "pool", "state": "firing", "waiting": 3})
    engine.reports.damage(DamageReport("a.db", {"writes": 1}, {"writes": 1}, True, 1, ["id"]))
    engine.reports.incident(
        Incident("i", "database_lost", "closed", now, now, 1.0, 1, 0, 0, 0, 0, 0, 2, ["a"], [])  # type: ignore[arg-type]
    )
    services.logs.event(Severity.CRITICAL, "error-handler", "error handler failed", facts={"error": "ValueError"})
    services.logs.event(Severity.WARN, "rate-limit", "the store of rate limits fails", facts={"error": "ValueError"})
    for facts in ({"ip": "127.0.0.1", "status": 401}, {"error": "Address already in use"}):  # of METRICS_PORT
        services.logs.event(Severity.WARN, "audit", "metrics were refused", "auth", facts=facts)
    services.logs.uncaught("thread", ValueError("x"))


def _deferred(app: Any) -> None:
    services = app.extensions["prodfix"]
    engine = services._parts.engine
    queue = services.deferral.queue
    queue.register("note", lambda arguments: [Insert("notes", {"text": arguments["text"]})])
    engine.deferral.drainer.stop()
    queue.put(note("a"))
    engine.deferral.drainer._bury(
        engine.deferral.drainer._waiting.older_than(-1, 10)[0], "EXPIRED", ConcurrentModification(expected=1, found=2)
    )
    ((identity,),) = services.runtime.journal.read("SELECT id FROM dead LIMIT 1")
    services.deferral.admin.give("discard", identity, "ann")
    services.deferral.admin.obey()


def _operators(app: Any) -> None:
    """Who has used a command that changes something, and a tool of MCP; with its kind of error, and with none."""
    services = app.extensions["prodfix"]
    for result in ("changed", "not found", "failed"):
        audit(services, "errors ignore", "command line (ann)", fingerprint="f" * 16, result=result)
    for name, arguments in (("list_errors", {}), ("get_error_group", {"fingerprint": "f" * 16})):
        with suppress(ToolRefused):
            AssistantCalls(services, by="ann", allowed=False, audit=audit_of_tools(services, "ann")).call(
                name, arguments
            )


def _sinks(app: Any) -> None:
    """A console that fails, and works again."""
    sinks = app.extensions["prodfix"].logs.sinks
    outlet = sinks._outlets["database.log"]
    outlet._tell_failing("No space left on device")
    outlet._tell_working()


def _arbiter(run: Callable[[], None], path: Path) -> None:
    """The lines of gunicorn's arbiter, which go to stdout."""
    saved, file = lines.STDOUT, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    lines.STDOUT = file
    try:
        run()
    finally:
        lines.STDOUT = saved
        os.close(file)


def _tell() -> None:
    lines.tell("critical", "The application cannot be loaded", logger="gunicorn.error", error="x", stack="y")
    try:
        int("x")
    except ValueError:
        record = logging.LogRecord("gunicorn.error", logging.ERROR, "p", 1, "worker %s", ("x",), None)
    lines.Handler().emit(record)


def _access(emit: Callable[[dict[str, Any]], None], context: Any) -> None:
    """An access line, by gunicorn's own call."""
    settings = Config()
    settings.set("accesslog", "-")
    settings.set("loglevel", "debug")
    log = AccessLog(settings)
    log.hand_over(emit)
    head = type("Head", (), {"status": "200 OK", "headers": [("X-Request-ID", "request-0001")]})()
    environ = {"PATH_INFO": "/a/b", "REQUEST_METHOD": "GET", "REMOTE_ADDR": "127.0.0.1"}
    log.access(head, None, environ, timedelta(milliseconds=5))
    log.access(head, None, {**environ, "prodfix.request.context": context, "REMOTE_ADDR": ""}, timedelta(0))


def every_line(serve: Callable[..., Any], uri: str, folder: Path, **values: Any) -> list[dict[str, Any]]:
    """Lines of every kind, as they were written to a console; and those of commands, which are in the file of audits alone."""
    path = folder / "console"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    app = serve(
        [blueprint(), *BLUEPRINTS],
        console=file,
        mongodb_uri=uri,
        slow_query_threshold_ms=0,
        query_repeat_threshold=3,
        error_burst=2,
        error_rate=0.001,
        retry_base_delay_ms=1,
        health_ping_interval_ms=50,
        **values,
    )
    services = app.extensions["prodfix"]
    services.logs.sinks.replace(Console(file))
    services.start()
    for _ in range(400):
        if services.database.monitor.healthy:
            break
        threading.Event().wait(0.05)
    _requests(app, make_token(services.settings, role="admin", lifetime=timedelta(minutes=5)))
    _background(app)
    _deferred(app)
    _operators(app)
    _sinks(app)
    _arbiter(_tell, path)
    context = new_context(endpoint="/a/<b>", method="GET", ip="", headers={})
    _access(lambda entry: services.logs.emit(Severity.INFO, entry), context)
    services.close()
    assert services.logs.sinks.flush(10)
    os.close(file)
    told = path.read_bytes().splitlines()
    commands = [line for line in (folder / "log" / "auth.log").read_bytes().splitlines() if line not in told]
    assert len(commands) == 5
    return [json.loads(line) for line in (*told, *commands)]
