"""What a failed request says of its writes, over all of its commands: the served application on the real server."""

from __future__ import annotations

import contextvars
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import gridfs
import pytest
from flask import Flask, abort
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr
from pymongo import InsertOne, UpdateMany, UpdateOne, WriteConcern
from pymongo.errors import AutoReconnect, PyMongoError

from prodfix import (
    Outcome,
    ProdFix,
    Recovery,
    Settings,
    auxiliary_writes,
    current_prodfix,
    declare_outcome,
    idempotent,
    run_transaction,
)
from prodfix.connection.checkouts import PoolExhausted
from prodfix.request.effects import Effects

LOCK_TIMEOUT, WRITE_CONFLICT = 24, 112
COLLECTIONS = ("notes", "other", "numbers", "source", "target", "audit", "fs.files", "fs.chunks")


@dataclass
class Refusal:
    """A fail point: which commands, and how."""

    commands: tuple[str, ...]
    facts: dict[str, Any]
    skip: int = 0
    times: int | None = None


def refused(*commands: str, code: int = LOCK_TIMEOUT, skip: int = 0, times: int | None = None, **facts: Any) -> Refusal:
    return Refusal(commands, {"errorCode": code, **facts}, skip, times)


def cut(*commands: str) -> Refusal:
    return Refusal(commands, {"closeConnection": True})


@dataclass
class Row:
    """A view, what the server refuses meanwhile, and what the answer must say."""

    view: Callable[[Any], Any]
    refusal: Refusal | None
    answer: tuple[int, str | None, bool]
    headers: dict[str, str] = field(default_factory=dict)
    unlistened: tuple[int, str | None, bool] | None = None
    """The answer where it must be another one without the events of commands."""


def bulk(db: Any) -> None:
    db.notes.bulk_write([InsertOne({"_id": 1}), UpdateOne({"_id": 0}, {"$inc": {"n": 1}})])


def insert_then(view: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def both(db: Any) -> None:
        db.notes.insert_one({"a": 1})
        view(db)

    return both


def unique(db: Any, write: Callable[[Any], Any]) -> None:
    """Documents 0 2 4 6 7 10 with a unique number, and a write that conflicts half-way."""
    with auxiliary_writes():
        db.numbers.create_index("num", unique=True)
        db.numbers.insert_many([{"num": number} for number in (0, 2, 4, 6, 7, 10)])
    write(db.numbers)


def file_of(db: Any) -> None:
    gridfs.GridFS(db).put(b"x" * 600, filename="a", chunk_size=256)


def within(work: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda db: run_transaction(lambda session: work(db, session), retries=0)


def merging(db: Any) -> None:
    """Three documents are merged, the last of which is there already."""
    with auxiliary_writes():
        db.source.insert_many([{"_id": number} for number in range(3)])
        db.target.insert_one({"_id": 2})
    db.source.aggregate([{"$sort": {"_id": 1}}, {"$merge": {"into": "target", "whenMatched": "fail"}}])


def raising(error: Exception) -> Callable[[Any], Any]:
    def view(db: Any) -> None:
        raise error

    return view


def client_bulk(db: Any) -> None:
    names = {"namespace": f"{db.name}.notes"}
    db.client.bulk_write([InsertOne({"_id": 5}, **names), InsertOne({"_id": 5}, **names)])


ROWS = {
    # One refused write is not applied, and may be sent again; and what only read.
    "one insert": Row(lambda db: db.notes.insert_one({}), refused("insert"), (503, "not_applied", True)),
    "one bulk, first command": Row(bulk, refused("insert"), (503, "not_applied", True)),
    "a read": Row(lambda db: db.notes.find_one(), refused("find", code=91), (503, "not_applied", True)),
    "update that met nothing, then a read": Row(
        lambda db: (db.notes.update_one({"a": 9}, {"$set": {"b": 1}}), db.notes.find_one()),
        refused("find", code=91),
        (503, "not_applied", True),
    ),
    "delete that met nothing, then a read": Row(
        lambda db: (db.notes.delete_many({"a": 9}), db.notes.find_one()), cut("find"), (503, "not_applied", True)
    ),
    "findAndModify that met nothing, then a read": Row(
        lambda db: (db.notes.find_one_and_delete({"a": 9}), db.notes.find_one()),
        cut("find"),
        (503, "not_applied", True),
        unlistened=(503, "unknown", False),
    ),
    "an index, then a refused write": Row(
        lambda db: (db.notes.create_index("a"), db.notes.insert_one({})), refused("insert"), (503, "not_applied", True)
    ),
    "a transaction that was aborted": Row(
        within(
            lambda db, session: (db.notes.insert_one({}, session=session), db.other.insert_one({}, session=session))
        ),
        refused("insert", skip=1),
        (503, "not_applied", True),
    ),
    "a transaction whose write lost its connection": Row(
        within(lambda db, session: db.notes.insert_one({}, session=session)),
        cut("insert"),
        (503, "not_applied", True),
    ),
    "a transaction whose commit was refused": Row(
        within(lambda db, session: db.notes.insert_one({}, session=session)),
        refused("commitTransaction", code=WRITE_CONFLICT, errorLabels=["TransientTransactionError"]),
        (503, "not_applied", True),
    ),
    "a duplicate": Row(lambda db: db.notes.insert_one({"_id": "there"}), None, (409, "not_applied", False)),
    # Something was applied.
    "insert, then a refused read": Row(
        insert_then(lambda db: db.notes.find_one()), refused("find", code=11602), (503, "applied", False)
    ),
    **{
        f"insert, then a read refused with {code}": Row(
            insert_then(lambda db: db.notes.find_one()), refused("find", code=code), (status, "applied", False)
        )
        for code, status in ((50, 504), (91, 503), (10107, 503), (13, 503), (2, 500))
    },
    "insert, then a read whose connection is closed": Row(
        insert_then(lambda db: db.notes.find_one()), cut("find"), (503, "applied", False)
    ),
    "insert, then an aggregate": Row(
        insert_then(lambda db: list(db.notes.aggregate([{"$match": {}}]))), cut("aggregate"), (503, "applied", False)
    ),
    "insert, then the deadline": Row(
        insert_then(lambda db: db.notes.find_one()),
        Refusal(("find",), {"blockConnection": True, "blockTimeMS": 3000}),
        (504, "applied", False),
        {"X-Request-Timeout-Ms": "700"},
    ),
    "a write, then a duplicate": Row(
        insert_then(lambda db: db.notes.insert_one({"_id": "there"})), None, (409, "applied", False)
    ),
    "two writes, the second refused": Row(
        insert_then(lambda db: db.notes.update_one({}, {"$set": {"a": 2}})), refused("update"), (503, "applied", False)
    ),
    "a write, then a transaction with a conflict": Row(
        insert_then(within(lambda db, session: db.notes.update_one({}, {"$set": {"a": 2}}, session=session))),
        refused("update", code=WRITE_CONFLICT, errorLabels=["TransientTransactionError"]),
        (503, "applied", False),
    ),
    "a transaction, then a refused read": Row(
        lambda db: (
            within(lambda db, session: db.notes.insert_one({}, session=session))(db),
            db.notes.find_one(),
        ),
        refused("find", code=91),
        (503, "applied", False),
    ),
    "a findAndModify, then a refused read": Row(
        lambda db: (
            db.notes.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}}, upsert=True),
            db.notes.find_one(),
        ),
        cut("find"),
        (503, "applied", False),
        unlistened=(503, "unknown", False),
    ),
    "an upsert, then a refused read": Row(
        lambda db: (db.notes.update_one({"_id": 1}, {"$inc": {"n": 1}}, upsert=True), db.notes.find_one()),
        cut("find"),
        (503, "applied", False),
    ),
    "a write by a command, then a refused read": Row(
        lambda db: (db.command("insert", "notes", documents=[{"_id": 1}]), db.notes.find_one()),
        cut("find"),
        (503, "applied", False),
    ),
    "a collection that was dropped, then a refused read": Row(
        lambda db: (db.drop_collection("notes"), db.notes.find_one()), cut("find"), (503, "applied", False)
    ),
    "a write, then a defect of the view": Row(insert_then(raising(KeyError("a"))), None, (500, "applied", False)),
    "a write, then an outage": Row(
        insert_then(raising(AutoReconnect("lost"))),
        None,
        (503, "applied", False),
    ),
    "a write, then a pool that is full": Row(
        insert_then(raising(PoolExhausted("no connection"))),
        None,
        (503, "applied", False),
    ),
    "not confirmed durably": Row(
        lambda db: db.notes.insert_one({}),
        Refusal(("insert",), {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}),
        (504, "applied", False),
    ),
    # Nobody can tell.
    "a write whose connection is closed": Row(
        lambda db: db.notes.update_many({}, {"$inc": {"n": 1}}), cut("update"), (503, "unknown", False)
    ),
    "a write that was not over in time": Row(
        lambda db: db.notes.insert_one({}), refused("insert", code=50), (504, "unknown", False)
    ),
    "a bulk write, the second command refused": Row(bulk, refused("update"), (503, "unknown", False)),
    "a large insert, the second command refused": Row(
        lambda db: db.notes.insert_many([{"a": 1} for _ in range(5)]),  # two at most in one command
        refused("insert", skip=1),
        (503, "unknown", False),
    ),
    "a file, its entry refused": Row(file_of, refused("insert", skip=1), (503, "unknown", False)),
    "an update of many that conflicts half-way": Row(
        lambda db: unique(db, lambda numbers: numbers.update_many({}, {"$inc": {"num": 1}})),
        None,
        (409, "unknown", False),
    ),
    "an update of many in a bulk that conflicts half-way": Row(
        lambda db: unique(db, lambda numbers: numbers.bulk_write([UpdateMany({}, {"$inc": {"num": 1}})])),
        None,
        (409, "unknown", False),
    ),
    "an ordered insert with a duplicate": Row(
        lambda db: db.notes.insert_many([{"_id": 1}, {"_id": 1}]), None, (409, "unknown", False)
    ),
    "a merge, half-way": Row(merging, None, (409, "unknown", False)),
    "a client's bulk write": Row(client_bulk, None, (409, "unknown", False)),
    "a commit whose reply is lost": Row(
        within(lambda db, session: db.notes.insert_one({}, session=session)),
        cut("commitTransaction"),
        (503, "unknown", False),
    ),
    "a write that nobody confirms, then a refused read": Row(
        lambda db: (
            db.get_collection("notes", write_concern=WriteConcern(w=0)).insert_one({}),
            db.notes.find_one(),
        ),
        refused("find", code=91),
        (503, "unknown", False),
        unlistened=(503, "applied", False),
    ),
    # What an application knows better, or says itself.
    "undone by the view": Row(
        lambda db: (
            db.notes.insert_one({"_id": 1}),
            db.notes.delete_one({"_id": 1}),
            declare_outcome(Outcome.NOT_APPLIED),
            db.notes.find_one(),
        ),
        cut("find"),
        (503, "not_applied", True),
    ),
    "an entry of the audit, then a refused write": Row(
        lambda db: (auxiliary(db), db.notes.insert_one({})), refused("insert", skip=1), (503, "not_applied", True)
    ),
    "its own refusal after a write": Row(insert_then(lambda db: abort(404)), None, (404, None, False)),
    "come again, after a write": Row(
        insert_then(lambda db: abort(429, response=None, retry_after=3)), None, (429, None, True)
    ),
}


def auxiliary(db: Any) -> None:
    with auxiliary_writes():
        db.audit.insert_one({"who": "a"})


@pytest.fixture(scope="module", params=["listening", "not listening"])
def host(request: Any, database_server: str, tmp_path_factory: Any) -> Iterator[Flask]:
    """An application with a view that does what ``app.extensions["view"]`` does: with the query interceptor, and without."""
    app = Flask("rows")
    folder = tmp_path_factory.mktemp("outcomes")
    settings = Settings(
        app_env="development",
        state_dir=folder,
        log_dir=folder / "log",
        jwt_secret_key=SecretStr("0123456789abcdef0123456789abcdef"),
        mongodb_uri=urlsplit(database_server)._replace(path=f"/outcomes_{secrets.token_hex(4)}").geturl(),
        enable_query_logging=request.param == "listening",
        db_heartbeat_ms=500,
        max_retry_attempts=0,
    )
    extension = ProdFix(app, settings=settings, deadline=True)
    app.add_url_rule("/row", "row", lambda: app.extensions["view"](current_prodfix.db) or "fine", methods=["POST"])
    app.add_url_rule("/key", "key", idempotent(lambda: app.extensions["view"](current_prodfix.db)), methods=["POST"])
    with pytest.MonkeyPatch.context() as patch:
        # So that a small insert is several commands, as one of 60 MB would be.
        patch.setattr("pymongo.hello.Hello.max_write_batch_size", property(lambda self: 2))
        yield app
        with app.app_context():
            database = current_prodfix.db
            database.client.drop_database(database.name)
        extension.services.close()


class Asking:
    """Asks for rows, in a database with one note."""

    def __init__(self, host: Flask, fail: Any) -> None:
        self._host, self._fail = host, fail

    def __call__(self, row: Row) -> Any:
        self._host.extensions["view"] = row.view
        self.refuse(row.refusal)
        return self._host.test_client().post("/row", headers=row.headers)

    def refuse(self, refusal: Refusal | None) -> None:
        if refusal is None:
            self._fail.off()
        else:
            self._fail(*refusal.commands, app_name="prodfix", skip=refusal.skip, times=refusal.times, **refusal.facts)

    def clean(self) -> dict[str, Any]:
        """What there is at the beginning."""
        for name in COLLECTIONS:
            current_prodfix.db[name].delete_many({})
        current_prodfix.db.notes.insert_one({"_id": "there"})
        return self.content()

    @staticmethod
    def content() -> dict[str, Any]:
        return {name: list(current_prodfix.db[name].find().sort("_id")) for name in COLLECTIONS}


@pytest.fixture
def ask(host: Flask, fail: Any) -> Asking:
    asking = Asking(host, fail)
    with host.app_context():
        asking.clean()
    return asking


@pytest.mark.parametrize("name", ROWS)
def test_an_outcome_is_the_requests(ask: Callable[[Row], Any], host: Flask, name: str) -> None:
    row = ROWS[name]
    found = ask(row)
    listening = host.extensions["prodfix"].settings.enable_query_logging
    body = found.get_json()
    expected = row.answer if listening or row.unlistened is None else row.unlistened
    assert (found.status_code, body.get("outcome"), body["retryable"]) == expected, body


# -- trying again ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def retrying(host: Flask, monkeypatch: Any) -> Recovery:
    recovery: Recovery = host.extensions["prodfix"].recovery
    monkeypatch.setattr(recovery, "retries", 2)
    monkeypatch.setattr(recovery, "base", 0.001)
    monkeypatch.setattr(recovery, "_budget", None)
    return recovery


AGAIN = {
    "one insert": (lambda db: db.notes.insert_one({}), refused("insert", times=1), False, 2),
    "a bulk, its first command": (bulk, refused("insert", times=1), False, 2),
    "a bulk, its second command": (bulk, refused("update", times=1), False, 1),
    "two writes": (
        insert_then(lambda db: db.notes.update_one({}, {"$set": {"a": 2}})),
        refused("update", times=1),
        False,
        1,
    ),
    "a write and a read": (insert_then(lambda db: db.notes.find_one()), refused("find", code=91, times=2), False, 1),
    "a read": (lambda db: db.notes.find_one(), refused("find", code=91, times=2), True, 2),
    "idempotent, by its own word": (
        lambda db: db.notes.bulk_write([UpdateOne({"_id": 1}, {"$set": {"a": 1}}, upsert=True), InsertOne({"a": 2})]),
        refused("insert", times=1),
        True,
        2,
    ),
}


def outside(host: Flask, run: Callable[[Any], Any]) -> int:
    with host.app_context():
        try:
            run(None)
        except PyMongoError:
            return 503
        return 200


@pytest.mark.parametrize("within_request", [True, False])
@pytest.mark.parametrize("name", AGAIN)
def test_what_may_have_been_applied_is_not_called_again(
    ask: Any, host: Flask, retrying: Recovery, name: str, within_request: bool
) -> None:
    view, refusal, idempotent, calls = AGAIN[name]
    made = []

    def operation() -> Any:
        made.append(1)
        return view(current_prodfix.db)

    def run(db: Any) -> None:
        retrying.run(operation, idempotent=idempotent)

    if within_request:
        status = ask(Row(run, refusal, (0, None, False))).status_code
    else:
        ask.refuse(refusal)
        status = contextvars.Context().run(outside, host, run)
    assert (len(made), status) == (calls, 200 if calls == 2 else 503)


def test_a_client_that_nobody_sees_is_not_asked_again_and_tells_no_more_than_it_knows(
    ask: Any, host: Flask, retrying: Recovery, fail: Any, connect: Any
) -> None:
    notes, made = connect().get_default_database().notes, []

    def operation() -> None:
        made.append(notes.insert_one({"a": 1}))
        notes.update_one({"a": 1}, {"$set": {"b": 1}})

    host.extensions["view"] = lambda db: retrying.run(operation)
    fail("update", errorCode=LOCK_TIMEOUT)
    found = host.test_client().post("/row")
    assert (len(made), notes.count_documents({})) == (1, 1)
    assert (found.status_code, found.get_json()["outcome"], found.get_json()["retryable"]) == (503, "unknown", False)


# -- any sequence ----------------------------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Any], Any]] = {
    "insert": lambda db: db.notes.insert_one({"a": 1}),
    "insert many": lambda db: db.notes.insert_many([{"a": number} for number in range(5)]),
    "duplicate": lambda db: db.notes.insert_many([{"a": 1}, {"_id": "there"}, {"a": 2}]),
    "update": lambda db: db.notes.update_one({"_id": "there"}, {"$inc": {"n": 1}}),
    "update nothing": lambda db: db.notes.update_one({"_id": "away"}, {"$inc": {"n": 1}}),
    "upsert": lambda db: db.notes.update_one({"_id": "made"}, {"$inc": {"n": 1}}, upsert=True),
    "update many": lambda db: db.notes.update_many({}, {"$inc": {"n": 1}}),
    "delete": lambda db: db.notes.delete_one({"_id": "there"}),
    "find and modify": lambda db: db.notes.find_one_and_update({"_id": "there"}, {"$inc": {"n": 1}}),
    "bulk": lambda db: db.notes.bulk_write(
        [InsertOne({"a": 1}), UpdateOne({"_id": "there"}, {"$inc": {"n": 1}}), InsertOne({"a": 2})]
    ),
    "merge": lambda db: db.notes.aggregate([{"$match": {"_id": "there"}}, {"$merge": {"into": "other"}}]),
    "file": file_of,
    "transaction": within(
        lambda db, session: (
            db.notes.insert_one({"a": 1}, session=session),
            db.notes.update_one({"_id": "there"}, {"$inc": {"n": 1}}, session=session),
        )
    ),
    "find": lambda db: db.notes.find_one(),
    "count": lambda db: db.notes.count_documents({}),
}
COMMANDS = ("insert", "update", "delete", "findAndModify", "aggregate", "find", "commitTransaction")
TROUBLES: list[dict[str, Any]] = [
    {"errorCode": LOCK_TIMEOUT},
    {"errorCode": 91},
    {"errorCode": 11600},
    {"errorCode": 50},
    {"closeConnection": True},
    {"errorCode": WRITE_CONFLICT, "errorLabels": ["TransientTransactionError"]},
    {"writeConcernError": {"code": 64, "errmsg": "not replicated"}},
    {"writeConcernError": {"code": 91, "errmsg": "shutting down", "errorLabels": ["RetryableWriteError"]}},
]


@given(
    names=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4),
    command=st.sampled_from(COMMANDS),
    trouble=st.sampled_from(TROUBLES),
    skip=st.integers(0, 4),
    end=st.sampled_from([None, KeyError("a view's own defect"), AutoReconnect("lost")]),
)
def test_no_sequence_of_commands_makes_it_say_less_than_was_done(
    ask: Any, host: Flask, names: list[str], command: str, trouble: dict[str, Any], skip: int, end: Exception | None
) -> None:
    """What says ``not_applied``, or may be sent again, has left the database as it was; ``applied`` has changed it. The
    control: with a ledger that sees nothing the same examples tell lies (below)."""
    if not host.extensions["prodfix"].settings.enable_query_logging:
        # The embedded server forgets a write that it answers so, and refuses the driver's second try as a duplicate.
        assume("errorLabels" not in trouble.get("writeConcernError", {}))
    problem = answered(ask, host, names, Refusal((command,), trouble, skip), end)
    assert problem is None, problem


def answered(ask: Any, host: Flask, names: list[str], refusal: Refusal, end: Exception | None) -> str | None:
    """What was done and what was said, if the two do not fit."""
    ask.refuse(None)
    with host.app_context():
        before = ask.clean()

        def view(db: Any) -> None:
            for name in names:
                STEPS[name](db)
            if end is not None:
                raise end

        body = ask(Row(view, refusal, (0, None, False))).get_json(silent=True)
        ask.refuse(None)
        changed = ask.content() != before
    if body is None:
        return None
    says = body.get("outcome")
    lies = (changed and says in (None, "not_applied")) or (changed and body["retryable"])
    if lies or (says == "applied" and not changed):
        return f"{names} changed: {changed}, said: {says}, {body['code']}, retryable: {body['retryable']}"
    return None


def test_without_the_ledger_it_does_say_less(ask: Any, host: Flask, monkeypatch: Any) -> None:
    monkeypatch.setattr(Effects, "verdict", property(lambda self: None))
    assert answered(ask, host, ["insert", "find"], refused("find", code=91), None) is not None
