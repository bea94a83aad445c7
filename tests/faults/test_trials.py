"""A short choice of the trials, their controls, and what becomes of the same writes without an operation's ID."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.trials.__main__ import CONTROLS
from tests.faults.trials.report import Summary
from tests.faults.trials.run import Round, play
from tests.support.proxy import Proxy
from tests.support.served import Served
from tests.support.servers import DatabaseServer

pytestmark = [pytest.mark.served, pytest.mark.faults]

SHORT = (
    "replies of the drain lost",
    "reply lost",
    "corrupt replies",
    "reset in a reply",
    "black hole",
    "database killed",
    "worker killed",
    "worker recycled",
    "arbiter killed",
    "clock jump",
    "disk full",
    "page damaged",
)


def summary_of(one: Round, folder: Path) -> Summary:
    summary = Summary()
    summary.add(play(one, folder))
    print(summary)
    return summary


@pytest.mark.timeout(300)  # half a minute or so on a machine that has nothing else to do
def test_whatever_breaks_when_nothing_is_lost_doubled_half_applied_or_told_untruly(tmp_path: Path) -> None:
    end = time.monotonic() + 90
    one = Round(seed=1, count=len(SHORT), writes=400, kinds=SHORT, instances=2, workers=1, until=end)
    summary = summary_of(one, tmp_path)
    assert [line for _, _, violation in summary.violations for line in violation.lines()] == []
    assert not summary.broken
    assert summary.total["acknowledged"] >= 300
    assert summary.total["deferred"] >= 5  # few where others use the machine too
    assert summary.total["faults"] >= len(SHORT) - len(summary.missing)


def test_views_that_break_a_promise_are_found(tmp_path: Path) -> None:
    one = Round(
        seed=2,
        count=2,
        writes=200,
        kinds=("reply lost", "latency"),
        workers=1,
        careless=sorted(set(CONTROLS.values())),
    )
    found = summary_of(one, tmp_path).total
    assert [promise for promise in CONTROLS if not found[promise]] == []


@pytest.mark.parametrize(("path", "entries"), [("/ledger", 1), ("/ledger/careless", 2)])
def test_an_answer_that_is_lost_doubles_nothing_but_without_an_id_it_does(
    tmp_path: Path, path: str, entries: int
) -> None:
    with DatabaseServer(tmp_path / "data") as server, Proxy(server.port) as proxy:
        uri = proxy.database_uri("ledger")
        with Served(tmp_path / "served", uri, application="tests.hosts.ledger:app", workers=1) as served:
            assert served.post(path, {"number": 0}).status == 201
            proxy.lose_reply_of("insert", 1)
            assert served.post(path, {"number": 1}).status in (201, 202)
            assert proxy.lost == ["insert"]
            with server.client() as client:
                assert client.ledger.entries.count_documents({"number": 1}) == entries
