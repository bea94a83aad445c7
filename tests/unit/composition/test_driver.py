"""The driver's private names: a version without one of them loses what it stands for, says so, and serves all the same.

Each case is the installed driver with a name renamed wherever it stands: a version that works, and calls it otherwise.
"""

from __future__ import annotations

import ast
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pymongo
import pytest
from pymongo import _csot

from prodfix.driver import csot, missing_names
from tests.unit.conftest import ROOT

INSTALLED = Path(pymongo.__file__).parents[1]


class Renamed(NamedTuple):
    """``pattern`` and ``new``: what is renamed in the driver's files. ``lost``: which of the ``FEATURES`` are gone then."""

    pattern: str
    new: str
    lost: frozenset[str]
    files: str = "**/*.py"


def renamed(name: str, *lost: str) -> Renamed:
    return Renamed(rf"\b{name}\b", f"{name}_renamed", frozenset(lost))


# Of each of ``missing_names.NAMES``.
CASES: dict[str, Renamed] = {
    "_csot": renamed("_csot", "time left", "waits for the pool"),
    "MongoClient._retry_internal": renamed("_retry_internal", "breaker", "two tries"),
    "MongoClient._select_server": renamed("_select_server", "gate", "two tries"),
    "MongoClient._topology": renamed("_topology"),
    "ClientSession._implicit": renamed("_implicit"),
    "MongoClient._retry_policy": renamed("_retry_policy", "third try"),
    "MongoClient._closed": renamed("_closed", "closed client"),
    "MongoClient(_pool_class)": renamed("_pool_class", "limits of callers", "waits for the pool"),
    "Pool._get_conn": renamed("_get_conn", "waits for the pool"),
    "Pool.connect": Renamed(
        r"def connect\(self, handler: (.*)\) -> Connection:",
        r"def connect(self, checkout: None = None, handler: \1) -> Connection:",
        frozenset({"limits of callers", "waits for the pool"}),
        "synchronous/pool.py",
    ),
    "Connection.cancel_context": renamed("cancel_context"),
    "Connection.apply_timeout": renamed("apply_timeout", "limits of callers"),
    "Pool.active_contexts": renamed("active_contexts"),
    "_PoolClosedError": renamed("_PoolClosedError", "closed pool"),
    "_ClientBulk": renamed("_ClientBulk", "collections of a client's bulk write"),
    "Cursor._spec": renamed("_spec", "shape of a query"),
    "CommandCursor._collection": renamed("_collection", "collection of a getMore"),
    "_TxnState": renamed("_TxnState", "unanswered commit"),
    "ClientSession._transaction": renamed("_transaction", "unanswered commit"),
    "ClientSession._finish_transaction_with_retry": renamed("_finish_transaction_with_retry", "unanswered commit"),
    "_EventListeners": renamed("_EventListeners", "silence of our own clients"),
    "PeriodicExecutor._skip_sleep": renamed("_skip_sleep", "rest of cursors", "rest of monitors"),
    "MongoClient._init_background": renamed("_init_background", "rest of cursors"),
    "MongoClient(_monitor_class)": renamed("_monitor_class", "rest of monitors"),
}
FEATURES = frozenset().union(*(case.lost for case in CASES.values()))


def version(folder: Path, case: Renamed) -> Path:
    """The installed driver in ``folder``, with the case's name renamed."""
    for package in ("pymongo", "gridfs"):
        shutil.copytree(INSTALLED / package, folder / package)
        for path in (folder / package).glob(case.files):
            source = path.read_text()
            changed = re.sub(case.pattern, case.new, source)
            if changed != source:
                path.write_text(changed)
            if re.fullmatch(case.pattern, path.stem):
                path.rename(path.with_stem(case.new))
    return folder


# Its arguments: the folder of a driver, or nothing; a folder for files, a URI, and the name of a client that may be failed.
SERVED = """
    import sys
    if sys.argv[1]:
        sys.path.insert(0, sys.argv[1])
    import threading, time
    from pathlib import Path
    import orjson, pymongo
    from flask import Flask
    from pydantic import SecretStr
    from pymongo import InsertOne, monitoring, pool_shared
    from pymongo.errors import PyMongoError
    from pymongo.monitoring import CommandListener
    from prodfix import NotFound, ProdFix, Settings, classify, current_prodfix, run_transaction
    from prodfix.connection.checkouts import BoundedPool
    from prodfix.connection.clients import Clients, GatedClient
    from prodfix.doctor import resources
    from prodfix.driver import csot, hooked_client, missing_names, session_transactions
    from prodfix.errors import DatabaseUnavailable
    from prodfix.operations.frames import database_operation

    folder, uri, name = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    assert not sys.argv[1] or pymongo.__file__.startswith(sys.argv[1])

    sleepers, sleep = set(), time.sleep

    def slept(seconds):
        sleepers.add(threading.current_thread().name)
        sleep(seconds)

    time.sleep = slept

    # A host is served.

    app = Flask("host")
    settings = Settings(app_env="development", state_dir=folder / "var", log_dir=folder / "log", mongodb_uri=SecretStr(uri))
    services = ProdFix(app, settings=settings, deadline=True).services

    @app.get("/things")
    def things():
        things = current_prodfix.db.things
        things.insert_one({"n": 1})
        things.bulk_write([InsertOne({"n": 2})])
        run_transaction(lambda session: things.insert_many([{"n": 3}, {"n": 4}], session=session))
        list(things.aggregate([{"$match": {"n": 1}}]))
        return {"found": len(list(things.find({"n": {"$gt": 0}}, batch_size=2)))}

    @app.get("/nothing")
    def nothing():
        raise NotFound("nothing")

    web = app.test_client()
    answers = [(answer.status_code, answer.json.get("found")) for answer in map(web.get, ("/things", "/nothing"))]

    # What works.

    class Commands(CommandListener):
        def __init__(self):
            self.sent = []
        def started(self, event):
            self.sent.append(dict(event.command))
        def succeeded(self, event): ...
        failed = succeeded

    def gate():
        if down:
            raise DatabaseUnavailable("down")

    def call(operation):
        calls.append(operation)
        return operation()

    lent, calls, down, commands = [], [], False, Commands()
    lend = BoundedPool.prodfix_lent
    BoundedPool.prodfix_lent = lambda pool, ask: lent.append(pool) or lend(pool, ask)
    client = GatedClient(uri, gate=gate, call=call, event_listeners=[commands], appname=name)
    database = client.get_default_database()
    things = database.things

    def failed(work):
        try:
            work()
        except PyMongoError as error:
            return error

    def operation(work):
        found = database_operation(failed(work))
        return found.collection, "'n'" in str(found.query)

    def fail(command, **facts):
        data = {"failCommands": [command], "appName": name, **facts}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn" if facts else "off", data=data)

    def tries(command, **facts):
        fail(command, **facts)
        before = len(commands.sent)
        with pymongo.timeout(1):
            failed(lambda: things.find_one({}))
        fail(command)
        return sum("find" in command for command in commands.sent[before:])

    overloaded = {"errorCode": 462, "errorLabels": ["SystemOverloadedError", "RetryableError"]}
    works = {}
    with pymongo.timeout(5):
        works["time left"] = csot.remaining() is not None
        things.find_one({}, max_time_ms=300)
        works["limits of callers"] = commands.sent[-1]["maxTimeMS"] <= 300
    works["breaker"], works["waits for the pool"] = bool(calls), bool(lent)
    works["two tries"] = tries("find", errorCode=134) == 2
    works["third try"] = tries("find", **overloaded) >= 3
    closed = next(kind for kind in vars(pool_shared).values() if "PoolClosedError" in getattr(kind, "__name__", ""))
    works["closed pool"] = classify(closed("closed")).code == classify(pymongo.errors.AutoReconnect("lost")).code

    with client.start_session() as session:
        with session.start_transaction():
            things.insert_one({}, session=session)
        works["unanswered commit"] = session_transactions.in_doubt(session)  # if it had had no answer
        session.start_transaction()
        things.insert_one({"n": "aborted"}, session=session)
        assert session_transactions.in_doubt(session)
        session_transactions.abort(session)
        session_transactions.aborted(session)
    assert things.find_one({"n": "aborted"}) is None

    cursor = things.aggregate([], batchSize=1)
    next(cursor)
    fail("getMore", errorCode=2)
    works["collection of a getMore"] = operation(lambda: list(cursor))[0] == "things"
    fail("getMore")
    with GatedClient("mongodb://127.0.0.1:9/host", gate=lambda: None, serverSelectionTimeoutMS=50) as dead:
        works["shape of a query"] = operation(lambda: list(dead.host.things.find({"n": 1}))) == ("things", True)
        insert = [InsertOne({}, namespace="host.things")]
        works["collections of a client's bulk write"] = operation(lambda: dead.bulk_write(insert))[0] == "things"
        operation(lambda: dead.host.things.bulk_write([InsertOne({})]))
    down = True
    works["gate"] = isinstance(failed(lambda: things.find_one({})), DatabaseUnavailable)
    client.close()
    works["closed client"] = hooked_client.is_closed(client)

    monitoring.register(everywhere := Commands())
    clients = Clients(uri, {})
    clients.own.admin.command("buildInfo")
    clients.application.admin.command("buildInfo")
    works["rest of cursors"] = "pymongo_kill_cursors_thread" not in sleepers
    works["rest of monitors"] = not any(name.startswith("pymongo_server") for name in sleepers)
    works["silence of our own clients"] = len(everywhere.sent) == 1  # who listens to all clients hears the application's
    clients.close()

    names = [name.name for name in missing_names.missing()]
    state = services.state().to_json()["driverMissing"]
    told = [finding.facts["names"] for finding in resources._private_names(missing_names.missing())]
    services.close()
    services.database.clients.close()
    print(orjson.dumps([answers, names, state, told, works]).decode())
"""
SERVES = [[200, 4], [404, None]]


@pytest.fixture
def serve_with(
    python: Callable[..., str], tmp_path: Path, database_uri: str, fail: Any
) -> Callable[[Renamed | None], list[Any]]:
    """Serves a host with that version of the driver, or the installed one; what it found."""

    def run(case: Renamed | None) -> list[Any]:
        folder = "" if case is None else version(tmp_path / "driver", case)
        found: list[Any] = orjson.loads(python(SERVED, folder, tmp_path, database_uri, fail.app_name))
        return found

    return run


def test_the_control_with_the_installed_driver_nothing_is_missing(serve_with: Callable[..., list[Any]]) -> None:
    assert serve_with(None) == [SERVES, [], [], [], dict.fromkeys(FEATURES, True)]


@pytest.mark.parametrize("name", CASES)
def test_without_a_name_what_it_stands_for_is_lost_and_told_and_nothing_else(
    serve_with: Callable[..., list[Any]], name: str
) -> None:
    works = {feature: feature not in CASES[name].lost for feature in FEATURES}
    assert serve_with(CASES[name]) == [SERVES, [name], [name], [[name]], works]


def test_each_name_has_a_case() -> None:
    assert [name.name for name in missing_names.NAMES] == list(CASES)


def test_a_deadline_that_is_begun_is_that_of_pymongo_timeout() -> None:
    def now() -> tuple[Any, Any, float]:
        return _csot.get_timeout(), pytest.approx(_csot.get_deadline(), abs=0.5), _csot.get_rtt()

    def begun(seconds: float) -> Any:
        return csot.begin_deadline((seconds, time.monotonic() + seconds))

    before = now()
    for outer, inner in ((10.0, 5.0), (5.0, 10.0)):
        with pymongo.timeout(outer):
            _csot.set_rtt(0.1)
            within = now()
            with pymongo.timeout(inner):
                wanted = now()
            ours = begun(inner)
            _csot.set_rtt(0.2)
            assert now()[:2] == wanted[:2]
            csot.end_deadline(ours)
            assert now() == within
    assert now() == before


# -- nobody else knows them -----------------------------------------------------------------------------------------------


def private(tree: ast.AST) -> set[str]:
    """Names of the driver's that a module uses of anything but itself, overrides, imports, or hands over."""
    known = {re.split(r"[.(]", name.name)[-1].rstrip(")") for name in missing_names.NAMES}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and (node.value.id == "self" or node.value.id[0].isupper())
            found |= set() if own else {node.attr}
        elif isinstance(node, ast.ClassDef) and node.bases:
            found |= {inner.name for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, (ast.keyword, ast.alias)):
            found.add(str(node.arg if isinstance(node, ast.keyword) else node.name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {name for name in found & known if name.startswith("_")}


def test_no_other_room_of_the_library_has_one() -> None:
    files = sorted((ROOT / "prodfix").rglob("*.py"))
    using = {path: names for path in files if (names := private(ast.parse(path.read_text())))}
    assert {path.parent for path in using} == {ROOT / "prodfix" / "driver"}
    assert {"_retry_internal", "_pool_class", "_spec", "_csot"} <= set().union(*using.values())  # the control
