from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import UpdateOne
from pymongo.errors import PyMongoError
from pymongo.synchronous.collection import Collection

from prodfix import Clients, RequestContext
from prodfix.errors import DatabaseUnavailable
from prodfix.redaction.names import mask_key
from prodfix.request.context import reset_context, set_context
from tests.properties.site import Site
from tests.properties.strategies import contexts, moment, names

# Operations that MongoDB refuses when the filter has an operator it does not know, by the command that is sent.
OPERATIONS: list[tuple[str, Callable[[Collection[Any], dict[str, Any]], Any]]] = [
    ("find", lambda collection, wanted: collection.find_one(wanted)),
    ("find", lambda collection, wanted: list(collection.find(wanted, {"name": 1}).sort("name").limit(5))),
    ("update", lambda collection, wanted: collection.update_one(wanted, {"$set": {"name": "new"}})),
    ("update", lambda collection, wanted: collection.update_many(wanted, {"$inc": {"count": 1}}, upsert=True)),
    ("update", lambda collection, wanted: collection.replace_one(wanted, {"name": "new"})),
    ("delete", lambda collection, wanted: collection.delete_one(wanted)),
    ("delete", lambda collection, wanted: collection.delete_many(wanted)),
    ("findAndModify", lambda collection, wanted: collection.find_one_and_update(wanted, {"$set": {"name": "new"}})),
    ("findAndModify", lambda collection, wanted: collection.find_one_and_delete(wanted)),
    ("aggregate", lambda collection, wanted: list(collection.aggregate([{"$match": wanted}, {"$limit": 1}]))),
    ("aggregate", lambda collection, wanted: collection.count_documents(wanted)),
    ("distinct", lambda collection, wanted: collection.distinct("name", wanted)),
    ("bulkWrite", lambda collection, wanted: collection.bulk_write([UpdateOne(wanted, {"$set": {"name": "new"}})])),
]
SECRET = secrets.token_hex(8)
secret_values = st.recursive(
    st.sampled_from([SECRET, f"{SECRET}@example.com", SECRET.encode(), [SECRET]]),
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(names, inner, min_size=1, max_size=2),
    max_leaves=4,
)


@pytest.fixture
def client(site: Site, database_uri: str) -> Iterator[tuple[Clients, list[bool]]]:
    """The application's client, and whether its database is known to be down."""
    down: list[bool] = [False]

    def gate() -> None:
        if down[0]:
            raise DatabaseUnavailable

    options = site.services.settings.mongo_options()
    clients = Clients(database_uri, options, listeners=(site.services.queries.interceptor,), gate=gate)
    yield clients, down
    clients.close()


@given(
    operation=st.sampled_from(OPERATIONS),
    collection=names.map("c_".__add__),
    field=names,
    value=secret_values,
    context=contexts(),
    unreachable=st.booleans(),
)
def test_the_entry_tells_what_failed(
    site: Site,
    client: tuple[Clients, list[bool]],
    operation: tuple[str, Callable[[Collection[Any], dict[str, Any]], Any]],
    collection: str,
    field: str,
    value: Any,
    context: RequestContext,
    unreachable: bool,
) -> None:
    """For any failed database query, the error log should include operation type, collection name, sanitized query
    parameters, full stack trace, and request context (user ID, endpoint, timestamp).

    Also while MongoDB cannot be reached, when the driver publishes no command at all: then the exception's own frames tell.
    The query is its shape, with types for values; a bulk write's is the number and kinds of its parts. The stack has
    places only: texts, source lines and local values would hold the data again.

    Feature: production-deployment-fix, Property 3
    """
    command, run = operation
    clients, client_down = client
    client_down[0] = unreachable
    wanted = {field: {"$nope": value}, "owner": value}
    site.services.database.clients.own_db[collection].insert_one({field: 1, "owner": value})
    token = set_context(context)
    site.clear()
    try:
        run(clients.db[collection], wanted)
    except PyMongoError as error:
        log = site.services.errors.log
        log.append(log.record(error, context))
    else:
        raise AssertionError("it did not fail")
    finally:
        reset_context(token)
    [entry] = site.errors()
    assert entry in site.filed("database")
    assert entry["category"] == ("database_connection" if unreachable else "database_query")
    assert entry["database"]["operation"] == command
    assert entry["database"]["collection"] == collection
    assert (entry["database"]["durationMs"] is not None) >= (not unreachable and command != "bulkWrite")
    query = str(entry["database"]["query"])
    assert collection in query
    assert command == "bulkWrite" or (mask_key(field) in query and "$nope" in query)
    assert entry["stack"].count(" in ") > 3
    assert "in test_the_entry_tells_what_failed" in entry["stack"]
    assert "pymongo/synchronous/" in entry["stack"]
    assert entry["context"]["userId"] is not None
    assert entry["context"]["endpoint"] == context.endpoint
    assert moment(entry["context"]["timestamp"])
    assert SECRET in str(wanted)  # the control: the same search finds it where it is
    assert SECRET.encode() not in site.written()
