"""MongoDB's error codes: all of them, each with a row that says what may be done about it."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo import MongoClient, helpers_shared
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteError,
)
from pymongo.synchronous import client_session, cursor

from prodfix import classify
from prodfix.classification.classifications import DATABASE_ERROR
from prodfix.classification.classifier import server_code_name
from prodfix.classification.server_codes import SERVER_CODES
from tests.support.scripted_server import ScriptedServer

# The numbers of src/mongo/base/error_codes.yml: all from 1 to 462 but those that it leaves out, and the scattered ones.
LEFT_OUT = {
    *(44, 99, 131, 196, 253, 254, 255, 304, 305, 320, 321, 325, 327, 328, 329, 335, 353, 364, 368),
    *(394, 397, 399, 437, 438, 439, 441),
}
SCATTERED = {
    *(9001, 9996, 10003, 10058, 10107, 10334, 11000, 11600, 11601, 11602, 12586, 12587, 13104, 13113, 13297, 13388),
    *(13435, 13436, 14031, 17280, 28769, 31082, 40413, 40414, 40415, 46841, 50768, 50915, 56846, 57986, 91331),
    *(640570, 640571, 1003141, 4662500, 4938500, 9737301, 9751901, 9751902, 9751903, 10045600, 10171600),
}
OLDER = {8000, 11001, 12582, 16547, 16548, 17406, 28617}  # Atlas, and what the driver still knows of old servers
PLACES = {17419, 17420, 7655103}  # in the code, where something is measured: not in that list
ALL = set(range(1, 463)) - LEFT_OUT | SCATTERED | OLDER | PLACES
# What the server itself calls retriable, and what says that it is overloaded.
RETRIABLE = {
    *(
        6,
        7,
        89,
        91,
        134,
        189,
        262,
        317,
        358,
        384,
        402,
        406,
        407,
        412,
        453,
        462,
        9001,
        10107,
        11600,
        11602,
        13435,
        13436,
    ),
    *(50915, 91331, 10045600),
}
OVERLOADED = {433, 449, 450, 462}
NETWORK = {6, 7, 89, 317, 384, 9001}
NOT_PRIMARY = {189, 10107, 11602, 13435, 13436, 10058}
SHUTDOWN = {91, 333, 11600}
INTERRUPTION = {24, 50, 237, 262, 279, 281, 282, 290, 355, 453, 11600, 11601, 11602, 46841, 91331, 10045600}


def failure(code: int, **details: Any) -> OperationFailure:
    return OperationFailure("canary", code, {"code": code, **details})


def test_every_code_has_a_row_and_a_name() -> None:
    assert set(SERVER_CODES) == ALL
    assert len(ALL) > 480
    assert all(name.isidentifier() and name[0].isupper() for name, _ in SERVER_CODES.values())
    assert len({name for name, _ in SERVER_CODES.values()}) == len(SERVER_CODES)


def test_a_code_that_is_not_there_is_a_database_error_without_a_name() -> None:
    assert 131 not in SERVER_CODES
    assert classify(failure(131)) == DATABASE_ERROR
    assert server_code_name(failure(131)) is None
    assert server_code_name(ValueError()) is None


def test_the_name_of_a_code_is_told_and_never_the_servers_own_text() -> None:
    assert server_code_name(failure(112, codeName="canary")) == "WriteConflict"
    assert server_code_name(NotPrimaryError("x", {"code": 10107})) == "NotWritablePrimary"


def test_what_the_driver_tests_for_is_what_the_table_says() -> None:
    shared: Any = helpers_shared
    for code in shared._RETRYABLE_ERROR_CODES | shared._NOT_PRIMARY_CODES | shared._SHUTDOWN_CODES:
        assert SERVER_CODES[code][1].transient, code
        assert SERVER_CODES[code][1].outcome == "unknown", code
    sessions: Any = client_session
    assert all(SERVER_CODES[code][1].outcome != "not_applied" for code in sessions._UNKNOWN_COMMIT_ERROR_CODES)
    cursors: Any = cursor
    assert set(SERVER_CODES) >= cursors._CURSOR_CLOSED_ERRORS


@pytest.mark.parametrize("code", sorted(RETRIABLE | OVERLOADED))
def test_what_the_server_calls_retriable_is_transient(code: int) -> None:
    assert classify(failure(code)).transient


@pytest.mark.parametrize("code", sorted(NETWORK | NOT_PRIMARY | SHUTDOWN))
def test_a_lost_node_is_an_unavailable_database_and_the_write_is_unknown(code: int) -> None:
    meaning = classify(failure(code))
    assert (meaning.code, meaning.outcome) == ("DATABASE_UNAVAILABLE", "unknown")


@pytest.mark.parametrize("code", sorted(OVERLOADED))
def test_an_overloaded_server_is_busy(code: int) -> None:
    assert classify(failure(code)).code == "DATABASE_BUSY"


def test_what_was_interrupted_never_claims_a_write_that_was_not_taken_back() -> None:
    # Locks, transactions and cursors that are gone took their writes with them; of the others nobody knows.
    taken_back = {24, 237, 282, 290, 453}
    told = {code for code in INTERRUPTION if SERVER_CODES[code][1].outcome == "not_applied"}
    assert told == taken_back


def test_a_retry_is_only_asked_for_where_it_may_help() -> None:
    for code, (name, row) in SERVER_CODES.items():
        assert row.retryable <= row.transient, name
        assert not row.retryable or row.status in (503, 504), (code, name)


# -- our own credentials


REFUSED = (11, 13, 18, 391, 8000)


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("wrapper", [None, ConnectionFailure, AutoReconnect, ServerSelectionTimeoutError])
def test_the_servers_refusal_of_our_credentials_is_ours_also_wrapped_by_the_driver(code: int, wrapper: Any) -> None:
    error: Exception = failure(code)
    if wrapper is not None:
        wrapped = wrapper("canary")
        wrapped.__cause__ = error
        error = wrapped
    meaning = classify(error)
    assert (meaning.status, meaning.severity, meaning.retryable, meaning.transient) == (503, "critical", False, False)
    assert meaning.category == "database_connection"


def test_another_cause_of_a_lost_connection_changes_nothing() -> None:
    # The control: neither a code that is no refusal, nor a refusal that was only being handled.
    lost = AutoReconnect("canary")
    lost.__cause__ = failure(11600)
    assert classify(lost).retryable
    lost.__cause__, lost.__context__ = None, failure(18)
    assert classify(lost).retryable


# -- sizes


@pytest.mark.parametrize("code", [10334, 17280, 17419, 17420, 7655103, 116])
def test_what_is_too_large_is_a_413_whichever_place_in_the_server_measures_it(code: int) -> None:
    for error in (WriteError("canary", code, {"code": code}), failure(code), many(code)):
        meaning = classify(error)
        assert (meaning.code, meaning.status, meaning.outcome) == ("PAYLOAD_TOO_LARGE", 413, "not_applied")


def many(code: int) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [{"index": 0, "code": code, "errmsg": "canary"}], "nInserted": 0})


def test_a_document_that_a_pipeline_makes_too_large_is_nothing_that_a_client_sent() -> None:
    reply = {"ok": 0, "code": 10334, "codeName": "BSONObjectTooLarge", "errmsg": "canary"}
    with ScriptedServer(lambda command: reply) as server, MongoClient(server.uri) as client:
        notes = client["scripted"].notes
        for read in (lambda: list(notes.aggregate([])), lambda: list(notes.find()), notes.find_one):
            with pytest.raises(OperationFailure) as caught:
                read()
            assert classify(caught.value).code == "DATABASE_ERROR"
        for write in (lambda: notes.find_one_and_update({}, {"$set": {"a": 1}}), lambda: notes.insert_one({})):
            with pytest.raises(OperationFailure) as caught:
                write()
            assert classify(caught.value).code == "PAYLOAD_TOO_LARGE"
