"""What the clients asked for and were answered, and what they were told of writes that were accepted. Data only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Action = Literal["note", "entry", "patch", "delete", "read"]
CREATING: tuple[Action, ...] = ("note", "entry")
ENDED = ("applied", "failed")  # states of an accepted write in which it stays


@dataclass(slots=True)
class Attempt:
    """One request of HTTP. Times are the trial's own seconds; ``status`` is None if the connection ended without an answer.

    ``sent`` is False if not even the connection was taken: then nothing can have been applied.
    """

    begun: float
    ended: float
    instance: int
    status: int | None
    sent: bool = True
    code: str | None = None
    outcome: str | None = None
    retryable: bool | None = None
    operation: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def certainly_not_applied(self) -> bool:
        """As far as was told: not sent, or ``not_applied``."""
        return not self.sent or self.outcome == "not_applied"


@dataclass(slots=True)
class Request:
    """What a client wanted: once, in one attempt, or several with the same ``key``.

    ``subject`` is the note's slug or the entry's number, ``notebook`` where the note is counted. ``careless`` requests go
    to a view that breaks a promise on purpose, for a control.
    """

    number: int
    action: Action
    subject: str
    notebook: str = ""
    key: str | None = None
    careless: str | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        """Answered with 2xx: applied, or accepted to be."""
        return any(attempt.accepted for attempt in self.attempts)

    @property
    def accepted(self) -> Attempt | None:
        """The attempt that was answered with 202."""
        return next((attempt for attempt in self.attempts if attempt.status == 202), None)

    @property
    def ended(self) -> float:
        return self.attempts[-1].ended if self.attempts else 0.0

    def lines(self) -> list[str]:
        """For a person: what was asked, and each answer."""
        key = f" with key {self.key}" if self.key else ""
        book = f" in {self.notebook}" if self.notebook else ""
        head = f"request {self.number}: {self.careless or ''}{self.action} {self.subject}{book}{key}"
        return [head, *(f"  {_line(attempt)}" for attempt in self.attempts)]


@dataclass(slots=True)
class Poll:
    """One question for what became of an accepted write: of ``instance``, answered with ``http`` and ``state``.

    ``there`` is what MongoDB, asked at that moment without any proxy, held of it; None if it could not be asked.
    ``final``: after the last fault, when nothing waits any more.
    """

    operation: str
    at: float
    instance: int
    http: int | None
    state: str | None = None
    reason: str | None = None
    there: bool | None = None
    final: bool = False


@dataclass(slots=True)
class Begun:
    """A fault that was produced, and when; ``exposed`` are the IDs of writes that stood on a page that it damaged."""

    number: int
    kind: str
    at: float
    told: str
    exposed: frozenset[str] = frozenset()


@dataclass(slots=True)
class History:
    """Of one round. ``settled`` is how many seconds after the last fault nothing waited any more; None if never."""

    seed: int
    instances: int
    requests: list[Request] = field(default_factory=list)
    polls: list[Poll] = field(default_factory=list)
    faults: list[Begun] = field(default_factory=list)
    settled: float | None = None

    @property
    def exposed(self) -> frozenset[str]:
        return frozenset().union(*(fault.exposed for fault in self.faults))

    def fault_at(self, moment: float) -> Begun | None:
        """The last fault that had begun by then."""
        return next((fault for fault in reversed(self.faults) if fault.at <= moment), None)

    def json_lines(self) -> Iterator[str]:
        for kind, rows in (("fault", self.faults), ("request", self.requests), ("poll", self.polls)):
            for row in rows:
                yield json.dumps({"seed": self.seed, kind: asdict(row)}, default=sorted)


def _line(attempt: Attempt) -> str:
    answer = "no answer" if attempt.status is None else str(attempt.status)
    if not attempt.sent:
        answer = "no connection"
    facts: dict[str, Any] = {
        "code": attempt.code,
        "outcome": attempt.outcome,
        "retryable": attempt.retryable,
        "operation": attempt.operation,
    }
    told = "".join(f" {name}={value}" for name, value in facts.items() if value is not None)
    return f"{attempt.begun:8.3f} to {attempt.ended:8.3f} s, instance {attempt.instance}: {answer}{told}"
