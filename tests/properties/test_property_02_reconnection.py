from __future__ import annotations

from itertools import groupby
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.site import Site
from tests.properties.strategies import lost, moment

pings = st.lists(st.none() | lost, max_size=20)


@given(before=st.integers(1, 3), later=pings)
def test_every_attempt_is_logged(site: Site, before: int, later: list[Exception | None]) -> None:
    """For any database connection loss during operation, all reconnection attempts should be logged with timestamps and
    attempt numbers.

    The driver reconnects by itself and does not say when; an attempt is a ping of ours, which makes the driver try, and its
    number counts from the last good one.

    Feature: production-deployment-fix, Property 2
    """
    outcomes: list[Exception | None] = [*[None] * before, *later]
    _run(site, outcomes)
    attempts = [entry for entry in site.told() if entry["event"] == "reconnect"]
    expected = [
        (number, error) for failed, run in groupby(outcomes, bool) if failed for number, error in enumerate(run, 1)
    ]
    assert [(entry["attempt"], entry["error"].partition(" ")[0]) for entry in attempts] == [
        (number, type(error).__name__) for number, error in expected
    ]
    assert all(moment(entry["timestamp"]) for entry in attempts)
    assert [entry["timestamp"] for entry in attempts] == sorted(entry["timestamp"] for entry in attempts)
    assert attempts == [entry for entry in site.filed("database") if entry["event"] == "reconnect"]


@given(later=pings)
def test_the_state_follows(site: Site, later: list[Exception | None]) -> None:
    """A loss and a return are told once each, whatever comes between, and the loss with the number of attempts so far.

    Feature: production-deployment-fix, Property 2
    """
    _run(site, [None, None, *later])
    changes = [
        (entry["state"], entry["message"], entry["reconnectAttempts"])
        for entry in site.told()
        if entry["event"] == "connection"
    ]
    words = [message.removeprefix("connection ") for _, message, _ in changes]
    assert words == (["connected", "disconnected", "reconnecting"] * len(changes))[: len(changes)]
    assert all((attempts >= 2) == (word != "connected") for word, (_, _, attempts) in zip(words, changes, strict=True))
    status = site.services.database.monitor.status()
    assert status.reconnect_attempts == len(later) - max(
        (i for i, error in enumerate([None, *later]) if error is None), default=0
    )


def _run(site: Site, outcomes: list[Exception | None]) -> None:
    """Let the monitor ping with these outcomes, two seconds apart: longer than a good ping counts."""
    site.clear()
    monitor, now = site.services.database.monitor, 0.0

    def command(name: str) -> None:
        outcome = coming.pop(0)
        if outcome is not None:
            raise outcome

    coming = list(outcomes)
    admin: Any = SimpleNamespace(admin=SimpleNamespace(command=command))
    monitor.__init__(lambda: admin, on_event=monitor._on_event, on_attempt=monitor._on_attempt, clock=lambda: now)  # type: ignore[misc]
    for _ in outcomes:
        now += 2.0
        monitor.ping()
