"""The page and the API say how many records are kept of how many errors, and why none is stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from prodfix import make_token
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.records.storage_refusal import StorageStatus
from prodfix.web.application import Application
from prodfix.workers.worker_state import WorkerState

HTML = {"Accept": "text/html"}
REFUSED = StorageStatus(refused="DISK_FULL", since=datetime(2026, 11, 29, tzinfo=UTC), waiting=7)
AWAY = StorageStatus(lost_since=datetime(2026, 11, 29, tzinfo=UTC), waiting=8)
SAMPLED = StorageStatus(sampled_kinds=3, kept=1234, bytes=20 * 2**20, max_bytes=100 * 2**20)


@pytest.fixture
def ask(serve: Callable[..., Application]) -> Callable[..., Any]:
    """Asks an application one of whose workers stores like this."""
    app = serve([diagnostics])
    services = app.extensions["prodfix"]
    token = make_token(services.settings, role="admin", lifetime=timedelta(minutes=5), subject="admin")

    def get(storage: StorageStatus, path: str, **headers: str) -> Any:
        client = app.test_client()
        client.get(f"{PREFIX}/alerts")  # the first one opens the journal
        row = ("other", time.time(), orjson.dumps(WorkerState(worker="other", storage=storage).to_json()))
        services.runtime.journal.write([("INSERT OR REPLACE INTO status (worker, at, entry) VALUES (?, ?, ?)", row)])
        return client.get(f"{PREFIX}{path}", headers={"Authorization": f"Bearer {token}", **headers})

    return get


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (REFUSED, "MongoDB takes no errors and counts</strong> (DISK_FULL)"),
        (AWAY, "The database of the diagnostics does not answer"),
        (SAMPLED, "Of 3 kinds only a sample of the records is kept; in all 1234 records, 20.0 MiB of 100.0 MiB"),
    ],
)
def test_the_overview_says_so(ask: Callable[..., Any], storage: StorageStatus, words: str) -> None:
    assert words in ask(storage, "", **HTML).text
    assert words not in ask(StorageStatus(), "", **HTML).text  # the control


def test_a_list_of_errors_says_that_it_is_a_sample(ask: Callable[..., Any]) -> None:
    words = "Of 3 kinds of errors only a sample is kept"
    assert words in ask(SAMPLED, "/page/errors", **HTML).text
    assert words not in ask(StorageStatus(), "/page/errors", **HTML).text
    assert words in ask(SAMPLED, "/page/requests/some-id-1", **HTML).text
    assert words not in ask(StorageStatus(), "/page/requests/some-id-1", **HTML).text


def test_a_request_that_is_not_found_may_be_one_of_those_that_are_not_kept(ask: Callable[..., Any]) -> None:
    answer = ask(SAMPLED, "/requests/some-id-1")
    assert (answer.status_code, [one["code"] for one in answer.json["details"]]) == (404, ["perhaps_thinned"])
    plain = ask(StorageStatus(), "/requests/some-id-1")
    assert (plain.status_code, plain.json["details"]) == (404, [])


def test_the_report_says_how_much_there_is(ask: Callable[..., Any]) -> None:
    told = ask(SAMPLED, "/database").json["storage"]
    assert (told["kept"], told["bytes"], told["maxBytes"], told["sampledKinds"]) == (1234, 20 * 2**20, 100 * 2**20, 3)
    assert ask(REFUSED, "/database").json["storage"]["refused"] == "DISK_FULL"
