"""Workers that live at once and take their turns in random order, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from config import tether

Tick = Callable[[], object]
ROOT = Path(__file__).resolve().parent.parent
BLOCK = 0.03  # seconds of work between two turns


class WorkerDied(RuntimeError):
    """A worker ended, and what it said last."""


class Member:
    """One worker process. ``python``: another interpreter than this one; ``before``: what stands before the program;
    ``environment``: all of its environment, instead of this process's."""

    def __init__(
        self,
        uri: str,
        setups: Sequence[str],
        *options: str,
        python: str | None = None,
        before: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = ", ".join(setups)
        line = [*before, python or sys.executable, "-m", "benchmarks.worker", *options, uri, *setups]
        given = os.environ if environment is None else environment
        variables = {**given, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
        # Tied to this process: who interrupts the benchmarks leaves nobody behind.
        self._process = subprocess.Popen(
            tether.command(line), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=variables
        )
        self.works: list[str] | None = None

    def ready(self) -> list[str]:
        """Its works, once it has made them."""
        if self.works is None:
            self.works = self.answer()
        return self.works

    def ask(self, order: str, **arguments: Any) -> Any:
        """Give an order, and wait for the answer. Raises :class:`WorkerDied`."""
        self.ready()
        self.tell(order, **arguments)
        return self.answer()

    def tell(self, order: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Of the order before."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerDied(f"the worker of {self.name} ended with {self._process.wait(10)}; BENCH_STDERR=1 shows why")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


Taken = dict[str, list[dict[str, float]]]


def rounds(members: Sequence[Member], works: Collection[str], count: int, tick: Tick = lambda: None) -> Taken:
    """What each of ``works`` (those that a member has) took in each of ``count`` rounds.

    How many pieces a turn has is what takes 30 ms, found in a first turn that does not count.
    """
    turns = [(member, work) for member in members for work in member.ready() if work in works]
    sizes: dict[tuple[int, str], int] = {}
    for number, (member, work) in enumerate(turns):
        first = member.ask("time", work=work, times=5)
        took = member.ask("time", work=work, times=20) if first["wall"] < 5000 else first
        sizes[number, work] = max(3, min(2000, int(BLOCK * 1e6 / max(1.0, took["wall"]))))
    taken: Taken = {_key(member, work, turns, number): [] for number, (member, work) in enumerate(turns)}
    for _ in range(count):
        for number, (member, work) in random.sample(list(enumerate(turns)), len(turns)):
            took = member.ask("time", work=work, times=sizes[number, work])
            taken[_key(member, work, turns, number)].append(took)
        tick()
    return taken


def _key(member: Member, work: str, turns: Sequence[tuple[Member, str]], number: int) -> str:
    """The second worker with the same work is the control: ``bare again/find``."""
    setup, _, kind = work.partition("/")
    again = any(other == work and who is not member for who, other in turns[:number])
    return f"{setup} again/{kind}" if again else work
