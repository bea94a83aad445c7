"""A short version of the kill trials, and what becomes of the same writes without an operation's ID."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.trials import DATABASE, Trials
from tests.proxy import Proxy
from tests.served import Served
from tests.servers import DatabaseServer

pytestmark = [pytest.mark.served, pytest.mark.faults]


def test_what_was_acknowledged_is_there_once_whatever_was_killed_when(tmp_path: Path) -> None:
    outcome = Trials(tmp_path, seed=1).run(8, least=500)
    print(outcome)
    assert (len(outcome.acknowledged) >= 500, len(outcome.faults) >= 8) == (True, True)
    assert outcome.deferred >= 20
    assert (outcome.lost, outcome.doubled) == (set(), set()), outcome.faults


@pytest.mark.parametrize(("path", "entries"), [("/ledger", 1), ("/ledger/careless", 2)])
def test_an_answer_that_is_lost_doubles_nothing_but_without_an_id_it_does(
    tmp_path: Path, path: str, entries: int
) -> None:
    with DatabaseServer(tmp_path / "data") as server, Proxy(server.port) as proxy:
        uri = proxy.database_uri(DATABASE)
        with Served(tmp_path / "served", uri, application="tests.hosts.ledger:app", workers=1) as served:
            assert served.post(path, {"number": 0}).status == 201
            proxy.lose_reply_of("insert", 1)
            assert served.post(path, {"number": 1}).status in (201, 202)
            assert proxy.lost == ["insert"]
            with server.client() as client:
                assert client[DATABASE].entries.count_documents({"number": 1}) == entries
