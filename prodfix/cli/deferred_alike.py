"""One order for all deferred writes of an operation and a reason: call by call, until the workers have done them."""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

import click

from prodfix.deferral.admin import Command
from prodfix.deferral.backlog_groups import UNTRIED, BacklogState
from prodfix.services import Services

LOOK = 0.2  # seconds between two looks
OBEYED = 10.0  # seconds in which something is carried out, if a worker runs


class AlikeWrites(NamedTuple):
    """What the writes have in common; without a reason those of each."""

    operation: str
    reason: str | None
    state: BacklogState

    def __str__(self) -> str:
        return f"{self.operation}, {self.reason or 'whatever the reason'}, {self.state}"


class Done(NamedTuple):
    """``left`` are those that no worker has carried out within :data:`OBEYED`, or that came meanwhile."""

    ordered: int
    left: int


def counted(services: Services, alike: AlikeWrites) -> int:
    """How many there are."""
    groups = services.deferral.backlog.groups.read(alike.state, alike.operation)
    reasons = (None, *UNTRIED) if alike.reason in ("", *UNTRIED) else (alike.reason,)
    return sum(group.count for group in groups if alike.reason is None or group.reason in reasons)


def order_alike(services: Services, command: Command, alike: AlikeWrites, by: str, *, hidden: bool) -> Done:
    """Order all of them, and wait until the workers have done so, with a bar on standard error.

    Raises :class:`prodfix.errors.JournalUnavailable` and ``TimeoutError``.
    """
    backlog = services.deferral.backlog
    ordered = shown = 0
    with click.progressbar(
        length=counted(services, alike),
        label=f"{command} {alike.operation}",
        show_pos=True,
        hidden=hidden,
        file=sys.stderr,
    ) as bar:
        end = time.monotonic() + OBEYED
        while True:
            told = backlog.groups.order(command, by, operation=alike.operation, reason=alike.reason, state=alike.state)
            ordered += told.count
            waiting = backlog.ordered
            done = max(shown, ordered - waiting)
            if done > shown or told.count:
                end = time.monotonic() + OBEYED
            bar.update(done - shown)
            shown = done
            if time.monotonic() > end or not (waiting or told.left):
                return Done(ordered, waiting + told.left)
            time.sleep(LOOK)
