"""Alerts as they arrive: one for the loss of the database and one for its return, however many workers and whoever is killed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prodfix.alerts.leader_state import LOCK
from tests.support.receivers import MailServer, Told, WebHook
from tests.support.served import Served
from tests.support.servers import DatabaseServer
from tests.support.waiting import until

pytestmark = [pytest.mark.served, pytest.mark.faults]

LOST = "[critical] The database does not answer"
BACK = "[over] The database answers again"
CANARY = "canary7f3a"


class Receivers:
    """A mail server and a web hook, both of which are told everything; the hook's URL has a password and a path."""

    def __init__(self, mail: MailServer, hook: WebHook) -> None:
        self._both = (mail, hook)
        self.urls = f"{mail.url} json://user:{CANARY}@127.0.0.1:{hook.port}/{CANARY}"

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """How often each title has arrived, without the instance."""
        first, second = (Counter(told.title.rpartition(" (")[0] for told in receiver.told) for receiver in self._both)
        return first, second

    def wait_for(self, *, lost: int, back: int, limit: float = 30.0) -> None:
        """Exactly so many of each kind, in both."""
        wanted = +Counter({LOST: lost, BACK: back})
        until(lambda: self.counts() == (wanted, wanted), limit=limit, what=f"{lost} lost and {back} back in both")

    @property
    def told(self) -> list[Told]:
        return [told for receiver in self._both for told in receiver.told]


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with MailServer() as mail, WebHook() as hook:
        yield Receivers(mail, hook)


def serve(folder: Path, server: DatabaseServer, receivers: Receivers, workers: int, **variables: str) -> Served:
    given = {"ALERT_URLS": receivers.urls, "APP_RELEASE": "v7", "PUBLIC_URL": "https://www.example.org", **variables}
    return Served(folder, f"{server.uri}alerts", workers=workers, **given)


def sender(served: Served) -> int | None:
    """The PID of the worker that has the lock, as the kernel tells it."""
    inode = (served.folder / "state" / "journal" / LOCK).stat().st_ino
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    found = [int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5].endswith(f":{inode}")]
    return found[0] if len(found) == 1 and found[0] in served.worker_pids() else None


def alarms(served: Served) -> list[dict[str, Any]]:
    return [line for line in served.stdout_lines() if line.get("event") == "alarm"]


def test_four_workers_tell_once_of_each_loss_and_return_also_when_the_sender_is_killed(
    server: DatabaseServer, tmp_path: Path, receivers: Receivers
) -> None:
    with serve(tmp_path / "served", server, receivers, 4, ALERT_COOLDOWN_MINUTES="0") as served:
        server.kill()
        receivers.wait_for(lost=1, back=0)
        server.start()
        receivers.wait_for(lost=1, back=1)

        first = until(lambda: sender(served), what="a sender")
        server.kill()
        until(lambda: served.get("/health/db").status == 503, every=0.01, what="the second loss")
        os.kill(first, signal.SIGKILL)
        receivers.wait_for(lost=2, back=1)
        server.start()
        receivers.wait_for(lost=2, back=2)
        assert until(lambda: sender(served), what="another sender") != first

        logged = until(lambda: _delivered(served, 8), what="each delivery in the log")
        assert {line["channel"] for line in logged} == {"mailto #1", "json #2"}
        changes = [(line["alarm"], line["state"]) for line in alarms(served) if "alarm" in line]
        assert changes == [("database_lost", "firing"), ("database_lost", "over")] * 2
    receivers.wait_for(lost=2, back=2, limit=0)
    for told in receivers.told:
        assert "release: v7\ndetails: https://www.example.org/api/v1/diagnostics" in told.text.replace("\r", "")
        assert str(server.port).encode() not in told.raw
    shown = served.stdout() + "".join(path.read_text() for path in (served.folder / "log").iterdir() if path.is_file())
    assert CANARY not in shown
    assert "mailto #1" in shown, "the control: this is where it would stand"


def _delivered(served: Served, number: int) -> list[dict[str, Any]]:
    found = [line for line in alarms(served) if line["message"] == "an alert was delivered"]
    return found if len(found) == number else []


def test_of_two_instances_each_tells_of_the_loss_and_one_of_the_return(
    server: DatabaseServer, tmp_path: Path, receivers: Receivers
) -> None:
    with (
        serve(tmp_path / "a", server, receivers, 2, RENDER_INSTANCE_ID="web-a") as first,
        serve(tmp_path / "b", server, receivers, 2, RENDER_INSTANCE_ID="web-b") as second,
    ):
        server.kill()
        receivers.wait_for(lost=2, back=0)
        server.start()
        receivers.wait_for(lost=2, back=1)
        # Both have seen that it is over, and one has left it to the other.
        for served in (first, second):
            until(lambda served=served: [line["state"] for line in alarms(served) if "alarm" in line][1:] == ["over"])
    receivers.wait_for(lost=2, back=1, limit=0)
    assert {f"instance: web-{name}" in told.text for told in receivers.told for name in "ab"} == {True, False}
