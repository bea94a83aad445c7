"""Instances with alerts whose clock a test turns, and whose leader can be killed at every single step."""

from __future__ import annotations

import os
import pathlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from prodfix.alerts import agreement, leader_state
from prodfix.alerts.alert_routing import Routing
from prodfix.alerts.conditions import JournalUse
from prodfix.alerts.messages import Origin
from prodfix.alerts.policy import Policy
from prodfix.alerts.service import LOOK, Alerts
from prodfix.alerts.situation import Observer
from prodfix.journal.journal import Journal
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import Workers
from tests.support.counting_worker import Clock

CHANNELS = {"mailto #1": "mailto://canary-one", "json #2": "json://canary-two"}


class Killed(BaseException):
    """SIGKILL, as far as one process can play it: nothing more is done."""


class Steps:
    """Counts what a leader does, and kills it at the ``at``-th step."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.done = 0

    def __call__(self) -> None:
        self.done += 1
        if self.done == self.at:
            self.at = None
            raise Killed

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work`` with a step before it and one after it."""

        def stepped(*arguments: Any, **options: Any) -> Any:
            self()
            answer = work(*arguments, **options)
            self()
            return answer

        return stepped


class Stepped:
    """A module of which some functions are steps."""

    def __init__(self, module: Any, *names: str) -> None:
        self._module, self._names = module, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return stepped(found) if name in self._names else found


def stepped(work: Callable[..., Any]) -> Callable[..., Any]:
    """``work`` with a step of the instance whose turn it is before it, and one after it."""

    def counted(*arguments: Any, **options: Any) -> Any:
        return Instance.turning.steps.around(work)(*arguments, **options)

    return counted


def step_files(patch: pytest.MonkeyPatch) -> None:
    """Each thing that is done to the leader's file is a step: a draft may be torn, whole, or in its place and not noted."""
    replace = pathlib.Path.replace
    patch.setattr(leader_state, "os", Stepped(os, "open"))
    patch.setattr(
        pathlib.Path,
        "replace",
        lambda path, target: (stepped(replace) if path.name == "alerts.new" else replace)(path, target),
    )


def step_claims(patch: pytest.MonkeyPatch) -> None:
    """Each thing that is asked of MongoDB is a step."""
    for name in ("look_all", "add", "hold", "release"):
        patch.setattr(agreement, name, stepped(getattr(agreement, name)))


class Programs:
    """What has arrived, and where: ``failing`` are channels that refuse everything."""

    def __init__(self) -> None:
        self.arrived: list[dict[str, Any]] = []
        self.tried: Counter[str] = Counter()
        self.failing: dict[str, str] = {}

    def __call__(self, jobs: Sequence[dict[str, Any]], stdout: int) -> None:
        for job in jobs:
            reason = self.failing.get(job["channel"])
            self.tried[job["channel"]] += 1
            if reason is None:
                self.arrived.append(job)
            answer = {
                "notification": job["notification"],
                "channel": job["channel"],
                "ok": reason is None,
                "reason": reason,
            }
            os.write(stdout, orjson.dumps(answer) + b"\n")

    def titles(self, channel: str = "json #2") -> list[str]:
        """Without the instance."""
        return [job["title"].rpartition(" (")[0] for job in self.arrived if job["channel"] == channel]


class Instance:
    """One instance with one worker at a time. ``workers`` is what its workers say; ``database`` is None while MongoDB is down."""

    def __init__(self, name: str, folder: Path, clock: Clock, database: Any = None, **options: Any) -> None:
        self.name, self.folder, self.clock, self.database = name, folder / name, clock, database
        self.steps, self.programs = Steps(), Programs()
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.seen: list[dict[str, Any]] = []
        self.backlog: JournalUse | None = JournalUse(0, 0.0)
        self._options: dict[str, Any] = {"cool_down": 0.0, "most": 20, "channels": CHANNELS} | options
        self.well()
        self.start()

    # -- what its workers see -----------------------------------------------------------------------------------------------

    def well(self) -> None:
        self.seen = [{"connection": {"state": "connected"}, "uptimeSeconds": 3600.0, "incidents": [], "losses": 0}]

    def sees(self, *incidents: str, **facts: Any) -> None:
        self.well()
        self.seen[0] |= {"incidents": list(incidents), **facts}

    # -- its worker ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.journal = Journal(self.folder)
        self.journal.open()
        self.alerts = self._made(self.journal)

    def _made(self, journal: Journal) -> Alerts:
        workers = Workers(journal, clock=self.clock)

        def read(**_: Any) -> list[WorkerState]:
            return [WorkerState.from_json({"worker": journal.boot, "pid": 1, **one}) for one in self.seen]

        workers.read = read  # type: ignore[method-assign]
        limits: dict[str, Any] = {"max_entries": 10, "max_bytes": 10_000, "memory_limit": lambda: None}
        observer = Observer(journal, workers, instance=self.name, **limits)
        observer._count = lambda: setattr(observer, "_use", self.backlog)  # type: ignore[method-assign]
        options = dict(self._options)
        routes = {name: options.pop(name) for name in ("routes", "on", "quiet") if name in options}
        routing = Routing(options.pop("channels"), **routes)
        origin = Origin(self.name, "v1", lambda: "https://example.org/api/v1/diagnostics")
        policy = Policy(lambda: self.database, origin=origin, report=self._report, routing=routing, **options)
        return Alerts(
            journal,
            observer,
            policy,
            origin=origin,
            routing=routing,
            report=self._report,
            send=self.steps.around(self.programs),
            clock=self.clock,
        )

    def _report(self, severity: Any, message: str, facts: Any) -> None:
        self.told.append((str(severity), message, dict(facts)))

    def another(self, journal: Journal) -> Alerts:
        """A second worker of this instance."""
        return self._made(journal)

    turning: Instance
    """The one whose turn it is: whoever stands between it and MongoDB counts its steps."""

    def turn(self, seconds: float = LOOK) -> None:
        """One look and one delivery; if the worker is killed, another one takes its place."""
        Instance.turning = self
        self.clock.now += seconds
        try:
            self.alerts.look()
            self.alerts.deliver()
        except Killed:
            self.kill()
            self.start()

    def turns(self, number: int, seconds: float = LOOK) -> None:
        for _ in range(number):
            self.turn(seconds)

    def kill(self) -> None:
        """The kernel closes what it had open."""
        self.alerts._leader.lock.release()
        self.journal.close()

    @property
    def titles(self) -> list[str]:
        return self.programs.titles()
