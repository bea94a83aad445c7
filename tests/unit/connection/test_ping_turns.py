"""Pings in turns: an instance sends as many as one worker, and each worker tells the truth whatever becomes of the others."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError
from pymongo.monitoring import ServerHeartbeatFailedEvent

from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.ping_turns import RETRY, PingTurns
from prodfix.instance.heartbeat import PingReport

INTERVAL, MAX_AGE = 1.0, 1.8
LATENCY = 0.002


class World:
    """Time, a database, and workers that take their turns as simulated loops. ``lateness``: of each wake-up, in seconds at most.

    A ping takes no time of the simulation but that of its answer: what happens within is seen by who looks meanwhile.
    """

    def __init__(self, workers: int, *, shared: bool = True, lateness: float = 0.01, seed: int = 1) -> None:
        self.now, self.up, self.hangs = 1000.0, True, False
        self.shared, self._lateness, self._random = shared, lateness, random.Random(seed)
        self.pings: list[tuple[float, int]] = []
        self.workers = [SimulatedWorker(self, number) for number in range(workers)]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            ready = min(self.workers, key=lambda one: one.at)
            if ready.at > end:
                break
            self.now = max(self.now, ready.at)
            ready.step()
        self.now = end

    def late(self) -> float:
        return self._random.uniform(0, self._lateness)

    def pings_in(self, seconds: float) -> int:
        before = len(self.pings)
        self.run(seconds)
        return len(self.pings) - before

    def healthy(self) -> list[bool]:
        return [one.monitor.healthy for one in self.workers if not one.gone]

    def down(self) -> list[bool]:
        return [one.monitor.down for one in self.workers if not one.gone]


class SimulatedWorker:
    """A worker whose ping is cut into its beginning and its end, so that others can look between them."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.gone = self.broken = False
        self.report, self.told_at = PingReport(), -1e9
        self.at = world.now + world.late()
        self.attempts: list[int] = []
        self.monitor = ConnectionMonitor(
            lambda: self,  # type: ignore[arg-type,return-value]
            interval=INTERVAL,
            max_age=MAX_AGE,
            on_attempt=lambda number, error: self.attempts.append(number),
            clock=lambda: world.now,
        )
        self.turns = PingTurns(self.monitor, self.tell, clock=lambda: world.now)
        self.admin = self

    def tell(self, report: PingReport) -> Sequence[PingReport]:
        self.report, self.told_at = report, self.world.now
        others = [one for one in self.world.workers if one is not self and self.world.shared]
        return [one.report for one in others if self.world.now - one.told_at < 3.0]

    def command(self, name: str) -> None:
        """The others go on while this one waits."""
        world, begun = self.world, self.world.now
        world.pings.append((begun, self.number))
        good = world.up and not self.broken
        took = LATENCY if good or not world.hangs else self.monitor.limit
        self.at = float("inf")
        world.run(took)
        if not (world.up and not self.broken):
            raise NetworkTimeout("secret") if world.hangs else ServerSelectionTimeoutError("secret")

    def lose_connections(self, *, noticed: bool = True) -> None:
        """Its own, and no sibling's; ``noticed``: the driver sees that they are closed."""
        self.broken = True
        self.monitor.attend(lambda: setattr(self, "at", self.world.now))
        if noticed:
            (heartbeats, _) = self.monitor.watchers
            event = ServerHeartbeatFailedEvent(0.0, AutoReconnect("secret"), ("a", 1), awaited=True)
            heartbeats.failed(event)  # type: ignore[attr-defined]

    def step(self) -> None:
        if self.gone:
            self.at = float("inf")
            return
        pause = self.turns.tick()
        self.at = float("inf") if self.gone else self.world.now + pause + self.world.late()


def until_told(workers: int, seed: int, *, noticed: bool) -> float:
    """Seconds until a worker whose own connections break says so."""
    world = World(workers, seed=seed)
    world.run(10 + seed / 7)
    broken = world.workers[seed % workers]
    broken.lose_connections(noticed=noticed)
    begun = world.now
    while broken.monitor.healthy:
        world.run(0.05)
        assert [one.monitor.healthy for one in world.workers if one is not broken] == [True] * (workers - 1)
    assert broken.monitor.down
    return world.now - begun


@pytest.mark.parametrize("workers", [2, 4, 8, 40])
def test_a_worker_whose_own_connections_break_says_so_in_time_and_nobody_else(workers: int) -> None:
    assert max(until_told(workers, seed, noticed=True) for seed in range(20)) <= 2.0


def test_the_control_what_the_driver_does_not_notice_is_seen_when_its_turn_comes() -> None:
    assert max(until_told(8, seed, noticed=False) for seed in range(20)) > 2.0


@pytest.mark.parametrize("lateness", [0.0, 0.4])
def test_a_ping_is_asked_with_the_seconds_that_it_is_late(lateness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    ping = ConnectionMonitor.ping

    def noted(monitor: ConnectionMonitor, *, known: bool = False, late: float = 0.0) -> None:
        given.append(late)
        ping(monitor, known=known, late=late)

    monkeypatch.setattr(ConnectionMonitor, "ping", noted)
    World(1, lateness=lateness).run(60)
    assert len(given) > 40
    assert (max(given) > 0.3) is (lateness > 0)
    assert min(given) >= 0.0


@pytest.mark.parametrize("workers", [1, 2, 8, 40])
def test_an_instance_pings_as_often_as_one_worker_and_each_has_its_turn(workers: int) -> None:
    world = World(workers)
    world.run(10)
    assert world.healthy() == [True] * workers
    world.pings.clear()
    assert world.pings_in(60) <= 60 * 1.05
    assert {number for _, number in world.pings} == set(range(workers))
    assert world.down() == [False] * workers


def test_the_control_who_does_not_see_the_others_pings_for_itself() -> None:
    world = World(8, shared=False)
    world.run(10)
    assert world.pings_in(60) > 60 * 7.5
    assert world.healthy() == [True] * 8


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("seed", range(5))
def test_a_loss_and_a_return_are_seen_by_all_within_two_seconds(workers: int, hangs: bool, seed: int) -> None:
    world = World(workers, seed=seed, lateness=0.02)
    world.run(20 + seed * 0.21)
    world.up, world.hangs = False, hangs
    world.run(2.0)
    assert world.healthy() == [False] * workers
    assert world.down() == [True] * workers, "requests are refused, and wait for nothing"
    world.run(30)
    world.up = True
    world.run(2.0)
    assert (world.healthy(), world.down()) == ([True] * workers, [False] * workers)


@pytest.mark.parametrize("workers", [2, 8])
def test_in_a_lasting_outage_one_asks_at_a_time_and_attempts_are_numbered_through(workers: int) -> None:
    world = World(workers)
    world.run(10)
    world.up = False
    world.run(10)
    assert world.pings_in(30) <= 30 / RETRY * 1.05
    attempts = sorted(number for one in world.workers for number in one.attempts)
    assert attempts[-30:] == list(range(attempts[-1] - 29, attempts[-1] + 1))


@pytest.mark.parametrize("within_ping", [False, True])
@pytest.mark.parametrize("workers", [2, 8])
def test_one_that_is_killed_or_stopped_leaves_its_turn_and_nobody_lies(workers: int, within_ping: bool) -> None:
    for seed in range(5):
        world = World(workers, seed=seed)
        world.run(10)
        for _ in range(20):
            victim = min((one for one in world.workers if not one.gone), key=lambda one: one.monitor.own.begun)
            if within_ping:  # it has said that it asks, and is stopped there
                victim.tell(PingReport(world.now, good=True))
            victim.gone = True
            for _ in range(40):
                world.run(0.1)
                assert all(world.healthy())
                assert not any(world.down())
            victim.gone, victim.at = False, world.now
            world.run(3)
            assert all(world.healthy()), "also the one that has come back"


def test_one_whose_connection_is_broken_says_so_and_the_others_do_not() -> None:
    world = World(4)
    world.run(10)
    broken, *others = world.workers
    broken.broken = True
    world.run(8)  # its turn comes every fourth second
    assert (broken.monitor.healthy, broken.monitor.down) == (False, True)
    for _ in range(100):
        world.run(0.1)
        assert not broken.monitor.healthy
        assert all(one.monitor.healthy and not one.monitor.down for one in others)
    world.pings.clear()
    world.run(30)
    asked = [number for _, number in world.pings]
    assert asked.count(0) <= 30 / RETRY * 1.05, "it asks for itself"
    assert len(asked) - asked.count(0) <= 30 * 1.1, "the others as often as before"
    broken.broken = False
    world.run(2)
    assert all(world.healthy())
    assert world.pings_in(30) <= 30 * 1.05


def test_what_a_sibling_found_is_told_as_its_own() -> None:
    world = World(2)
    world.run(10)
    first, second = (one.monitor.health() for one in world.workers)
    assert (first.healthy, first.latency_ms) == (second.healthy, second.latency_ms) == (True, LATENCY * 1000)
    world.up = False
    world.run(10)
    told = [one.monitor.status() for one in world.workers]
    assert {status.last_error for status in told} == {"ServerSelectionTimeoutError"}
    assert {status.state for status in told} == {"reconnecting"}
    assert abs(told[0].reconnect_attempts - told[1].reconnect_attempts) <= 1
