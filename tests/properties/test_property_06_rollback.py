from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.synchronous.client_session import ClientSession
from pymongo.synchronous.database import Database

from tests.properties.site import Site

COLLECTIONS = ("accounts", "ledger")
Step = Callable[[Database[Any], ClientSession], Any]


class Refused(Exception):
    """An application's own reason."""


def _refuse(database: Database[Any], session: ClientSession) -> None:
    raise Refused


# What can end a transaction: the application, a key that is taken, a server that does not understand.
ENDS: dict[type[Exception], tuple[str, Step]] = {
    Refused: ("", _refuse),
    DuplicateKeyError: ("insert", lambda database, session: database.accounts.insert_one({"_id": 0}, session=session)),
    OperationFailure: (
        "find",
        lambda database, session: database.ledger.find_one({"x": {"$nope": 1}}, session=session),
    ),
}


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, Step]:
    name, key, amount = draw(st.sampled_from(COLLECTIONS)), draw(st.integers(1, 5)), draw(st.integers(-9, 9))
    kind = draw(st.sampled_from(["insert", "update", "upsert", "delete", "replace"]))

    def step(database: Database[Any], session: ClientSession) -> Any:
        collection = database[name]
        if kind == "insert":
            return collection.insert_one({"amount": amount}, session=session)
        if kind == "delete":
            return collection.delete_many({"_id": key}, session=session)
        if kind == "replace":
            return collection.replace_one({"_id": key}, {"amount": amount}, session=session)
        return collection.update_one(
            {"_id": key}, {"$inc": {"amount": amount}}, upsert=kind == "upsert", session=session
        )

    return {"upsert": "update", "replace": "update"}.get(kind, kind), step


def content(database: Database[Any]) -> list[Any]:
    return [list(database[name].find().sort("_id")) for name in COLLECTIONS]


@given(done=st.lists(steps(), max_size=6), end=st.sampled_from(list(ENDS)), after=st.lists(steps(), max_size=2))
def test_nothing_of_it_stays(
    site: Site, done: list[tuple[str, Step]], end: type[Exception], after: list[tuple[str, Step]]
) -> None:
    """For any failed transaction, all changes should be rolled back and the transaction operations should be logged.

    What is logged is one line for the transaction: its operations, its tries, its outcome, and the error. The control stands
    in the same test: the same steps without the failing one do change what is there.

    Feature: production-deployment-fix, Property 6
    """
    database, transactions = site.services.db, site.services.database.transactions
    for name in COLLECTIONS:
        database[name].delete_many({})
        database[name].insert_many([{"_id": key, "amount": 0} for key in range(4)])
    before = content(database)
    site.clear()

    def fails(session: ClientSession) -> None:
        for _, step in [*done, ENDS[end], *after]:
            step(database, session)

    with pytest.raises(end):
        transactions.run(fails)
    assert content(database) == before
    [entry] = [line for line in site.filed("database") if line["event"] == "transaction"]
    assert (entry["attempts"], entry["outcome"], entry["error"]) == (1, "not_applied", end.__name__)
    assert (entry["database"] is None) == (end is Refused)
    [operations] = entry["operations"]
    sent = [command for command, _ in [*done, ENDS[end]] if command]
    assert [operation["operation"] for operation in operations][: len(sent)] == sent

    def inserts(session: ClientSession) -> None:
        for _, step in done:
            step(database, session)
        database.ledger.insert_one({"_id": 99}, session=session)

    transactions.run(inserts)
    assert content(database) != before
