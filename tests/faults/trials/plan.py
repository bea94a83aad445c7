"""Which fault comes when: the same for the same seed, however the machine is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# How often each kind is chosen. What takes seconds (a restart, waiting for gunicorn to notice) comes less often.
WEIGHTS: dict[str, float] = {
    "reply lost": 4,
    "replies of the drain lost": 3,
    "reset in a reply": 2,
    "end in a reply": 2,
    "black hole": 2,
    "half open": 2,
    "corrupt replies": 3,
    "latency": 1,
    "connections refused": 2,
    "database killed": 2,
    "database stopped": 2,
    "database and worker killed": 1,
    "worker killed": 3,
    "all workers killed": 1,
    "worker stopped": 1,
    "worker reaped": 0.3,
    "worker recycled": 2,
    "arbiter killed": 0.5,
    "reload": 0.7,
    "clock jump": 2,
    "disk full": 1,
    "page damaged": 0.7,
}
KINDS = tuple(WEIGHTS)
COMMANDS = ("insert", "update", "commitTransaction", "find", "findAndModify", "abortTransaction")
LONGEST_REST = 0.8  # seconds between two faults
LONGEST = 0.9  # seconds of one


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: how long after the last one it begins (``rest``) and how long it ``lasts``, in seconds.

    ``instance`` is whose network, workers or disk it is, ``command`` whose reply it loses. ``chance`` (0 to 1) decides all
    else: which worker, after how many bytes, how many hours.
    """

    number: int
    kind: str
    rest: float
    lasts: float
    instance: int
    command: str
    chance: float

    def __str__(self) -> str:
        command = f" of {self.command}" if self.kind in ("reply lost", "corrupt replies") else ""
        return (
            f"{self.number} {self.kind}{command} at instance {self.instance} for {self.lasts:.2f} s ({self.chance:.3f})"
        )


def faults(seed: int, *, kinds: Sequence[str] = KINDS, instances: int = 1) -> Iterator[Fault]:
    """Faults without end: each of the kinds once, in some order, and then as their weights say."""
    chance = random.Random(seed)
    first = list(kinds)
    chance.shuffle(first)
    weights = [WEIGHTS[kind] for kind in kinds]
    number = 0
    while True:
        kind = first[number] if number < len(first) else chance.choices(kinds, weights)[0]
        yield Fault(
            number,
            kind,
            rest=chance.uniform(0.1, LONGEST_REST),
            lasts=chance.uniform(0.1, LONGEST),
            instance=chance.randrange(instances),
            command=chance.choice(COMMANDS),
            chance=chance.random(),
        )
        number += 1
