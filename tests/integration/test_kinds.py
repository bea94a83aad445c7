"""Kinds of errors as served by two workers: the same answer from both, and decisions of an admin also while MongoDB is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.proxy import Proxy
from tests.support.served import Answer, Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

GROUPS = "/api/v1/diagnostics/errors/groups"
ASKED = 6  # times, over new connections: both workers have their turn
SHOWN = ("fingerprint", "headline", "place", "code", "count", "trend", "status", "ignored", "note", "link", "pending")


@pytest.fixture
def proxy(database_server: str) -> Iterator[Proxy]:
    port = urlsplit(database_server).port
    assert port is not None
    with Proxy(port) as made:
        yield made


def kinds(served: Served, **asked: str) -> Answer:
    query = "&".join(f"{name}={value}" for name, value in {"timeRange": "24h", **asked}.items())
    return served.get(f"{GROUPS}?{query}", served.bearer())


def same(served: Served, scope: str, **facts: Any) -> dict[str, Any]:
    """The one kind of the application's own, once all workers say the same of it."""

    def found() -> dict[str, Any] | None:
        answers = [kinds(served, q="view") for _ in range(ASKED)]
        assert {answer.status for answer in answers} == {200}
        told = [[{name: one[name] for name in SHOWN} for one in answer.body["groups"]] for answer in answers]
        one = told[0][0] if len(told[0]) == 1 else {}
        right = one and all(other == [one] for other in told) and one.items() >= facts.items()
        return one if right and {answer.body["scope"] for answer in answers} == {scope} else None

    answered: dict[str, Any] = until(found, what=f"{facts} from every worker")
    return answered


def change(served: Served, fingerprint: str, what: str, body: Any = None) -> Answer:
    return served.request("POST", f"{GROUPS}/{fingerprint}/{what}", json=body, headers=served.bearer())


def test_both_workers_say_the_same_and_take_decisions_with_the_database_up_down_and_up_again(
    proxy: Proxy, tmp_path: Path
) -> None:
    uri = proxy.database_uri(f"kinds_{tmp_path.name.replace('-', '_')[:30]}")
    folder, application = tmp_path / "app", {"application": "tests.hosts.broken:app", "APP_RELEASE": "v1"}
    with Served(folder, uri, **application) as served:
        for _ in range(5):
            assert served.get("/broken/view").status == 500
        known = same(served, "all", count=5, status="open", pending=False)
        fingerprint = known["fingerprint"]
        assert known["headline"] == "Failure: in the view"
        assert known["place"] == "tests/hosts/broken.py:view"
        assert (known["code"], sum(known["trend"]), len(known["trend"])) == ("INTERNAL_ERROR", 5, 24)
        link = "https://issues.example.org/7"
        assert change(served, fingerprint, "note", {"link": link}).body == {"changed": True}
        assert change(served, fingerprint, "note", {"link": "javascript:alert(1)"}).status == 422
        same(served, "all", link=link)

        proxy.set("refuse")
        until(lambda: served.get("/health/db").status == 503, what="the database to be down")
        assert served.get("/broken/view").status == 500
        away = same(served, "instance", count=6, status="unknown", pending=False)
        assert (away["headline"], away["place"], away["code"]) == (known["headline"], known["place"], known["code"])
        answer = change(served, fingerprint, "ignore", {"more": 3})
        assert (answer.status, answer.body) == (202, {"changed": True, "pending": True})
        answer = change(served, fingerprint, "note", {"text": "the till"})
        assert (answer.status, answer.body["pending"]) == (202, True)
        waits = same(served, "instance", status="ignored", pending=True)
        assert (waits["ignored"]["more"], waits["note"]["text"]) == (3, "the till")
        assert change(served, "0" * 16, "ignore").status == 503, "nobody can say whether there is such a kind"

        served.kill()  # kill -9 of all: what was answered with 202 is on the disk
    with Served(folder, uri, wait_for_database=False, **application) as served:
        same(served, "instance", status="ignored", pending=True)

        proxy.set("pass")
        stored = same(served, "all", count=6, status="ignored", pending=False, link=link)
        assert (stored["ignored"]["more"], stored["note"]["text"]) == (3, "the till")
        assert change(served, fingerprint, "reopen").body == {"changed": True}
        same(served, "all", status="open", ignored=None)
