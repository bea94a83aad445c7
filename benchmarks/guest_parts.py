"""What :mod:`benchmarks.guest` measures: instances at rest and under load, of one build or of two beside each other."""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.instances import APPLICATION, READS, Instance, Sent, database, instance, passed, served, stored
from benchmarks.load import Load
from benchmarks.team import Tick

FLEETS = ((1, 2), (1, 8), (2, 8))  # instances of so many workers, on one database
RATE = 25.0  # requests a second of an instance, of which 4 fail and 16 send a command
WORKERS = 2  # of an instance under load
SECOND = [*(f"/guest/find/{one}" for one in range(12)), *(f"/guest/save/{one}" for one in range(4))]
SECOND += ["/guest/broken", "/guest/missing"] * 2 + ["/guest/nothing"] * 5
WORK = "30"  # ms that a view waits on average, where what is counted depends on how long requests take
AGENTS = (  # two phones, a tablet, a desktop
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile Safari",
    "okhttp/4.12.0",
    "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Safari",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
)


@dataclass(frozen=True)
class Row:
    """One line: ``most`` is what is wanted of ``now``; ``control`` and ``interval`` belong to a ratio."""

    what: str
    unit: str
    today: float | None
    now: float | None
    most: float | None
    control: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        if self.now is None or self.most is None:
            return "not measured"
        if self.control is not None and abs(self.control - 1) > self.most - 1:
            return "noise"
        return "held" if self.now <= self.most else "missed"


class Bench:
    """All measurements of one run, with ``tick`` once a second. Rows and what they were made of."""

    def __init__(self, trees: Mapping[str, Path], options: argparse.Namespace, tick: Tick) -> None:
        self._trees, self._options, self._tick = trees, options, tick
        self.rows: list[Row] = []
        self.details: dict[str, Any] = {}

    def idle(self) -> None:
        sent = {workers: self._side_by_side(workers) for workers in (2, 8)}
        for workers, most in ((2, 1.0), (8, 1.5)):
            found = sent[workers]
            self._row(f"commands/s, idle instance of {workers} workers", "/s", found, lambda one: one.own(), most)
            self._row(
                f"writes/s among them, {workers} workers",
                "/s",
                found,
                lambda one: one.own(of=lambda n, _: n not in READS),
                0.0,
            )
            self.details[f"idle {workers}"] = {name: one.shown() for name, one in found.items()}
        for workers, found in sent.items():
            used = {name: 1000 * one.cpu / one.seconds for name, one in found.items()}
            most = used["today"] / 3 if "today" in used else None
            self.rows.append(
                Row(f"idle CPU of an instance of {workers} workers", "ms/s", used.get("today"), used.get("now"), most)
            )

    def _side_by_side(self, workers: int) -> dict[str, Sent]:
        with ExitStack() as stack:
            beside = {name: stack.enter_context(instance(tree, workers)) for name, tree in self._trees.items()}
            return passed(beside, self._options.idle, self._options.settle, self._wait)

    def busy(self) -> None:
        with ExitStack() as stack:
            beside = {
                name: stack.enter_context(instance(tree, WORKERS, GUEST_WORK=WORK))
                for name, tree in self._trees.items()
            }
            loads = {
                name: stack.enter_context(Load(one.served, SECOND, rate=RATE, agents=AGENTS))
                for name, one in beside.items()
            }
            found = passed(beside, self._options.busy, self._options.settle, self._wait)
        self._row(
            "own commands/s per worker, 25 requests/s, 4 errors/s", "/s", found, lambda one: one.own() / WORKERS, 1.2
        )
        each = {name: one.bytes_for_counts() / WORKERS / 1000 for name, one in found.items()}
        self.rows.append(
            Row("bytes to MongoDB for counts, per worker", "KB/s", each.get("today"), each.get("now"), 0.5)
        )
        self.details["busy"] = {name: one.shown() for name, one in found.items()}
        self.details["answers"] = {
            name: {str(status): n for status, n in sorted(Counter(one.status for one in load.seen).items())}
            for name, load in loads.items()
        }
        self.details["application's commands/s"] = {
            name: round(sum(n for (_, place), n in one.commands.items() if place == APPLICATION) / one.seconds, 2)
            for name, one in found.items()
        }

    def latency(self) -> None:
        rounds, seconds = self._options.rounds, self._options.turn
        took: dict[str, list[list[float]]] = {}
        with ExitStack() as stack:
            beside = {}
            for name, tree in self._trees.items():
                for state in ("on", "off", "off again") if name == "now" else ("on", "off"):
                    quiet = {"GUEST_BACKGROUND": state.partition(" ")[0]}
                    beside[f"{name} {state}"] = stack.enter_context(instance(tree, WORKERS, counted=False, **quiet))
            took = {name: [] for name in beside}
            for turn in range(rounds + 1):  # the first one warms
                for name in random.sample(sorted(beside), len(beside)):
                    with Load(beside[name].served, SECOND, rate=RATE) as load:
                        self._wait(seconds)
                    if turn:
                        took[name].append([one.took for one in load.seen])
        ratios = {name: _ratio(took[f"{name} on"], took[f"{name} off"]) for name in self._trees}
        now = ratios.get("now")
        control = _ratio(took["now off again"], took["now off"])[0] if now else None
        self.rows.append(
            Row(
                "the application's p99 beside our background writes, to that without",
                "x",
                ratios["today"][0] if "today" in ratios else None,
                now[0] if now else None,
                1.05,
                control,
                now[1] if now else None,
            )
        )
        self.details["p99 ms"] = {name: round(_p99(_flat(turns)), 2) for name, turns in took.items()}
        self.details["p50 ms"] = {name: round(statistics.median(_flat(turns)), 2) for name, turns in took.items()}

    def cost(self) -> None:
        """What instances of so many workers take from one database, with the load of :data:`RATE` for each of them."""
        *_, (name, tree) = self._trees.items()
        for instances, workers in self._options.fleets:
            with ExitStack() as stack:
                proxy, uri = stack.enter_context(database())
                fleet = [stack.enter_context(served(tree, uri, workers, GUEST_WORK=WORK)) for _ in range(instances)]
                for one in fleet:
                    stack.enter_context(Load(one, SECOND, rate=RATE, agents=AGENTS))
                first, *others = fleet
                watched = {name: Instance(first, proxy)} | {str(n): Instance(one, None) for n, one in enumerate(others)}
                sent = passed(watched, self._options.busy, self._options.settle, self._wait)[name]
                kept = stored(uri)
            self.details[f"cost of {instances} x {workers} workers"] = {
                "commands/s": round(sent.own(), 2),
                "bytes written/s": round(sent.written()),
                "each": sent.shown(),
                "stored": kept,
            }

    def _row(self, what: str, unit: str, found: Mapping[str, Sent], of: Callable[[Sent], float], most: float) -> None:
        values = {name: of(one) for name, one in found.items()}
        self.rows.append(Row(what, unit, values.get("today"), values.get("now"), most))

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            self._tick()


def _flat(turns: Sequence[Sequence[float]]) -> list[float]:
    return [value for turn in turns for value in turn]


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def _ratio(on: Sequence[Sequence[float]], off: Sequence[Sequence[float]]) -> tuple[float, tuple[float, float]]:
    """Of the p99 over all turns, with the interval that drawing turns anew gives."""
    chance, drawn = random.Random(1), []
    for _ in range(1000):
        turns = [chance.randrange(len(on)) for _ in on]
        drawn.append(_p99(_flat([on[turn] for turn in turns])) / _p99(_flat([off[turn] for turn in turns])))
    drawn.sort()
    return _p99(_flat(on)) / _p99(_flat(off)), (drawn[25], drawn[974])
