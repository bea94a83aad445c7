"""Alerts for programs as they arrive: a kind that is new, told once by two instances and over when it is resolved; and a rate of
errors that is not over because the database is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from prodfix.alerts.conditions import NOT_STORED, SETTLED
from prodfix.records.keeper import ERROR_SAMPLING
from prodfix.statistics.groups import KINDS_STATE
from tests.support.pagers import Pager
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

API = "/api/v1/diagnostics"
NAME = "alert_hooks"
SECRET = "a secret of the hook"


@pytest.fixture
def pager() -> Iterator[Pager]:
    with Pager() as made:
        yield made


def serve(folder: Path, server: DatabaseServer, pager: Pager, instance: str, **variables: str) -> Served:
    urls = f"{pager.hook} pagerduty://KEY?api={pager.api}&rules=new_kind"
    return Served(
        folder / instance,
        f"{server.uri}{NAME}",
        application="tests.hosts.broken:app",
        ALERT_URLS=urls,
        ALERT_HOOK_SECRET=SECRET,
        APP_RELEASE="v7",
        PUBLIC_URL="https://www.example.org",
        RENDER_INSTANCE_ID=instance,
        **variables,
    )


def hooked(pager: Pager, alarm: str) -> list[dict[str, Any]]:
    return [one.body for one in pager.posted if one.path == "/alerts" and one.body["alarm"] == alarm]


def states(pager: Pager, alarm: str) -> list[str]:
    return [body["state"] for body in hooked(pager, alarm)]


def test_a_new_kind_is_one_incident_of_two_instances_until_it_is_resolved(
    server: DatabaseServer, tmp_path: Path, pager: Pager
) -> None:
    with MongoClient[dict[str, Any]](server.uri) as client:  # this service has been watched for long
        begun = {"_id": KINDS_STATE, "begun": datetime.now(UTC) - timedelta(hours=2)}
        client[NAME][ERROR_SAMPLING].insert_one(begun)
    with ExitStack() as stack:
        served = [stack.enter_context(serve(tmp_path, server, pager, name)) for name in ("web-a", "web-b")]
        for one in served * 3:
            assert one.get("/broken/view").status == 500
            assert one.get("/nowhere").status == 404  # of which clients are to blame
        until(lambda: pager.opened == 2, limit=60, what="an incident of the hook and one of the pager")
        (told,) = hooked(pager, "new_kind")
        fingerprint = told["facts"]["fingerprint"]
        assert told["dedupKey"] == f"www.example.org/new_kind:{fingerprint}"
        assert told["url"] == f"https://www.example.org{API}/page/groups/{fingerprint}?timeRange=7d"
        assert told["facts"]["error"] == "INTERNAL_ERROR (Failure) in tests/hosts/broken.py:view"
        assert all("x-prodfix-signature" in one.headers for one in pager.posted if one.path == "/alerts")

        for one in served:
            answer = one.request("POST", f"{API}/errors/groups/{fingerprint}/resolve", json={}, headers=one.bearer())
            assert answer.status == 200
        until(lambda: states(pager, "new_kind") == ["firing", "resolved"], limit=60, what="the end")
        until(lambda: pager.incidents == {}, limit=20, what="nothing that is open")
        assert hooked(pager, "new_kind")[1]["dedupKey"] == told["dedupKey"]
    assert [one.body["event_action"] for one in pager.posted if one.path != "/alerts"] == ["trigger", "resolve"]


def test_consequences_of_an_outage_are_no_new_kinds_and_what_else_fails_meanwhile_is(
    server: DatabaseServer, tmp_path: Path, pager: Pager
) -> None:
    with MongoClient[dict[str, Any]](server.uri) as client:  # this service has been watched for long
        begun = {"_id": KINDS_STATE, "begun": datetime.now(UTC) - timedelta(hours=2)}
        client[NAME][ERROR_SAMPLING].insert_one(begun)
    with serve(tmp_path, server, pager, "web-a") as served:
        server.kill()
        until(lambda: states(pager, "database_lost") == ["firing"], limit=60, what="that it is lost")
        assert served.get("/api/v1/notes").status == 503
        assert served.get("/broken/view").status == 500
        server.start()
        until(lambda: states(pager, "database_lost") == ["firing", "resolved"], limit=60, what="that it is back")
        until(lambda: hooked(pager, "new_kind"), limit=60, what="the control: the other kind")
        (told,) = hooked(pager, "new_kind")
        assert told["facts"]["error"] == "INTERNAL_ERROR (Failure) in tests/hosts/broken.py:view"
        assert told["facts"].get("kinds", 1) == 1
        groups = {
            line["group"]["code"]: line["group"] for line in served.stdout_lines() if line.get("event") == "new-kind"
        }
        assert {code: "incident" in group for code, group in groups.items()} == {
            "DATABASE_UNAVAILABLE": True,
            "INTERNAL_ERROR": False,
        }


REFUSED = ["insert", "update", "findAndModify", "delete"]
FULL = {"mode": "alwaysOn", "data": {"failCommands": REFUSED, "errorCode": 14031}}


@pytest.mark.timeout(400)  # a minute and a half or so until it is told, and another one until it is over
def test_that_the_database_is_full_is_told_once_though_it_takes_no_claim_and_is_over_when_something_is_stored(
    server: DatabaseServer, tmp_path: Path, pager: Pager
) -> None:
    with MongoClient[dict[str, Any]](server.uri) as client, serve(tmp_path, server, pager, "web-a") as served:
        begun = time.monotonic()
        client.admin.command({"configureFailPoint": "failCommand", **FULL})

        def asked(*wanted: str) -> bool:
            served.get("/broken/fine")  # a request is counted, and a count is to be stored
            return states(pager, "storage_failing") == list(wanted)

        until(lambda: asked("firing"), limit=180, every=0.5, what="that nothing is stored")
        assert time.monotonic() - begun > NOT_STORED, "a blip alerts nobody"
        (told,) = hooked(pager, "storage_failing")
        assert (told["severity"], told["facts"]["reason"]) == ("critical", "DISK_FULL")
        (line,) = [line for line in alarms(served, "storage_failing") if line["state"] == "firing"]
        assert line["since"] == told["since"]

        for pid in served.worker_pids():
            os.kill(pid, signal.SIGKILL)
        until(lambda: served.get("/health/db").status == 200, limit=30, what="workers that have refused nothing yet")
        end = time.monotonic() + 2 * SETTLED
        while time.monotonic() < end:
            assert asked("firing"), "who has not tried does not know that it is over"
            time.sleep(0.5)
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
        until(lambda: asked("firing", "resolved"), limit=120, every=0.5, what="the end")
        assert {one.body["dedupKey"] for one in pager.posted if one.body.get("alarm") == "storage_failing"} == {
            "www.example.org/storage_failing"
        }


def test_that_more_requests_fail_is_not_over_when_the_database_is_lost_nor_when_it_is_back(
    server: DatabaseServer, tmp_path: Path, pager: Pager
) -> None:
    with serve(tmp_path, server, pager, "web-a", ALERT_RULES="error_rate,database_lost") as served:
        for _ in range(20):
            assert served.get("/broken/view").status == 500
        until(lambda: states(pager, "error_rate") == ["firing"], limit=60, what="the error rate")
        server.kill()
        until(lambda: states(pager, "database_lost") == ["firing"], limit=30, what="the loss")
        for _ in range(10):
            assert served.get("/broken/view").status == 500
        looked = len(alarms(served, "database_lost"))
        server.start()
        until(lambda: states(pager, "database_lost") == ["firing", "resolved"], limit=60, what="the return")
        assert (looked, states(pager, "error_rate")) == (1, ["firing"]), "nobody has looked at the rate meanwhile"
        (shown,) = served.get(f"{API}/alerts", served.bearer()).body["alarms"]
        assert (shown["kind"], shown["first"]) == ("error_rate", None)

        for _ in range(1500):  # the control: now fewer than 2.5 % fail
            assert served.get("/broken/fine").status == 200
        until(lambda: states(pager, "error_rate") == ["firing", "resolved"], limit=60, what="the end")
        assert [line["state"] for line in alarms(served, "error_rate")] == ["firing", "over"]


def alarms(served: Served, alarm: str) -> list[dict[str, Any]]:
    return [line for line in served.stdout_lines() if line.get("event") == "alarm" and line.get("alarm") == alarm]
