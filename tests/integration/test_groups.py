"""Groups of errors as served: resolved by an admin, back again, told once, and the same from both workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.served import Answer, Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

GROUPS = "/api/v1/diagnostics/errors/groups"
ASKED = 6  # times, over new connections: both workers have their turn


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database_server: str) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("groups")
    uri = f"{database_server.rstrip('/')}/groups_of_{folder.name.replace('-', '_')}"
    with Served(folder, uri, application="tests.hosts.broken:app", APP_RELEASE="v1") as application:
        yield application


def groups(served: Served, endpoint: str) -> list[dict[str, Any]]:
    answer = served.get(f"{GROUPS}?timeRange=24h", served.bearer())
    assert (answer.status, answer.body["scope"]) == (200, "all")
    return [group for group in answer.body["groups"] if endpoint in group["endpoints"]]


def becomes(served: Served, endpoint: str, **facts: Any) -> dict[str, Any]:
    """The one group of this endpoint, once every worker says so of it."""

    def same() -> dict[str, Any] | None:
        found = [groups(served, endpoint) for _ in range(ASKED)]
        one = found[0][0] if len(found[0]) == 1 else {}
        return one if one and all(other == [one] for other in found) and one.items() >= facts.items() else None

    group: dict[str, Any] = until(same, what=f"one group of {endpoint} with {facts} from every worker")
    return group


def change(served: Served, fingerprint: str, what: str, body: Any = None) -> Answer:
    return served.request("POST", f"{GROUPS}/{fingerprint}/{what}", json=body, headers=served.bearer())


def test_a_kind_that_was_resolved_and_comes_back_is_a_regression_told_once(served: Served) -> None:
    for _ in range(4):
        assert served.get("/broken/view").status == 500
    group = becomes(served, "/broken/view", count=4, status="open", releases=["v1"])
    assert group["message"] == "INTERNAL_ERROR (Failure) in tests/hosts/broken.py:view"
    assert change(served, group["fingerprint"], "resolve").body == {"changed": True}
    becomes(served, "/broken/view", status="resolved")
    for _ in range(4):
        assert served.get("/broken/view").status == 500
    becomes(served, "/broken/view", count=8, status="regressed")
    told = [line for line in served.stdout_lines() if line.get("event") == "regression"]
    assert [line["group"]["fingerprint"] for line in told] == [group["fingerprint"]]
    assert change(served, group["fingerprint"], "reopen").status == 200
    becomes(served, "/broken/view", status="open")


def test_values_make_no_kind_of_their_own(served: Served) -> None:
    for number in range(5):
        assert served.get(f"/broken/view/{number}").status == 500
    group = becomes(served, "/broken/view/<int:number>", count=5)
    found = served.get("/api/v1/diagnostics/errors?timeRange=1h", served.bearer()).body
    assert {"message": group["message"], "count": 5, "fingerprint": group["fingerprint"]} in found["topErrors"]


def test_while_the_old_release_runs_its_errors_are_no_regression_if_an_admin_says_so(served: Served) -> None:
    assert served.get("/broken/handler").status == 500
    group = becomes(served, "/broken/handler", count=1, status="open")
    assert change(served, group["fingerprint"], "resolve", {"inNextRelease": True}).status == 200
    assert served.get("/broken/handler").status == 500
    becomes(served, "/broken/handler", count=2, status="resolved")


def test_what_is_ignored_or_noted_is_so_for_every_worker(served: Served) -> None:
    assert served.get("/broken/view/1").status == 500
    fingerprint = becomes(served, "/broken/view/<int:number>")["fingerprint"]
    noted = {"text": "password=hunter2hunter2 in the till", "owner": "team till"}
    assert change(served, fingerprint, "note", noted).status == 200
    assert change(served, fingerprint, "ignore", {"until": "2999-01-01T00:00:00Z"}).body == {"changed": True}
    found = becomes(served, "/broken/view/<int:number>", status="ignored", owner="team till")
    assert (found["ignored"]["by"], found["ignored"]["until"]) == ("admin", "2999-01-01T00:00:00.000Z")
    assert "in the till" in found["note"]["text"]
    assert "hunter2" not in found["note"]["text"]
    listed = served.get(f"{GROUPS}?status=ignored", served.bearer()).body["groups"]
    assert [group["fingerprint"] for group in listed] == [fingerprint]
    assert change(served, fingerprint, "reopen").status == 200
    becomes(served, "/broken/view/<int:number>", status="open", ignored=None)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nothing/ignore", None, 404),
        ("nothing/note", {"text": "x"}, 404),
        ("nothing/note", {}, 404),
        ("nothing/note", {"text": "x" * 1001}, 422),
        ("nothing/ignore", {"until": "2000-01-01T00:00:00Z"}, 404),
        ("nothing/ignore", {"until": 5}, 422),
        ("nothing/resolve", None, 404),
        ("nothing/reopen", None, 404),
        ("nothing/resolve", {"inNextRelease": "yes"}, 422),
        ("nothing/resolve", {"other": True}, 422),
        ("nothing/resolve", [1], 422),
    ],
)
def test_what_is_wrong_with_an_order_is_said(served: Served, path: str, body: Any, status: int) -> None:
    assert served.request("POST", f"{GROUPS}/{path}", json=body, headers=served.bearer()).status == status
    assert served.request("POST", f"{GROUPS}/{path}", json=body).status == 401
