"""MongoDB as the doctor sees it: what each check finds, where it is silent, and what is left while it is away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from pymongo import IndexModel, MongoClient

from prodfix import Document
from prodfix.deferral.operation_status import OPERATIONS
from prodfix.diagnostics.selftest import TEST_COLLECTION
from prodfix.doctor import costs, server
from prodfix.doctor import database as module
from prodfix.doctor.checks import FAMILIES
from prodfix.doctor.deployment import Deployment
from prodfix.doctor.findings import Finding
from prodfix.doctor.server import Hello, Server
from prodfix.records.record_indexes import ERROR_LOG, RecordIndexes, make
from tests.support.doctor_cases import Case, findings, judge
from tests.support.scripted_server import ScriptedServer

PRODUCTION = {"app_env": "production"}
OWN = "prodfix-own"  # the appname of the client that is asked
PRIMARY = {"setName": "rs0", "isWritablePrimary": True}


class Shelf(
    Document, collection="shelves", indexes=[IndexModel("slug", name="by_slug", unique=True), IndexModel("at")]
):
    slug: str
    at: int


class Operation(Document, collection=OPERATIONS):
    slug: str


@pytest.fixture
def app(adopt: Callable[..., Flask], database_uri: str) -> Iterator[Callable[..., Flask]]:
    with contextlib.ExitStack() as stack:

        def make(**settings: Any) -> Flask:
            made = adopt(mongodb_uri=SecretStr(database_uri), **settings)
            stack.callback(made.extensions["prodfix"].database.clients.close)
            return made

        yield make


@pytest.fixture
def look(app: Callable[..., Flask]) -> Callable[[Case], list[Finding]]:
    return lambda case: findings(case, app(**case.settings))


def says(monkeypatch: pytest.MonkeyPatch, ahead: float | None = 0.0, **reply: Any) -> None:
    """The server's answer to ``hello`` is this one."""
    monkeypatch.setattr(Server, "_ask", lambda self: Hello(reply or PRIMARY, 0.001, ahead))


# -- the server -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    ["database-reachable", "server-version", "server-topology", "clock", "rights", "transactions", "own-indexes"],
)
def test_a_server_that_is_well_is_left_alone(look: Callable[[Case], list[Finding]], code: str) -> None:
    case = Case(code, "ok")
    judge(case, look(case))


TOLD = [
    (Case("server-topology", "warning", "standalone"), 0.0, {"isWritablePrimary": True}),
    (Case("server-topology", "ok"), 0.0, {"msg": "isdbgrid", "isWritablePrimary": True}),
    (Case("server-topology", "error", "no primary"), 0.0, {"setName": "rs0", "secondary": True}),
    (Case("transactions", ""), 0.0, {"isWritablePrimary": True}),
    (Case("clock", "warning", "3 s ahead of"), 3.0, PRIMARY),
    (Case("clock", "warning", "2 s behind"), -2.1, PRIMARY),
    (Case("clock", "error", "31 s behind"), -31.0, PRIMARY),
    (Case("clock", "ok"), 1.9, PRIMARY),
    (Case("clock", ""), None, PRIMARY),
]


@pytest.mark.parametrize(("case", "ahead", "reply"), TOLD, ids=lambda value: str(value)[:40])
def test_what_hello_says_is_judged(
    look: Callable[[Case], list[Finding]],
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
    ahead: float | None,
    reply: dict[str, Any],
) -> None:
    says(monkeypatch, ahead, **reply)
    judge(case, look(case))


def test_the_clocks_are_compared_in_the_middle_of_the_round_trip(app: Callable[..., Flask]) -> None:
    services = app().extensions["prodfix"]
    hello = Server(services.database.clients).first()
    assert hello.ahead is not None
    assert abs(hello.ahead) < 0.5  # one host, one clock
    assert 0 < hello.seconds < 3


def test_an_old_release_is_told(look: Callable[[Case], list[Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLDEST", (99, 0))
    case = Case("server-version", "warning", "gets no fixes any more")
    judge(case, look(case))


@pytest.mark.parametrize(
    ("case", "command", "code"),
    [
        (Case("rights", "error", "code 13"), "insert", 13),
        (Case("rights", "error", "code 13"), "delete", 13),
        (Case("transactions", "error", "code 20"), "commitTransaction", 20),
    ],
    ids=str,
)
def test_what_may_not_be_written_is_tried(
    look: Callable[[Case], list[Finding]], fail: Any, case: Case, command: str, code: int
) -> None:
    fail(command, app_name=OWN, errorCode=code)
    judge(case, look(case))


def test_trying_leaves_no_document(look: Callable[[Case], list[Finding]], database: Any) -> None:
    for code in ("rights", "transactions"):
        look(Case(code, "ok"))
    assert TEST_COLLECTION in database.list_collection_names()  # the control: something was written
    assert database[TEST_COLLECTION].count_documents({}) == 0


# -- what it costs ----------------------------------------------------------------------------------------------------------

TEN = Deployment(instances=10)


@pytest.mark.parametrize(
    ("case", "quota", "disk"),
    [
        (Case("database-cost", "ok", "an instance of 2 workers sends"), None, None),
        (Case("database-cost", "ok", "25 requests and 4 errors a second", deployment=TEN), None, 10**12),
        (Case("database-cost", "ok", "an instance of 2 workers sends"), costs.FREE, None),
        (Case("database-cost", "warning", "a free Atlas cluster's 100 a second", deployment=TEN), costs.FREE, None),
        (Case("database-cost", "warning", "has stored is"), None, 1000),
    ],
    ids=str,
)
def test_what_it_costs_is_told_and_more_than_a_tenth_of_a_known_quota_is_a_warning(
    look: Callable[[Case], list[Finding]],
    monkeypatch: pytest.MonkeyPatch,
    database: Any,
    case: Case,
    quota: Any,
    disk: int | None,
) -> None:
    database.error_log.insert_many([{"requestId": str(number), "text": "x" * 1000} for number in range(20)])
    monkeypatch.setattr(costs, "_quota", lambda database: quota)
    monkeypatch.setattr(costs, "_disk", lambda database: disk)
    found = look(case)
    judge(case, found)
    assert found[0].facts["storedBytes"] > 20_000


def test_a_free_cluster_is_known_by_the_command_that_it_alone_answers(database: Any) -> None:
    assert costs._quota(database) is None
    with ScriptedServer(lambda command: {"ok": 1.0, "atlasSize": 5}) as server, MongoClient(server.uri) as client:
        assert costs._quota(client.get_database("x")) is costs.FREE


# -- away -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "served", "level", "words"),
    [
        (PRODUCTION, True, "error", "does not start"),
        ({}, True, "note", "not set"),
        (PRODUCTION, False, "warning", "this instance's only"),
        ({}, False, "note", "this instance's only"),
    ],
)
def test_without_a_uri_it_depends_on_who_serves(
    adopt: Callable[..., Flask],
    serve: Callable[..., Flask],
    settings: dict[str, Any],
    served: bool,
    level: str,
    words: str,
) -> None:
    case = Case("database-reachable", level, words, settings)
    judge(case, findings(case, (serve if served else adopt)(**settings)))
    other = Case("clock", "")
    judge(other, findings(other, adopt()))


def test_while_it_is_away_only_one_check_complains(
    adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "EACH", 0.3)
    app = adopt(mongodb_uri=SecretStr("mongodb://canary:canary7f3a@127.0.0.1:9/x"))
    app.extensions["prodfix"].documents.register(Shelf)
    begun = time.monotonic()
    found = {check.code: findings(Case(check.code, ""), app) for check in FAMILIES["database"]}
    assert time.monotonic() - begun < 15
    assert found.pop("diagnostics-reachable") == []  # there is none but the application's
    (reachable,) = found.pop("database-reachable")
    assert (reachable.level, "DATABASE_UNAVAILABLE" in reachable.found) == ("error", True)
    for findings_of in found.values():
        (finding,) = findings_of
        assert (finding.level, finding.found) == ("note", "could not be checked: the database does not answer")
    assert "canary" not in str(found) + str(reachable)


def test_a_database_that_refuses_us_is_told_from_one_that_is_down(
    look: Callable[[Case], list[Finding]], fail: Any
) -> None:
    fail("hello", app_name=OWN, errorCode=18)
    (finding,) = look(Case("database-reachable", "error"))
    assert (finding.level, "18" in finding.found) == ("error", True)
    assert "credentials" in finding.advice


def test_all_checks_together_have_a_limit(app: Callable[..., Flask]) -> None:
    services = app().extensions["prodfix"]
    patient = Server(services.database.clients, limit=5.0)
    with patient.asked() as database:
        database.command("ping")
    assert patient._end is not None
    patient._end -= 5.0
    with pytest.raises(server.NotChecked, match="took more than"), patient.asked():
        pass


# -- collections and indexes ------------------------------------------------------------------------------------------------


def test_models_whose_indexes_are_missing_are_told(look: Callable[[Case], list[Finding]]) -> None:
    register = lambda app: app.extensions["prodfix"].documents.register(Shelf)  # noqa: E731
    here = Case(
        "model-indexes",
        "note",
        "not made yet: shelves: create index by_slug; shelves: create index at_1",
        prepare=register,
    )
    judge(here, look(here))
    there = Case("model-indexes", "error", "shelves: create index by_slug", PRODUCTION, prepare=register)
    error, warning = look(there)
    judge(there, [error])
    judge(Case("model-indexes", "warning", "shelves: create index at_1", PRODUCTION), [warning])


def test_models_whose_indexes_are_there_and_no_models_are_silent(
    look: Callable[[Case], list[Finding]], app: Callable[..., Flask]
) -> None:
    documents = app(**PRODUCTION).extensions["prodfix"].documents
    documents.register(Shelf)
    documents.apply()
    case = Case(
        "model-indexes", "ok", "", PRODUCTION, prepare=lambda app: app.extensions["prodfix"].documents.register(Shelf)
    )
    judge(case, look(case))
    none = Case("model-indexes", "", settings=PRODUCTION)
    judge(none, look(none))


def test_what_prodfix_makes_itself_is_as_it_should_be(
    look: Callable[[Case], list[Finding]], app: Callable[..., Flask]
) -> None:
    services = app().extensions["prodfix"]
    services.errors.storage.indexes.apply(services.database.clients.own_db)
    services.deferral.status._make_index(services.database.clients.own_db)
    case = Case("own-indexes", "ok")
    judge(case, look(case))


def test_an_index_by_which_errors_are_found_is_missed(look: Callable[[Case], list[Finding]], database: Any) -> None:
    make(database, {ERROR_LOG: RecordIndexes(8, list).wanted()[ERROR_LOG]})
    database[ERROR_LOG].drop_index("prodfix_user")
    case = Case("own-indexes", "warning", "missing: error_log.prodfix_user")
    judge(case, look(case))


def test_an_index_that_removes_what_is_old_is_missed(look: Callable[[Case], list[Finding]], database: Any) -> None:
    database[ERROR_LOG].insert_one({"requestId": "r", "category": "c", "severity": "s"})
    case = Case("own-indexes", "warning", "error_log.prodfix_expiry, error_log.prodfix_request")
    judge(case, look(case))


def test_one_of_another_length_is_an_operators_choice(look: Callable[[Case], list[Finding]], database: Any) -> None:
    database[ERROR_LOG].create_index([("timestamp", -1)], name="prodfix_expiry", expireAfterSeconds=60)
    make(database, {ERROR_LOG: RecordIndexes(8, list).wanted()[ERROR_LOG]})
    case = Case("own-indexes", "note", "error_log.prodfix_expiry")
    judge(case, look(case))


@pytest.mark.parametrize("how", ["stored", "modelled"])
def test_a_collection_of_the_applications_with_a_name_of_ours_is_an_error(
    look: Callable[[Case], list[Finding]], database: Any, how: str
) -> None:
    def prepare(app: Flask) -> None:
        if how == "modelled":
            app.extensions["prodfix"].documents.register(Operation)

    if how == "stored":
        database[OPERATIONS].insert_one({"timestamp": 1, "patient": "canary7f3a"})
    case = Case("collection-names", "error", "names of prodfix's: operations", prepare=prepare)
    found = look(case)
    judge(case, found)
    assert "canary7f3a" not in str(found)


def test_documents_that_prodfix_has_stored_are_known_as_its_own(
    look: Callable[[Case], list[Finding]], app: Callable[..., Flask], until: Callable[..., Any], database: Any
) -> None:
    services = app().extensions["prodfix"]
    services.start()
    services.errors.log.log_error(KeyError("x"))
    services.errors.incidents.begin("error_rate")
    wanted = {ERROR_LOG, "connection_events", "error_minutes", "error_groups", "incidents", "incident_heads"}
    until(lambda: {name for name in database.list_collection_names() if database[name].find_one({})} >= wanted)
    services.close()
    case = Case("collection-names", "ok")
    judge(case, look(case))


# -- another database for what is ours ----------------------------------------------------------------------------------------


CANARY = "mongodb://canary-user:canary7f3a@127.0.0.1:9/kept"


@pytest.mark.parametrize(
    ("elsewhere", "case"),
    [
        (None, Case("diagnostics-reachable", "")),
        (None, Case("diagnostics-apart", "")),
        ("the same", Case("diagnostics-apart", "note", "application's own database")),
        ("beside it", Case("diagnostics-apart", "note", "application's own cluster")),
        (CANARY, Case("diagnostics-apart", "ok")),
        ("beside it", Case("diagnostics-reachable", "ok")),
        (CANARY, Case("diagnostics-reachable", "warning", "does not answer")),
        (CANARY, Case("database-reachable", "ok")),
        ("beside it", Case("own-indexes", "ok")),
        ("beside it", Case("collection-names", "ok")),
    ],
    ids=str,
)
def test_a_database_of_the_diagnostics_is_looked_at(
    look: Callable[[Case], list[Finding]], database_uri: str, elsewhere: str | None, case: Case
) -> None:
    places = {"the same": database_uri, "beside it": f"{database_uri}_kept"}
    uri = places.get(elsewhere, elsewhere) if elsewhere is not None else None
    found = look(replace(case, settings={"diagnostics_uri": SecretStr(uri)} if uri else {}))
    judge(case, found)
    assert "canary" not in str(found)


def test_indexes_are_looked_for_where_what_is_ours_is(
    look: Callable[[Case], list[Finding]], database: Any, database_uri: str
) -> None:
    kept = database.client[f"{database.name}_kept"]
    kept[ERROR_LOG].insert_one({"requestId": "r", "category": "c", "severity": "s"})
    try:
        settings = {"diagnostics_uri": SecretStr(f"{database_uri}_kept")}
        case = Case("own-indexes", "warning", "error_log.prodfix_expiry", settings)
        judge(case, look(case))
        case = Case("own-indexes", "ok")
        judge(case, look(case))  # the control: in the application's there is nothing to be missed
    finally:
        database.client.drop_database(kept.name)
