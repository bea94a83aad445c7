"""One round: a deployment, its clients, faults one after another; then all that waits is to be applied, and is judged."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.trials import faults, plan, state
from tests.faults.trials.clients import Clients
from tests.faults.trials.deployment import DATABASE, Deployment, deployed
from tests.faults.trials.history import Begun, History
from tests.faults.trials.oracle import Verdict, judge
from tests.faults.trials.watcher import Watcher

SETTLED_LIMIT = 150.0  # seconds after the last fault; a server that has lost its client ends a transaction after 60
MORE = 2  # times as many faults, at most, until enough is acknowledged
LONGEST_PAUSE = 5.0  # seconds in which what a fault has hindered may come, before the next one
OTHERS = 40  # accepted writes that all instances are asked for in the end
LEFT_OPEN_ROUND = 4  # in every fourth round the server ends a transaction after 60 s, as MongoDB does, else after 5

Tell = Callable[[plan.Fault, int], None]


@dataclass(frozen=True, slots=True)
class Round:
    """What is tried: ``count`` faults of ``kinds``, and more until ``writes`` are acknowledged or ``until`` (monotonic)."""

    seed: int
    count: int
    writes: int
    kinds: Sequence[str] = plan.KINDS
    instances: int = 1
    workers: int = 2
    txn_lifetime: float = 5.0
    until: float = float("inf")
    careless: Sequence[str] = ()


@dataclass(slots=True)
class Outcome:
    history: History
    verdict: Verdict
    missing: dict[str, str]
    """Kinds of faults that this machine could not produce, and why."""


def play(round_: Round, folder: Path, tell: Tell = lambda fault, acknowledged: None) -> Outcome:
    """The outcome of one round. ``tell`` is called after each fault, with the number of writes acknowledged so far."""
    history = History(round_.seed, round_.instances)
    with (
        deployed(
            folder, instances=round_.instances, workers=round_.workers, txn_lifetime=round_.txn_lifetime
        ) as deployment,
        deployment.server.client(serverSelectionTimeoutMS=200, socketTimeoutMS=2000) as client,
    ):
        clients = Clients(deployment.served, seed=round_.seed, careless=round_.careless)
        watcher = Watcher(deployment.served, clients.accepted, client[DATABASE], clients.now, seed=round_.seed)
        with watcher:
            with clients:
                for fault in _chosen(round_, deployment, clients):
                    time.sleep(fault.rest)
                    _await_share(round_, fault, clients)
                    _produce(deployment, fault, history, clients.now())
                    tell(fault, clients.acknowledged)
            history.settled = _settle(deployment)
        history.requests, history.polls = clients.requests, watcher.polls + watcher.last(others=OTHERS)
        with deployment.server.client(socketTimeoutMS=60_000) as patient:
            verdict = judge(history, state.read(patient[DATABASE]))
        return Outcome(history, verdict, deployment.missing())


def _chosen(round_: Round, deployment: Deployment, clients: Clients) -> Iterator[plan.Fault]:
    kinds = [kind for kind in round_.kinds if kind not in deployment.missing()]
    if not kinds:
        return
    for fault in plan.faults(round_.seed, kinds=kinds, instances=round_.instances):
        enough = fault.number >= round_.count and clients.acknowledged >= round_.writes
        if enough or fault.number >= MORE * round_.count or time.monotonic() > round_.until:
            return
        yield fault


def _await_share(round_: Round, fault: plan.Fault, clients: Clients) -> None:
    """Until as much is acknowledged as belongs to the faults so far: with nothing under way a fault breaks nothing."""
    share = min(1.0, fault.number / round_.count) * round_.writes
    end = time.monotonic() + LONGEST_PAUSE
    while clients.acknowledged < share and time.monotonic() < end:
        time.sleep(0.05)


def _produce(deployment: Deployment, fault: plan.Fault, history: History, now: float) -> None:
    begun = Begun(fault.number, fault.kind, now, str(fault))
    history.faults.append(begun)
    told, begun.exposed = faults.produce(deployment, fault)
    begun.told = f"{fault}: {told}" if told else str(fault)


def _settle(deployment: Deployment) -> float | None:
    """Seconds until nothing waits any more, with nobody asking but who looks."""
    begun = time.monotonic()
    while time.monotonic() - begun < SETTLED_LIMIT:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if deployment.waiting() == 0:
                return time.monotonic() - begun
        time.sleep(0.2)
    return None


def rounds(
    *,
    seed: int,
    count: int,
    faults: int,
    writes: int,
    kinds: Sequence[str],
    instances: int | None = None,
    until: float = float("inf"),
    careless: Sequence[str] = (),
) -> Iterator[Round]:
    """``count`` rounds that share ``faults`` and ``writes``, with seeds from ``seed`` on; with ``instances``, or else one and
    two of them in turn."""
    for number in range(count):
        yield Round(
            seed + number,
            -(-faults // count),
            -(-writes // count),
            kinds,
            instances=instances or 1 + number % 2,
            txn_lifetime=60.0 if number % LEFT_OPEN_ROUND == LEFT_OPEN_ROUND - 1 else 5.0,
            until=until,
            careless=careless,
        )
