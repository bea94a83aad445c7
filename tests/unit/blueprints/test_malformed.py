"""One document or file that another release, a hand or a damage has left hides nothing of all the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from flask import Blueprint

from prodfix import make_token
from prodfix.alerts.mutes import FILE
from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import COOKIE, PREFIX
from prodfix.checked_record import SecretStr
from prodfix.records.record_indexes import ERROR_LOG
from prodfix.statistics.decision_orders import ORDERS_FOLDER
from prodfix.statistics.groups import ERROR_GROUPS
from prodfix.statistics.instance_hours import ERROR_MINUTES, identity_of
from prodfix.statistics.window import HOUR, moment_of
from prodfix.web.application import Application

plug_in = Blueprint("odd", __name__)
ODD: tuple[Any, ...] = (None, 7, "x", [], [1], {}, {"x": 1}, True, b"\0", 1e300)
GROUP_FIELDS = (
    "firstSeen", "lastSeen", "title", "category", "headline", "place", "code", "link", "owner", "releases", "resolvedAt",
    "resolvedBy", "regressedAt", "ignored", "note", "escalation", "decided",
)  # fmt: skip
RECORD_FIELDS = (
    "timestamp", "context", "facts", "recovery", "category", "severity", "code", "message", "stack", "trail", "database",
    "fingerprint", "release", "status", "answeredBy",
)  # fmt: skip
SEEN = (
    "", "/page/groups?status=open", "/page/groups?sort=newest", "/page/errors", "/page/endpoints", "/page/alerts", "/errors",
    "/errors/groups", "/errors/records", "/alerts", "/database", "/page/export/errors.csv", "/page/export/errors.json",
    "/page/export/kinds.csv",
)  # fmt: skip


@plug_in.get("/fails")
def fails() -> str:
    raise KeyError("price")


@pytest.fixture
def app(serve: Callable[..., Application], database_uri: str) -> Application:
    app = serve([plug_in, diagnostics], mongodb_uri=SecretStr(database_uri))
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.test_client().get("/fails")
    services = app.extensions["prodfix"]
    services.requests.counters.flush()
    services.errors.storage.tick()
    return app


@pytest.fixture
def see(app: Application) -> Callable[[], dict[str, int]]:
    services, client = app.extensions["prodfix"], app.test_client()
    token = make_token(services.settings, role="admin", lifetime=timedelta(minutes=5), subject="admin")
    client.set_cookie(COOKIE, token, path=PREFIX)

    def ask(path: str) -> Any:
        wanted = "text/html" if path == "" or path.startswith("/page") else "application/json"
        return client.get(PREFIX + path, headers={"Authorization": f"Bearer {token}", "Accept": wanted})

    def statuses() -> dict[str, int]:
        (good,) = [one for one in ask("/errors/groups").json["groups"] if one["endpoints"] == {"/fails": 1}]
        own = (f"/page/groups/{good['fingerprint']}", f"/errors/groups/{good['fingerprint']}")
        return {path: status for path in (*SEEN, *own) if (status := ask(path).status_code) != 200}

    return statuses


@pytest.mark.parametrize("name", GROUP_FIELDS)
def test_a_group(app: Application, see: Callable[[], dict[str, int]], database: Any, name: str) -> None:
    for value in ODD:
        database[ERROR_GROUPS].update_many({}, {"$set": {name: value}})
        assert see() == {}, value
    database[ERROR_GROUPS].update_many({}, {"$unset": {name: ""}})
    assert see() == {}


@pytest.mark.parametrize("name", RECORD_FIELDS)
def test_a_record(app: Application, see: Callable[[], dict[str, int]], database: Any, name: str) -> None:
    (good,) = database[ERROR_LOG].find({})
    other = {**good, "requestId": "f" * 32}
    for value in ODD:
        database[ERROR_LOG].insert_one({**other, "_id": bson.ObjectId(), name: value})
    other.pop(name)
    database[ERROR_LOG].insert_one({**other, "_id": bson.ObjectId()})
    assert see() == {}


@pytest.mark.parametrize(
    "parts",
    [
        *(
            {},
            {"workers": 5},
            {"workers": ["w"], "open": b"x"},
            {"workers": ["w"], "parts": {"0": b"x"}},
            {"workers": None},
        ),
        *({"workers": ["w"], "minutes": odd} for odd in (5, None, [1], {"0": b"x"}, {"x": b"x"}, {"0": 5})),
        *({"workers": ["w"], "sums": odd} for odd in (5, None, [1], {"0": b"x"}, {"x": b"x"}, {"0": 5})),
    ],
)
def test_an_hour_of_another_instance(
    app: Application, see: Callable[[], dict[str, int]], database: Any, parts: dict[str, Any]
) -> None:
    hour = int(time.time() // 3600)
    document = {"_id": identity_of(hour, "other"), "timestamp": moment_of(hour * HOUR), "revision": 1, "final": b"x"}
    database[ERROR_MINUTES].insert_one({**document, **parts})
    assert see() == {}
    services = app.extensions["prodfix"]
    read = services.requests.statistics.read("1h")
    assert (read.coverage().partial, read.statistics().total_errors) == (True, 1), "what it had is not known"
    database[ERROR_MINUTES].delete_one({"_id": document["_id"]})
    assert not services.requests.statistics.read("1h").coverage().partial, "the control"


MUTE = {"rule": "all", "until": time.time() + 86_400, "by": "a", "at": 1.0, "stored": True}


@pytest.mark.parametrize("name", ["rule", "until", "by", "at"])
def test_the_file_of_mutes(app: Application, see: Callable[[], dict[str, int]], name: str) -> None:
    services = app.extensions["prodfix"]
    path = services.settings.state_dir / "journal" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    memory = {**MUTE, "rule": "memory"}
    for value in (None, [], {}, 1e300, -1, True, *(["x"] if name != "by" else [])):
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps([{**MUTE, name: value}, memory]))
        draft.replace(path)  # what is written in place is read by halves meanwhile, and can look the same as before
        assert see() == {}, value
        assert [one.rule for one in services.alerts.read().mutes] == ["memory"], "the control"


def test_the_files_of_decisions(app: Application, see: Callable[[], dict[str, int]], database: Any) -> None:
    services = app.extensions["prodfix"]
    folder = services.settings.state_dir / "journal" / ORDERS_FOLDER
    folder.mkdir(parents=True)
    (good,) = database[ERROR_GROUPS].find({})
    order = {"action": "ignore", "fingerprint": good["_id"], "by": "a", "at": datetime.now(UTC).isoformat()}
    odd = (
        {"more": 2**64 - 1}, {"more": "x"}, {"at": "0001-01-01T00:00:00+14:00"}, {"at": 7}, {"until": "x"}, {"by": 7},
        {"escalates": "x"}, {"text": 7}, {"link": []}, {"fingerprint": None}, {"action": "x"},
    )  # fmt: skip
    for number, change in enumerate(odd):
        (folder / f"{number:015}-odd.json").write_text(json.dumps({**order, **change}))
    (folder / "000000000000099-odd.json").write_text("[1]")
    (folder / "000000000000100-good.json").write_text(json.dumps(order))
    assert see() == {}
    services.errors.storage.tick()
    assert database[ERROR_GROUPS].find_one({"_id": good["_id"]})["ignored"]["by"] == "a", (
        "the one that is one is stored"
    )
