from __future__ import annotations

from itertools import groupby, pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prodfix.connection import attempts
from tests.properties.site import Site
from tests.properties.strategies import lost, moment

pings = st.lists(st.none() | lost, max_size=20)


@given(before=st.integers(1, 3), later=pings)
def test_every_attempt_is_logged(site: Site, before: int, later: list[Exception | None]) -> None:
    """For any database connection loss during operation, all reconnection attempts should be logged with timestamps and
    attempt numbers.

    The driver reconnects by itself and does not say when; an attempt is a ping of ours, which makes the driver try, and its
    number counts from the last good one. A line stands for itself and for the attempts since the line before it: 1, 2, 4, 8 ...,
    and the last one before the return. So all are told, each once, and a long outage does not fill the log.

    Feature: production-deployment-fix, Property 2
    """
    outcomes: list[Exception | None] = [*[None] * before, *later, None]
    _run(site, outcomes)
    lines = [entry for entry in site.told() if entry["event"] == "reconnect"]
    runs = [list(run) for failed, run in groupby(outcomes, bool) if failed]
    told = [
        (number, type(run[number - 1]).__name__)
        for run in runs
        for number in range(1, len(run) + 1)
        if number & (number - 1) == 0 or number == len(run)
    ]
    assert [(entry["attempt"], entry["error"].partition(" ")[0]) for entry in lines] == told
    covered = [
        number for entry in lines for number in range(entry["attempt"] - entry["attempts"] + 1, entry["attempt"] + 1)
    ]
    assert covered == [number for run in runs for number in range(1, len(run) + 1)]
    assert all(moment(entry["timestamp"]) for entry in lines)
    assert [entry["timestamp"] for entry in lines] == sorted(entry["timestamp"] for entry in lines)
    assert lines == [entry for entry in site.filed("database") if entry["event"] == "reconnect"]


@given(st.integers(1, 10_000), st.floats(0.01, 120))
def test_each_attempt_is_in_one_line_and_there_is_one_each_minute(number: int, seconds: float) -> None:
    """The same of outages that last: which attempts have a line follows from their numbers.

    Feature: production-deployment-fix, Property 2
    """
    each = attempts.lines_each(seconds)
    told = [one for one in range(1, number + 1) if attempts.has_line(one, each)]
    assert [attempts.before(one, each) for one in told] == [0, *told[:-1]]
    assert attempts.before(number + 1, each) == told[-1]
    assert all(
        (later - one) * (seconds + attempts.WAIT) <= max(attempts.PERIOD, seconds + attempts.WAIT)
        for one, later in pairwise(told)
    )


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
    heard = {"on_event": monitor._on_event, "on_attempt": monitor._on_attempt, "on_answer": monitor._on_answer}
    monitor.__init__(lambda: admin, **heard, clock=lambda: now)  # type: ignore[arg-type,misc]
    for _ in outcomes:
        now += 2.0
        monitor.ping()
